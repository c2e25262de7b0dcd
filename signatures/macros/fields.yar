/*
 * What works without a macro: templates that are fetched, fields and formulas that start programs.
 */

rule remote_template
{
    meta:
        id = "macros.remote_template"
        severity = "medium"
        description = "A document that fetches its template, with all macros in it, from the web"
        reference = "MITRE ATT&CK T1221"
        scope = "file"
        tags = "template"
    strings:
        $relations = "<Relationships"
        $type = "/attachedTemplate\""
        $target = /Target=["']https?:\/\/[^"'<>]{1,300}["']/ nocase
        $external = "External" nocase
    condition:
        $relations and $type and $target and $external
}

rule rtf_template
{
    meta:
        id = "macros.rtf_template"
        severity = "medium"
        description = "RTF that fetches its template from the web"
        reference = "MITRE ATT&CK T1221; RTF 1.9.1, \\*\\template"
        scope = "file"
        tags = "template"
    strings:
        $template = /\{\\\*\\template[ \t\r\n]{1,8}(https?:\/\/|\\u-?[0-9]{1,5}|\\'[0-9a-f]{2})/ nocase
    condition:
        uint32be(0) == 0x7B5C7274 and $template
}

rule dde_field
{
    meta:
        id = "macros.dde_field"
        severity = "high"
        description = "A field that starts a program when the document is opened"
        reference = "Microsoft Security Advisory 4053440; MITRE ATT&CK T1559.002"
        scope = "file"
        tags = "dde"
    strings:
        $field = /\bDDE(AUTO)?[ \t\r\n"']{1,8}[^<>{}\r\n]{0,128}\b(cmd|powershell|pwsh|mshta|wscript|cscript|rundll32|regsvr32|certutil|bitsadmin)(\.exe)?\b/ nocase
        $word = "w:instrText"
        $fldsimple = "w:fldSimple"
        $rtf = "\\fldinst"
    condition:
        $field and (any of ($word, $fldsimple, $rtf) or uint32be(0) == 0xD0CF11E0)
}

rule dde_formula
{
    meta:
        id = "macros.dde_formula"
        severity = "high"
        description = "A formula that starts a program when the sheet is opened"
        reference = "Microsoft Security Advisory 4053440; CSV injection"
        scope = "file"
        tags = "dde"
    strings:
        $formula = /[=+@-][^\r\n"<>|]{0,32}\b(cmd|powershell|pwsh|mshta|wscript|cscript|rundll32|regsvr32|certutil|msexcel)(\.exe)?[ ]{0,4}\|[ ]{0,4}'[^'\r\n]{1,200}'!/ nocase
    condition:
        $formula
}
