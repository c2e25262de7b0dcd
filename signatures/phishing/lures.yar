/*
 * A rule wants three things together: a threat or a promise, an order to confirm or sign in, and a link. Each alone is
 * in honest messages too.
 */

rule account_will_be_closed
{
    meta:
        id = "phishing.account_closed"
        severity = "high"
        description = "Your account is blocked or will be closed: confirm it at this link"
        reference = "APWG Phishing Activity Trends; the wording of bank and mailbox phishing since 2003"
        scope = "message"
        tags = "phishing"
    strings:
        $t1 = "your account has been suspended" nocase
        $t2 = "your account has been limited" nocase
        $t3 = "your account will be suspended" nocase
        $t4 = "your account will be closed" nocase
        $t5 = "your account will be deactivated" nocase
        $t6 = "your account has been locked due to" nocase
        $t7 = "unusual activity on your account" nocase
        $t8 = "your mailbox is almost full" nocase
        $t9 = "your mailbox has exceeded" nocase
        $o1 = "verify your account" nocase
        $o2 = "verify your identity" nocase
        $o3 = "confirm your identity" nocase
        $o4 = "confirm your account" nocase
        $o5 = "update your billing" nocase
        $o6 = "update your payment" nocase
        $o7 = "click here to" nocase
        $o8 = "click the link below" nocase
        $o9 = "sign in immediately" nocase
        $o10 = "restore access" nocase
        $link = /https?:\/\//i
    condition:
        any of ($t*) and any of ($o*) and $link
}

rule messenger_account_check
{
    meta:
        id = "phishing.messenger_blocked"
        severity = "high"
        description = "See who blocked you: pages that ask for the messenger's password"
        reference = "Block checkers of 2005 to 2009: Microsoft's and vendors' warnings about sites that asked for Passport sign-ins"
        scope = "message"
        tags = "phishing, msn"
    strings:
        $w1 = /(find out|see|check|discover) who (has |have )?(blocked|deleted) you (on|from) (msn|messenger|your list|yahoo|aim|skype)/i
        $w2 = /(descubre|mira|averigua) quien te (tiene )?(no admiti|admitid|bloque)/i
        $link = /(https?:\/\/|www\.)/i
    condition:
        any of ($w*) and $link
}

rule gift_and_credentials
{
    meta:
        id = "phishing.free_credit"
        severity = "medium"
        description = "Free credit or a premium account for those who sign in at a link"
        reference = "Gift lures in chat since 2015 (game items, premium accounts)"
        scope = "message"
        tags = "phishing"
    strings:
        $g1 = /free (discord )?nitro/i
        $g2 = /free (steam|itunes|amazon|playstation|xbox|google play) gift ?card/i
        $g3 = /(claim|get) your free (skin|robux|v-?bucks|coins|credits)/i
        $s1 = "sign in" nocase
        $s2 = "log in" nocase
        $s3 = "login" nocase
        $s4 = "claim" nocase
        $s5 = "verify" nocase
        $link = /https?:\/\//i
    condition:
        any of ($g*) and any of ($s*) and $link
}

rule user_name_that_is_a_host
{
    meta:
        id = "phishing.link_with_false_name"
        severity = "high"
        description = "A link that begins with a known name, as the user of another host"
        reference = "RFC 3986 7.6 (semantic attacks)"
        scope = "message"
        tags = "phishing"
    strings:
        $link = /:\/\/(www\.)?(paypal|ebay|amazon|apple|microsoft|google|facebook|netflix|citibank|hsbc|barclays|wellsfargo)\.com[a-z0-9.:_-]{0,16}@/i
    condition:
        $link
}

rule boss_needs_gift_cards
{
    meta:
        id = "phishing.gift_cards"
        severity = "high"
        description = "A false superior who wants gift cards and their codes"
        reference = "FBI IC3 public service announcement I-102418-PSA on gift cards in business e-mail compromise"
        scope = "message"
        tags = "phishing, fraud"
    strings:
        $c1 = /(buy|purchase|get) (me |some |a few |several )?(of )?(itunes|google play|steam|amazon|apple|ebay) (gift )?cards/i
        $d1 = "scratch" nocase fullword
        $d2 = /(send|text|email) (me )?(the )?(codes|pictures of the (back|codes))/i
    condition:
        $c1 and any of ($d*)
}
