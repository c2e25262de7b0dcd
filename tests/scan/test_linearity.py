"""What keeps message rules linear."""

from __future__ import annotations

import pytest

from inspector.scan.linearity import faults, worst_texts
from inspector.scan.yararules import read


@pytest.mark.parametrize(("string", "want"), [
    ('"x"', []), ("/abc[0-9]{1,64}d/", []), ("/abc.*d/", []), ("/abc[0-9]{1,65}/", ["has a repeat above 64"]),
    ("/abc.*d.*/", ["has more than one open repeat"]), ("/(abc)+(d+e){2}/", ["has more than one open repeat",
     "has an open repeat inside a repeat"]), ("/ab.cd/",
     ["has no literal of 3 bytes or more that each match must hold"]),
    ("/((abc){20}d){30}/", ["has repeats inside repeats that multiply to more than 512"]),
    ("{ 41 42 43 [0-64] 44 }", []),
    ("{ 41 42 43 [0-65] 44 }", ["has a repeat above 64"]), ("{ 41 42 43 [1-] 44 [1-] 45 }",
    ["has more than one open repeat"]),
    ("/abc[z-a]/", ["does not compile under RE2: invalid character class range: z-a",
     "has no literal of 3 bytes or more that each match must hold"]),
    (r"/abc\1/", [r"is not understood: an unknown escape \1"]),
])
def test_strings_of_message_rules(string: str, want: list[str]) -> None:
    """Ranges, open repeats, products, literals; RE2 must take it."""
    (rule,) = read("x", f"rule a {{ strings: $a = {string} condition: $a }}".encode()).rules
    found = list(faults(rule.strings[0]))
    assert [one.partition("$a ")[2] for one in found] == want


def test_worst_texts_have_the_size() -> None:
    """Texts of the size asked for, with the rule's own matter in them."""
    (rule,) = read("x", b'rule a { strings: $a = /ab{2,5}c/ $b = "xyz" wide condition: $a }').rules
    texts = list(worst_texts(rule, 1000))
    assert len(texts) > 4 and all(len(text) == 1000 or len(text) >= 900 for text in texts)
    assert any(b"abbbbbc" in text for text in texts) and any(b"x\0y\0z\0" in text for text in texts)
