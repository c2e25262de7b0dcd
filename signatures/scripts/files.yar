/*
 * Files that run by themselves.
 */

rule shell_loader
{
    meta:
        id = "scripts.shell_loader"
        severity = "high"
        description = "A script that fetches something and starts it"
        reference = "MITRE ATT&CK T1059.005, T1059.007"
        scope = "file"
        tags = "script"
    strings:
        $shell1 = "WScript.Shell" nocase
        $shell2 = "Shell.Application" nocase
        $make1 = "CreateObject" nocase
        $make2 = "ActiveXObject" nocase
        $run = /\.(Run|Exec|ShellExecute)\b/ nocase
        $fetch1 = "MSXML2.XMLHTTP" nocase
        $fetch2 = "MSXML2.ServerXMLHTTP" nocase
        $fetch3 = "Microsoft.XMLHTTP" nocase
        $fetch4 = "WinHttp.WinHttpRequest" nocase
        $fetch5 = "ADODB.Stream" nocase
        $fetch6 = "powershell" nocase
        $fetch7 = "bitsadmin" nocase
        $fetch8 = "certutil" nocase
    condition:
        any of ($shell*) and any of ($make*) and $run and any of ($fetch*) and uint16be(0) != 0x4D5A
}

rule html_application
{
    meta:
        id = "scripts.html_application"
        severity = "high"
        description = "An HTML application that starts a program"
        reference = "MITRE ATT&CK T1218.005"
        scope = "file"
        tags = "script"
    strings:
        $application = "<hta:application" nocase
        $shell1 = "WScript.Shell" nocase
        $shell2 = "Shell.Application" nocase
        $shell3 = "winmgmts:" nocase
    condition:
        $application and any of ($shell*)
}

rule shortcut_command
{
    meta:
        id = "scripts.shortcut_command"
        severity = "high"
        description = "A shortcut that starts an interpreter"
        reference = "MS-SHLLINK; MITRE ATT&CK T1204.002, T1547.009"
        scope = "file"
        tags = "script, shortcut"
    strings:
        $cmd = "\\cmd.exe" wide ascii nocase
        $argument = /\/[ckr][ ]/ wide ascii nocase
        $powershell = "powershell" wide ascii nocase
        $mshta = "mshta" wide ascii nocase
        $wscript = "wscript" wide ascii nocase
        $cscript = "cscript" wide ascii nocase
        $rundll32 = "rundll32" wide ascii nocase
        $regsvr32 = "regsvr32" wide ascii nocase
        $certutil = "certutil" wide ascii nocase
        $bitsadmin = "bitsadmin" wide ascii nocase
        $msiexec = "msiexec" wide ascii nocase
        $curl = "curl.exe" wide ascii nocase
    condition:
        uint32be(0) == 0x4C000000 and uint32be(4) == 0x01140200
        and (($cmd and $argument) or any of ($powershell, $mshta, $wscript, $cscript, $rundll32, $regsvr32, $certutil, $bitsadmin, $msiexec, $curl))
}

rule scf_icon
{
    meta:
        id = "scripts.scf_icon"
        severity = "high"
        description = "A shell command file with an icon of another host: looking at its folder sends the password's hash"
        reference = "MITRE ATT&CK T1187"
        scope = "file"
        tags = "shortcut, ntlm"
    strings:
        $head = "[Shell]" nocase
        $icon = /IconFile[ \t]{0,4}=[ \t]{0,4}\\\\[^\\\r\n]{1,64}\\/ nocase
    condition:
        $head and $icon
}

rule html_smuggling
{
    meta:
        id = "scripts.html_smuggling"
        severity = "high"
        description = "A page that carries a program or an archive inside and saves it"
        reference = "MITRE ATT&CK T1027.006"
        scope = "file"
        tags = "script, html"
    strings:
        $script = "<script" nocase
        $blob1 = "new Blob(" nocase
        $blob2 = "msSaveOrOpenBlob" nocase
        $blob3 = "createObjectURL" nocase
        $blob4 = "application/octet-stream;base64," nocase
        $program = /["'`,]TV[opqr][A-Za-z0-9+\/]{40}/
        $zip = /["'`,]UEsDB[A-Za-z0-9+\/]{40}/
        $rar = /["'`,]UmFyIR[A-Za-z0-9+\/]{40}/
        $iso = /["'`,]N3q8r[A-Za-z0-9+\/]{40}/
    condition:
        $script and any of ($blob*) and any of ($program, $zip, $rar, $iso)
}

rule svg_script
{
    meta:
        id = "scripts.svg_script"
        severity = "medium"
        description = "A picture with a script in it"
        reference = "MITRE ATT&CK T1027.017"
        scope = "file"
        tags = "script, html"
    strings:
        $svg = /<svg[ \t\r\n>:]/ nocase
        $script = /<(svg:)?script[ \t\r\n>]/ nocase
        $handler = /[ \t\r\n]on(load|click|mouseover|begin)[ \t]{0,4}=[ \t]{0,4}["']/ nocase
        $html = /<(html|body)[ \t\r\n>]/ nocase
    condition:
        (uint8(0) == 0x3C or uint32be(0) == 0xEFBBBF3C) and $svg in (0..4096) and ($script or $handler) and not $html
}

rule autoit
{
    meta:
        id = "scripts.autoit"
        severity = "medium"
        description = "A compiled AutoIt script"
        reference = "MITRE ATT&CK T1059.010"
        scope = "file"
        tags = "script"
    strings:
        $mark = "AU3!EA06"
        $magic = { A3 48 4B BE 98 6C 4A A9 99 4C 53 0A 86 D6 48 7D }
    condition:
        $magic and $mark
}

rule web_shell
{
    meta:
        id = "scripts.web_shell"
        severity = "high"
        description = "A page for a web server that runs what it is told"
        reference = "MITRE ATT&CK T1505.003"
        scope = "file"
        tags = "script, server"
    strings:
        $php = "<?php" nocase
        $run = /\b(eval|assert|system|exec|shell_exec|passthru|popen)[ \t]{0,4}\([ \t]{0,4}(gzinflate[ \t]{0,4}\([ \t]{0,4})?(base64_decode[ \t]{0,4}\([ \t]{0,4})?(stripslashes[ \t]{0,4}\([ \t]{0,4})?\$_(GET|POST|REQUEST|COOKIE|SERVER)\b/ nocase
    condition:
        $php and $run
}
