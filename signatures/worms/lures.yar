/*
 * What worms in instant messaging wrote. Each came with a link or a file: a rule wants the words of the lure together
 * with what the victim was to open, so that talk about the worm is not the worm.
 * Where a lure was a sentence that people write as well, the rule wants the very link or file name.
 */

rule kelvir_pictures_php_with_address
{
    meta:
        id = "worms.kelvir_pictures"
        severity = "high"
        description = "Kelvir: a link whose query holds the reader's own address"
        reference = "Kelvir family, MSN Messenger, 2005; vendors' descriptions of W32.Kelvir and IM-Worm.Win32.Kelvir"
        scope = "message"
        tags = "worm, msn"
    strings:
        $link = /\/(pictures|photos|picture|pics|gallery|myphotos)\.php\?(email|user|id)=[a-z0-9._-]{1,64}@[a-z0-9-]{1,60}\./i
    condition:
        $link
}

rule kelvir_omg_funny
{
    meta:
        id = "worms.kelvir_omg"
        severity = "high"
        description = "Kelvir: omg this is funny, with a program or a page to open"
        reference = "W32.Kelvir.A and .B, MSN Messenger, March 2005"
        scope = "message"
        tags = "worm, msn"
    strings:
        $lure1 = "omg this is funny!" nocase
        $lure2 = "lol! see it! u'll like it" nocase
        $lure3 = "haha i found your picture" nocase
        $lure4 = "hot pics!!" nocase
        $link = "http://" nocase
    condition:
        any of ($lure*) and $link
}

rule kelvir_patch_cute
{
    meta:
        id = "worms.kelvir_program"
        severity = "high"
        description = "Kelvir: programs that were offered by link"
        reference = "W32.Kelvir variants, 2005: files named cute.pif, omg.pif, patch.exe on personal web space"
        scope = "message"
        tags = "worm, msn"
    strings:
        $file = /\/(cute|omg|patch|me|you|gallery|pics|sexy|hot)\.(pif|scr)\b/i
        $link = "http" nocase
    condition:
        $file and $link
}

rule bropia_file_names
{
    meta:
        id = "worms.bropia_files"
        severity = "high"
        description = "Bropia: names of the files it sent"
        reference = "W32.Bropia, MSN Messenger, January and February 2005 (F-Secure, Trend Micro WORM_BROPIA.F)"
        scope = "message"
        tags = "worm, msn"
    strings:
        $f1 = "Drunk_lol.pif" nocase fullword
        $f2 = "Webcam_004.pif" nocase fullword
        $f3 = "sexy_bedroom.pif" nocase fullword
        $f4 = "naked_party.pif" nocase fullword
        $f5 = "love_me.pif" nocase fullword
        $f6 = "bedroom-thongs.pif" nocase fullword
        $f7 = "LMAO.pif" nocase fullword
        $f8 = "LOL.scr" nocase fullword
        $f9 = "naked_drunk.pif" nocase fullword
        $f10 = "new_webcam.pif" nocase fullword
        $f11 = "ROFL.pif" nocase fullword
        $f12 = "underware.pif" nocase fullword
        $f13 = "Hot.pif" nocase fullword
        $f14 = "sexy.jpg.pif" nocase
    condition:
        any of them
}

rule opanki_lures
{
    meta:
        id = "worms.opanki"
        severity = "high"
        description = "Opanki: this picture never gets old, and other lures with a link"
        reference = "W32.Opanki, AIM, May and June 2005; one variant named its file itunes.exe"
        scope = "message"
        tags = "worm, aim"
    strings:
        $lure1 = "this picture never gets old" nocase
        $lure2 = "check out this picture of me and my" nocase
        $lure3 = "is this you in this picture" nocase
        $link = "http" nocase
        $end = /\.(exe|scr|pif|php)/i
        $tunes = "/itunes.exe" nocase
    condition:
        ($tunes and $link) or (any of ($lure*) and $link and $end)
}

rule gaim_aim_away_lures
{
    meta:
        id = "worms.aim_profile"
        severity = "medium"
        description = "AIM worms and Aplore's followers: lures to look at an away message, a profile or a game"
        reference = "W32.Aplore (2002), the buddypicture and osama-found lures (2004), W32.Aimdes (2005)"
        scope = "message"
        tags = "worm, aim"
    strings:
        $a = "check out my new pictures i just put on my away" nocase
        $b = "osama captured" nocase
        $c = "osama found" nocase
        $d = /buddypicture\.(net|com)/i
        $link = "http" nocase
    condition:
        $d or (any of ($a, $b, $c) and $link)
}

rule pykse_skype
{
    meta:
        id = "worms.skype_pykse"
        severity = "high"
        description = "Pykse, Ramex and Stration in Skype: a picture that is a program"
        reference = "W32.Pykspa / Pykse.A (April 2007), W32/Ramex.A (September 2007), Skype"
        scope = "message"
        tags = "worm, skype"
    strings:
        $lure1 = "how are u ? :)" nocase
        $lure2 = "look what crazy photo Tiffany sent to me" nocase
        $lure3 = "this (happy) sexy one" nocase
        $lure4 = "oh sorry not for u" nocase
        $lure5 = "where I put ur photo" nocase
        $lure6 = "really funny" nocase
        $link = "http" nocase
        $end = /\.(scr|pif)/i
        $photo = /\/(erotic-gallerys|gallerys?|mypictures?)\/usr[0-9a-z]{3,10}\.jpg/i
    condition:
        $link and ($photo or ($end and any of ($lure*)))
}

rule sohanad_yahoo
{
    meta:
        id = "worms.sohanad"
        severity = "high"
        description = "Sohanad and its kin in Yahoo! Messenger: lures with pages of free hosts"
        reference = "W32.Sohanad / YMWorm (2006-2007), Yahoo! Messenger; lures in Vietnamese and English"
        scope = "message"
        tags = "worm, yahoo"
    strings:
        $lure1 = "E may, vao day coi co con nho nay ngon lam" nocase
        $lure2 = "Vao day nghe bai nay di ban" nocase
        $lure3 = "Biet tin gi chua, vao day coi di" nocase
        $lure4 = "Trang Web nay coi cung hay" nocase
        $link = "http://" nocase
    condition:
        any of ($lure*) and $link
}

rule funny_photo_of_you
{
    meta:
        id = "worms.photo_of_you"
        severity = "medium"
        description = "Is this you on this picture, with a link to a script or a program: Yimfoca, Palevo, Zeroll, Dorkbot"
        reference = "W32.Yimfoca (2010), Win32/Palevo (2009), Dorkbot (2012, the lure lol is this your new profile pic?)"
        scope = "message"
        tags = "worm"
    strings:
        $lure1 = "lol is this your new profile pic" nocase
        $lure2 = "is this really you on the photo" nocase
        $lure3 = "is this you on this photo" nocase
        $lure4 = "foto :D http" nocase
        $lure5 = "hey is this your new picture" nocase
        $lure6 = "hej to jest twoje nowe zdjecie profilu" nocase
        $lure7 = "moin, kaum zu glauben was" nocase
        $link = "http" nocase
        $end = /\.(php\?|exe|scr|pif|zip)/i
        $short = /\/(goo\.gl|bit\.ly|tinyurl\.com)\/[A-Za-z0-9]{4,12}\?(img|profile|image|foto)=/i
    condition:
        $link and ($short or ($end and any of ($lure*)))
}

rule picture_that_is_a_program
{
    meta:
        id = "worms.picture_program"
        severity = "high"
        description = "A program that calls itself a picture or a film"
        reference = "Common to Bropia, Kelvir, Stration and Pykse: two endings, of which the last one counts"
        scope = "message"
        tags = "worm"
    strings:
        $two = /\.(jpe?g|gif|png|bmp|avi|mpe?g|wmv)[ _]{0,4}\.(exe|scr|pif|bat|cmd|vbs)\b/i
        $name = /[0-9]\.jpe?g[-_]www\.[a-z0-9-]{3,24}\.(com|exe|scr)\b/i
    condition:
        any of them
}
