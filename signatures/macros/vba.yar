/*
 * Macros that start by themselves. Office keeps the names of procedures and, beside the compressed source, most constant
 * texts readable in vbaProject.bin and in old documents; what the gateway unpacks of the source is seen, too.
 * Policies ask for the tag auto_open.
 */

rule auto_open
{
    meta:
        id = "macros.auto_open"
        severity = "medium"
        description = "A macro that runs when the document is opened or closed"
        reference = "Microsoft: auto macros and document events; MITRE ATT&CK T1137, T1204.002"
        scope = "file"
        tags = "macro, auto_open"
    strings:
        $project1 = "_VBA_PROJECT" wide ascii
        $project2 = "Attribut\x00e VB_"
        $source = "Attribute VB_"
        $name = /\b(auto_?open|auto_?exec|auto_?close|auto_?new|auto_?exit|document_?open|document_?close|document_?new|document_beforeclose|workbook_open|workbook_activate|workbook_beforeclose|workbook_close|app_documentopen|app_workbookopen)\b/ nocase
    condition:
        ($source or (uint32be(0) == 0xD0CF11E0 and any of ($project*))) and $name
}

rule auto_open_program
{
    meta:
        id = "macros.auto_open_program"
        severity = "high"
        description = "A macro that runs when the document is opened and starts a program or loads one"
        reference = "MITRE ATT&CK T1059.005"
        scope = "file"
        tags = "macro, auto_open"
    strings:
        $project1 = "_VBA_PROJECT" wide ascii
        $project2 = "Attribut\x00e VB_"
        $source = "Attribute VB_"
        $name = /\b(auto_?open|auto_?exec|auto_?close|auto_?new|auto_?exit|document_?open|document_?close|document_?new|document_beforeclose|workbook_open|workbook_activate|workbook_beforeclose|workbook_close|app_documentopen|app_workbookopen)\b/ nocase
        $run1 = "WScript.Shell" nocase
        $run2 = "Shell.Application" nocase
        $run3 = "Win32_Process" nocase
        $run4 = "winmgmts:" nocase
        $run5 = "powershell" nocase
        $run6 = "cmd.exe" nocase
        $run7 = /\bcmd \/[ck]\b/ nocase
        $run8 = "mshta" nocase fullword
        $run9 = "regsvr32" nocase fullword
        $run10 = "rundll32" nocase fullword
        $run11 = "MacScript" nocase fullword
        $load1 = "URLDownloadToFile" nocase
        $load2 = "MSXML2.XMLHTTP" nocase
        $load3 = "MSXML2.ServerXMLHTTP" nocase
        $load4 = "Microsoft.XMLHTTP" nocase
        $load5 = "WinHttp.WinHttpRequest" nocase
        $load6 = "ADODB.Stream" nocase
        $load7 = "certutil" nocase fullword
        $load8 = "bitsadmin" nocase fullword
        $code1 = "VirtualAlloc" nocase
        $code2 = "CreateThread" nocase fullword
        $code3 = "WriteProcessMemory" nocase
    condition:
        ($source or (uint32be(0) == 0xD0CF11E0 and any of ($project*))) and $name
        and (any of ($run*) or any of ($load*) or any of ($code*))
}

rule xlm_auto_open
{
    meta:
        id = "macros.xlm_auto_open"
        severity = "medium"
        description = "An Excel 4 macro that runs when the workbook is opened"
        reference = "ECMA-376 18.2.5, _xlnm.Auto_Open; Microsoft: Excel 4.0 macros"
        scope = "file"
        tags = "macro, auto_open"
    strings:
        $workbook = "<workbook"
        $defined = "<definedName "
        $name = /[ \t\r\n]name="_xlnm\.Auto_?(Open|Close|Activate)/ nocase
    condition:
        $workbook and $defined and $name
}

rule xlm_hidden_sheet
{
    meta:
        id = "macros.xlm_hidden_sheet"
        severity = "medium"
        description = "A hidden sheet of Excel 4 macros"
        reference = "MS-XLS 2.4.28, BoundSheet8: hidden and macro"
        scope = "file"
        tags = "macro"
    strings:
        $workbook = "Workbook" wide
        // Record 0x0085, its length, the offset of a sheet, hidden or very hidden, a macro sheet, the name's length.
        $sheet = { 85 00 ( 0? | 1? | 2? | 3? | 4? ) 00 ?? ?? ?? 00 ( 01 | 02 ) 01 ( 0? | 1? ) ( 00 | 01 ) }
    condition:
        uint32be(0) == 0xD0CF11E0 and $workbook and $sheet
}

rule odf_auto_open
{
    meta:
        id = "macros.odf_auto_open"
        severity = "medium"
        description = "An OpenDocument file with a macro that runs when it is opened"
        reference = "OpenDocument 1.2 part 1, 14.4; office:event-listeners"
        scope = "file"
        tags = "macro, auto_open"
    strings:
        $event = /script:event-name="(dom:load|dom:unload|office:(load-finished|view-created|start-app|close-app|new|open))"/
        $macro = "vnd.sun.star.script:"
    condition:
        $event and $macro
}
