/*
 * Commands of the bot families whose source was public (sdbot, rbot, agobot, phatbot, kaiten and what grew of them),
 * in topics and messages. A prefix and a verb are not enough: people write .ping and !update. Each rule wants what only
 * a bot reads: the command's arguments.
 */

rule bot_scan_command
{
    meta:
        id = "irc_bots.scan"
        severity = "high"
        description = "An order to scan for victims: advscan, ntscan, a module, threads, delay and minutes"
        reference = "rbot and sdbot command references; Honeynet Project, Know your Enemy: Tracking Botnets (2005)"
        scope = "message"
        tags = "bot, irc"
    strings:
        $scan = /[.!@$%^&*~-](advscan|adv\.start|ntscan|wksscan|scan\.start) [a-z0-9_]{3,12} [0-9]{1,4} [0-9]{1,3} [0-9]/i
    condition:
        $scan
}

rule bot_flood_command
{
    meta:
        id = "irc_bots.flood"
        severity = "high"
        description = "An order to flood an address: target, port or seconds"
        reference = "rbot, agobot (ddos.synflood ...), kaiten (UDP, TSUNAMI, PAN)"
        scope = "message"
        tags = "bot, irc, ddos"
    strings:
        $dot = /[.!@$%^&*~-](ddos\.(syn|udp|http|phat|random|ack|ping|targa3)[a-z]{0,8}|udpflood|synflood|ackflood|httpflood|pingflood|icmpflood|tcpflood|supersyn|phatwonk) [0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3} [0-9]{1,6}/i
        $kaiten = /!\* (UDP|TSUNAMI|PAN|UNKNOWN|STD) [a-z0-9.-]{4,60} [0-9]{1,5}/
    condition:
        any of them
}

rule bot_download_command
{
    meta:
        id = "irc_bots.download"
        severity = "high"
        description = "An order to fetch a program and start it"
        reference = "rbot: download url path 1; agobot: http.execute, http.update; update url id"
        scope = "message"
        tags = "bot, irc, dropper"
    strings:
        $rbot = /[.!@$%^&*~-](download|dl|dlexec|update|upd|wget|visit\.exe) (http|ftp):\/\/[a-z0-9.:@_-]{4,64}\/[a-z0-9._\/~-]{1,64} ([a-z]:\\|%temp%|\/tmp\/)?[a-z0-9._\\-]{1,40} [01]\b/i
        $agobot = /[.!@$%^&*~-](http|ftp)\.(execute|update|download|exec) (http|ftp):\/\//i
    condition:
        any of them
}

rule bot_login_and_control
{
    meta:
        id = "irc_bots.control"
        severity = "medium"
        description = "Orders of agobot and its kin that steal or open the machine"
        reference = "agobot and phatbot command list: harvest.cdkeys, redirect.socks, bot.execute, cvar.set, pctrl.kill"
        scope = "message"
        tags = "bot, irc"
    strings:
        $a = /[.!@$%^&*~-](harvest\.(cdkeys|emails|aol|registry|windowskeys)|redirect\.(tcp|gre|http|https|socks|socks5)|pctrl\.(list|kill|listsvc|killsvc)|inst\.(asadd|asdel|svcadd|svcdel)|bot\.(execute|removeallbut|unsecure|secure|sysinfo|dns|repeat|runas))\b/i
        $b = /[.!@$%^&*~-](getcdkeys|findpass|pstore|keylog on|capture drivers|socks4 [0-9]{2,5}|rlogind)(\s|$)/i
    condition:
        any of them
}

rule bot_answers
{
    meta:
        id = "irc_bots.answers"
        severity = "high"
        description = "What bots report to their channel"
        reference = "rbot and sdbot answers: [SCAN]:, [FTP]:, [DOWNLOAD]:, [MAIN]: (public sources, 2004)"
        scope = "message"
        tags = "bot, irc"
    strings:
        $scan = /\[SCAN\]: (Random|Sequential) (Port|Range) Scan started on /i
        $exploit = /\[[A-Za-z0-9]{3,12}\]: Exploiting IP: [0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}\./
        $ftp = "[FTP]: File transfer complete to IP:" nocase
        $tftp = "[TFTP]: File transfer complete to IP:" nocase
        $load = "[DOWNLOAD]: Downloading URL: http" nocase
        $done = /\[DOWNLOAD\]: Downloaded [0-9.]{1,12} ?KB to /i
        $flood = /\[(SYN|UDP|DDoS|PING|TCP)\]: (Flooding|Sending [0-9]{1,9} (packets|pings) to|Done with) /i
        $main = "[MAIN]: Password accepted." nocase
        $key = "[KEYLOG]: Key logger active." nocase
        $info = /\[SYSINFO\]: \[CPU\]: [0-9]{2,6}MHz/i
    condition:
        any of them
}

rule eggdrop_style_spread
{
    meta:
        id = "irc_bots.script_worm"
        severity = "high"
        description = "A script worm in a channel: come and see my pictures, with a command for the client"
        reference = "mIRC worms of 1997 to 2005 (script.ini, the //write and $decode tricks)"
        scope = "message"
        tags = "worm, irc"
    strings:
        $write = /\/write [a-z0-9.$_-]{1,20} [^|$]{0,30}\$decode\(/i
        $decode = /\/\/?(\$decode|run|exec|dde)\(? ?\$decode\([A-Za-z0-9+\/=]{8}/i
        $remote = "//.load -rs" nocase
    condition:
        any of them
}
