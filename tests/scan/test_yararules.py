"""Reading YARA sources."""

from __future__ import annotations

import pytest

from inspector.scan.yararules import number, read

SOURCE = b'''import "pe" // a comment with "quotes" and /slashes/
/* rule x { } */
private global rule a : t1 t2 {
    meta: id = "core.x" n = -5 yes = true
    strings: $a = "fo\\x41o\\n\\"" nocase wide $b = { 41 ?? [2-4] ( 42 | 43 ) /* c */ } $ = /a\\/b[c]{2,3}/is ascii
        $x = "key" xor(0x01-5) private
    condition: any of ($a, $b*) and #a > 2 and @a[1] < 10KB
}
rule c { condition: a }
'''


def test_a_rule_is_taken_apart() -> None:
    """Flags, tags, meta, strings with their modifiers, the condition, and where each stands."""
    source = read("x.yar", SOURCE)
    assert source.faults == () and source.imports == ("pe",)
    a, c = source.rules
    assert a.flags == {"private", "global"} and a.tags == ("t1", "t2")
    assert {key: one.value for key, one in a.meta.items()} == {"id": "core.x", "n": -5, "yes": True}
    assert [(s.name, s.kind, s.flags, sorted(s.modifiers)) for s in a.strings] == [
        ("$a", "text", "", ["nocase", "wide"]), ("$b", "hex", "", []), ("$", "regex", "is", ["ascii"]),
        ("$x", "text", "", ["private", "xor"]),
    ]
    assert a.strings[0].body == b'foAo\n"' and a.strings[2].body == rb"a\/b[c]{2,3}"
    assert a.strings[3].arguments == {"xor": "0x01-5"}
    assert [token.text for token in c.condition] == ["a"]
    assert source.data[a.at:a.end].startswith(b"private global rule a") and source.data[a.at:a.end].endswith(b"}")
    assert source.place(c.at) == (9, 1)


@pytest.mark.parametrize(("text", "fault"), [
    ('rule a { condition: "abc', '1:21: a text that does not end on its line'),
    ("rule a { condition $a }", '1:20: "$a" where ":" was expected'), ("rule a {", "1:9: the file ends inside a rule"),
    ("rule 1 { condition: true }", '1:6: "1" is no name of a rule'), ("\n  nonsense",
    '2:3: "nonsense" where a rule was expected'),
    ('include "x"\n', "1:1: include is not allowed in a pack: list the file in pack.yaml"),
    ('rule a { strings: $a = "\\q" condition: $a }', '1:25: unknown escape "\\q"'),
    ('rule a { meta: x = 1 x = 2 condition: true }', '1:22: the meta key "x" is there twice'),
    ("rule a { condition: true } rule a { condition: true }", '1:28: the rule "a" is there twice (first on line 1)'),
])
def test_faults_have_their_place(text: str, fault: str) -> None:
    """What is not YARA is told with line and column."""
    assert [str(one) for one in read("x", text.encode()).faults] == ["x:" + fault]


def test_a_file_must_be_utf_8() -> None:
    """The place of the first byte that is not."""
    assert [str(one) for one in read("x", b"// a\n// \xff\n").faults] == ["x:2:4: not UTF-8 text"]


def test_numbers() -> None:
    """Decimal, hexadecimal, octal, with KB and MB."""
    assert [number(one) for one in ("12", "0x10", "0o10", "2KB", "1MB")] == [12, 16, 8, 2048, 1 << 20]
