/*
 * Offers as bots send them to strangers. Low severity: a nuisance. Each wants an offer and a link or an address.
 */

rule webcam_bait
{
    meta:
        id = "spim.webcam"
        severity = "low"
        description = "A stranger invites to a webcam page"
        reference = "Chat bots on MSN, Yahoo! and ICQ, 2003 to 2009"
        scope = "message"
        tags = "spim, adult"
    strings:
        $a1 = "check out my webcam" nocase
        $a2 = "watch me on my webcam" nocase
        $a3 = "see me on cam for free" nocase
        $a4 = "my free webcam" nocase
        $a5 = "join me on my private cam" nocase
        $link = /(https?:\/\/|www\.)/i
    condition:
        any of ($a*) and $link
}

rule pharmacy
{
    meta:
        id = "spim.pharmacy"
        severity = "low"
        description = "Pills without a prescription, with a link"
        reference = "The most frequent offer of mail and IM spam of the 2000s"
        scope = "message"
        tags = "spim"
    strings:
        $p1 = /\b(viagra|cialis|levitra|xanax|phentermine|tramadol|valium)\b/i
        $o1 = "no prescription" nocase
        $o2 = "without prescription" nocase
        $o3 = "lowest price" nocase
        $o4 = "online pharmacy" nocase
        $o5 = "discreet shipping" nocase
        $o6 = "per pill" nocase
        $link = /(https?:\/\/|www\.)/i
    condition:
        $p1 and any of ($o*) and $link
}

rule money_offers
{
    meta:
        id = "spim.easy_money"
        severity = "low"
        description = "Earn a fortune from home, with a link"
        reference = "Work-at-home and mule recruiting offers; FTC consumer alerts"
        scope = "message"
        tags = "spim, fraud"
    strings:
        $m1 = /(earn|make) \$ ?[0-9][0-9,.]{1,8} ?(a|per|every) (day|week|hour|month)/i
        $m2 = "work from home" nocase
        $m3 = "no experience needed" nocase
        $m4 = "no experience required" nocase
        $m5 = "financial freedom" nocase
        $m6 = "guaranteed income" nocase
        $link = /(https?:\/\/|www\.|t\.me\/|wa\.me\/)/i
    condition:
        $m1 and any of ($m2, $m3, $m4, $m5, $m6) and $link
}

rule lottery_and_inheritance
{
    meta:
        id = "spim.advance_fee"
        severity = "medium"
        description = "A lottery never played, or an inheritance from a stranger"
        reference = "Advance-fee fraud, FBI common scams"
        scope = "message"
        tags = "spim, fraud"
    strings:
        $w1 = "you have won the sum of" nocase
        $w2 = "your email address has won" nocase
        $w3 = "your number has been selected as a winner" nocase
        $w4 = "next of kin to the late" nocase
        $w5 = "unclaimed inheritance" nocase
        $w6 = "transfer the fund out of the bank" nocase
        $a1 = "contact our agent" nocase
        $a2 = "processing fee" nocase
        $a3 = "contact the claims" nocase
        $a4 = "barrister" nocase fullword
        $a5 = "percent of the total" nocase
        $a6 = "million dollars" nocase
        $a7 = "million united states dollars" nocase
    condition:
        any of ($w*) and any of ($a*)
}

rule pump_and_crypto
{
    meta:
        id = "spim.investment"
        severity = "low"
        description = "Signals and doubled coins"
        reference = "SEC investor alerts on pump-and-dump and crypto giveaways in messaging groups"
        scope = "message"
        tags = "spim, fraud"
    strings:
        $d1 = /send [0-9.]{1,6} ?(btc|eth|usdt) and (get|receive) (back )?(double|[0-9.]{1,6})/i
        $d2 = "double your bitcoin" nocase
        $d3 = "guaranteed daily profit" nocase
        $d4 = "100% guaranteed returns" nocase
        $link = /(https?:\/\/|www\.|t\.me\/|wa\.me\/)/i
    condition:
        $d1 or (any of ($d2, $d3, $d4) and $link)
}
