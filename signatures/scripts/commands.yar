/*
 * Command lines. In a message they are what a victim is told to paste; in a file what a script or a shortcut runs.
 * Administrators write to each other about these tools: each rule wants the very form that fetches or hides.
 */

rule powershell_encoded
{
    meta:
        id = "scripts.powershell_encoded"
        severity = "high"
        description = "PowerShell with a command that is encoded, so that nobody reads it"
        reference = "MITRE ATT&CK T1059.001, T1027.010"
        scope = "both"
        tags = "script, powershell"
    strings:
        $shell = /(powershell|pwsh)(\.exe)?["']?[ \t]/i
        $long = /[ \t][-\/]enc(o|od|ode|oded|odedc|odedcommand)?[ \t]{1,8}["']?[a-z0-9+\/]{40}/i
        // The short forms mean something else elsewhere: wanted with what UTF-16 in Base64 begins like.
        $short = /[ \t][-\/][eE][cC]?[ \t]{1,8}["']?(JAB|SQB|aQB|UwB|cwB|WwB|KAB|JgB|cAB|UAB|dwB|VwB|bgB|TgB|ZgB|RgB|IAB|LgB)[A-Za-z0-9+\/]{37}/
    condition:
        $shell and any of ($long, $short)
}

rule powershell_hidden_loader
{
    meta:
        id = "scripts.powershell_hidden"
        severity = "high"
        description = "PowerShell without a window that fetches something and runs it"
        reference = "MITRE ATT&CK T1059.001, T1105, T1564.003"
        scope = "both"
        tags = "script, powershell"
    strings:
        $shell = /(powershell|pwsh)(\.exe)?["']?[ \t]/i
        $hidden1 = /[-\/]w(in|indowstyle)?[ \t]{1,4}["']?hidden\b/i
        $hidden2 = "-w h " nocase
        $hidden3 = "-w 1 " nocase
        $fetch1 = "DownloadString" nocase
        $fetch2 = "DownloadFile" nocase
        $fetch3 = "DownloadData" nocase
        $fetch4 = "Invoke-WebRequest" nocase
        $fetch5 = "Invoke-RestMethod" nocase
        $fetch6 = "Start-BitsTransfer" nocase
        $fetch7 = /\b(iwr|irm|curl|wget)[ \t]{1,4}["']?(-uri[ \t]{1,4}["']?)?(https?:|[a-z0-9-]{1,32}\.[a-z]{2,12}\/)/i
    condition:
        $shell and any of ($hidden*) and any of ($fetch*)
}

rule paste_and_run
{
    meta:
        id = "scripts.paste_and_run"
        severity = "medium"
        description = "PowerShell that fetches a script and runs it at once"
        reference = "MITRE ATT&CK T1204.004; installers of honest tools use the same line"
        scope = "both"
        tags = "script, powershell"
    strings:
        $run = /\b(iex|invoke-expression)\b/i
        $fetch = /(downloadstring\(|\b(iwr|irm|invoke-webrequest|invoke-restmethod)[ \t]{1,4})["']?https?:/i
        $shell = /(powershell|pwsh)(\.exe)?["']?[ \t]/i
    condition:
        $run and $fetch and $shell
}

rule mshta_page
{
    meta:
        id = "scripts.mshta"
        severity = "high"
        description = "mshta with a page of the web or a script on its command line"
        reference = "MITRE ATT&CK T1218.005"
        scope = "both"
        tags = "script"
    strings:
        $command = /\bmshta(\.exe)?["']?[ \t]{1,8}["']?(https?:\/\/|javascript:|vbscript:)/i
    condition:
        $command
}

rule certutil_fetch
{
    meta:
        id = "scripts.certutil"
        severity = "high"
        description = "certutil used to fetch a file"
        reference = "MITRE ATT&CK T1105"
        scope = "both"
        tags = "script"
    strings:
        $tool = /\bcertutil(\.exe)?["']?[ \t]/i
        $what = /[-\/](urlcache|verifyctl)[ \t]/i
        $web = /["' \t](https?|ftp):\/\//i
    condition:
        all of them
}

rule bitsadmin_fetch
{
    meta:
        id = "scripts.bitsadmin"
        severity = "high"
        description = "bitsadmin used to fetch a file"
        reference = "MITRE ATT&CK T1197"
        scope = "both"
        tags = "script"
    strings:
        $tool = /\bbitsadmin(\.exe)?["']?[ \t]/i
        $what = /\/(transfer|addfile)[ \t]/i
        $web = /["' \t](https?|ftp):\/\//i
    condition:
        all of them
}

rule regsvr32_page
{
    meta:
        id = "scripts.regsvr32"
        severity = "high"
        description = "regsvr32 with a script of the web"
        reference = "MITRE ATT&CK T1218.010"
        scope = "both"
        tags = "script"
    strings:
        $tool = /\bregsvr32(\.exe)?["']?[ \t]/i
        $what = /\/i:["']?https?:\/\//i
    condition:
        $tool and $what
}

rule rundll32_script
{
    meta:
        id = "scripts.rundll32"
        severity = "high"
        description = "rundll32 with a script on its command line"
        reference = "MITRE ATT&CK T1218.011"
        scope = "both"
        tags = "script"
    strings:
        $command = /\brundll32(\.exe)?["']?[ \t]{1,8}["']?(javascript|vbscript):/i
    condition:
        $command
}

rule wmic_page
{
    meta:
        id = "scripts.wmic"
        severity = "high"
        description = "wmic with a style sheet of the web, which is a script"
        reference = "MITRE ATT&CK T1220"
        scope = "both"
        tags = "script"
    strings:
        $tool = /\bwmic(\.exe)?["']?[ \t]/i
        $what = /\/format:["']?https?:\/\//i
    condition:
        $tool and $what
}

rule msiexec_web
{
    meta:
        id = "scripts.msiexec"
        severity = "medium"
        description = "msiexec that installs a package from the web without asking"
        reference = "MITRE ATT&CK T1218.007"
        scope = "both"
        tags = "script"
    strings:
        $tool = /\bmsiexec(\.exe)?["']?[ \t]/i
        $what = /[\/-](i|package)[ \t]{0,4}["']?https?:\/\//i
        $quiet = /[ \t][\/-]q(n|b|uiet|[ \t]|$)/i
    condition:
        all of them
}

rule reverse_shell
{
    meta:
        id = "scripts.reverse_shell"
        severity = "high"
        description = "A shell that connects to somebody else"
        reference = "MITRE ATT&CK T1059.004"
        scope = "both"
        tags = "script"
    strings:
        $bash = /\b(ba|z|k)?sh -i [^\r\n]{0,8}>[&>]{0,2} ?\/dev\/(tcp|udp)\/[0-9a-z.-]{1,64}\/[0-9]{1,5}/i
        $netcat = /\b(nc|ncat|netcat)(\.exe)? [^\r\n]{0,48}-(e|c) ?["']?(\/bin\/(ba|z)?sh|cmd(\.exe)?|powershell)\b/i
    condition:
        any of them
}
