"""Prefilter and shards find what YARA finds over everything, whichever prefilter is used."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yara  # type: ignore[import-not-found]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from inspector.model import Limits, Text
from inspector.scan.compiling import build
from inspector.scan.normalise import Layout
from inspector.scan.prefilter import HyperscanPrefilter, Re2Prefilter
from inspector.scan.scanner import MakePrefilter, PackScanner
from tests.scan import making

_WORDS = ["free", "money", "Click", "paypal", "https://", "account now", "ab", "\\x00\\x01\\xff", "é", "zz9",
          "pass word"]


def _plain(word: str) -> bytes:
    return word.encode().replace(b"\\x00\\x01\\xff", b"\x00\x01\xff")


_PIECES = st.sampled_from(_WORDS)
_NOCASE = st.sampled_from(["", " nocase", " fullword", " nocase fullword", " private"])
_WIDE = st.sampled_from(["", " wide", " wide ascii", " ascii"])


@st.composite
def _strings(draw: st.DrawFn) -> tuple[str, list[bytes]]:
    """A string of a rule, and bytes that hold matches of it."""
    word = draw(_PIECES) + draw(_PIECES)
    raw = _plain(word)
    kind = draw(st.sampled_from(["text", "xor", "base64", "hex", "regex", "regex2"]))
    wide = b"".join(bytes((byte, 0)) for byte in raw)
    if kind == "text":
        return f'"{word}"{draw(_NOCASE)}{draw(_WIDE)}', [raw, raw.upper(), wide]
    if kind == "xor":
        low = draw(st.integers(0, 255))
        high = draw(st.integers(low, 255))
        return f'"{word}" xor({low}-{high}){draw(_WIDE)}', [
            bytes(b ^ key for b in form) for form in (raw, wide) for key in (low, high)
        ]
    if kind == "base64":
        flavour = draw(st.sampled_from(["base64", "base64wide", "base64 base64wide"]))
        made = [base64.b64encode(b"x" * shift + raw + b"yz") for shift in range(3)]
        return f'"{word}" {flavour}', [*made, *(b"".join(bytes((b, 0)) for b in one) for one in made)]
    if kind == "hex":
        bytes_ = [f"{b:02x}" for b in raw]
        hole = draw(st.integers(1, len(bytes_) - 1))
        what = draw(st.sampled_from(["??", "[0-3]", "[2]", "( 41 | 42 43 )", "4?", "~41", "[1-]"]))
        planted = [raw[:hole] + fill + raw[hole:] for fill in (b"", b"A", b"BC", b"AB", b"ABC")]
        return f"{{ {' '.join(bytes_[:hole])} {what} {' '.join(bytes_[hole:])} }}", planted
    safe = "".join(c if c.isalnum() and c.isascii() else f"\\x{b:02x}" for c in word for b in c.encode()) \
        if "\\" not in word else "nul\\x00\\xffx"
    flags = draw(st.sampled_from(["", "i"])) + draw(st.sampled_from(["", "s"]))
    tail = draw(st.sampled_from(["", "+", "?", "{2}", "{1,3}", " ?x*", "[abc]{1,2}", "(one|two)", "\\b", "$",
                                 "(a|)", "\\d+"]))
    head = draw(st.sampled_from(["", "^", "(x|yy)", "[^q]", ".{0,3}", "\\w", "a?"]))
    if kind == "regex2":
        tail = draw(st.sampled_from(["[ -]{1,3}", ".", "\\s{0,2}", "(a|bc)?"])) + "then" + tail
    body = raw if "\\" not in word else b"nul\x00\xffx"
    middle = draw(st.sampled_from([b"", b" ", b"bc", b"- "]))
    planted = [
        front + one + middle + end for one in (body, body.upper()) for front in (b"", b"x", b"yy", b"z")
        for end in (b"", b"then", b"thenone", b"one", b"a", b"7", body[-1:] * 2)
    ]
    return f"/{head}{safe}{tail}/{flags}{draw(_NOCASE.filter(lambda s: 'fullword' not in s))}{draw(_WIDE)}", planted


_CONDITIONS: list[str] = [
    "any of them", "all of them", "2 of them", "$s0", "$s0 and $s1", "$s0 or $s1", "not $s0", "#s0 > 1", "#s0 == 0",
    "#s1 >= 1 and not $s0", "$s0 at 0", "$s1 in (0..40)", "for any of them : ( # > 1 )", "for all of them : ( $ )",
    "filesize > 20", "($s0 or filesize > 5) and $s1", "1 of ($s*)", "none of them", "@s0 < 10",
    "for any of ($s0, $s1) : ($)",
    "any of them in (0..30)", "true", "false or $s1", "50% of them", "for any i in (1..#s0) : ( @s0[i] > 3 )",
    "for any of them : ( # == 0 )", "(#s0 + #s1) > 1", "not (not $s0)", "$s0 and (filesize > 3 or $s1)", "defined @s0",
    "uint8(0) == 0x66 or $s1", "for any of ($s0) : ( @ < 20 )", "2 of ($s0, $s1) and filesize < 10MB", "0 of them",
]


@st.composite
def _case(draw: st.DrawFn) -> tuple[str, list[str]]:
    """Rules, and texts in which their strings are planted."""
    sources: list[str] = []
    planted: list[bytes] = [b"harmless words", b" "]
    for i in range(draw(st.integers(1, 4))):
        strings = [draw(_strings()) for _ in range(2)]
        lines = " ".join(f"$s{n} = {text}" for n, (text, _) in enumerate(strings))
        condition = draw(st.sampled_from(_CONDITIONS))
        if i and draw(st.booleans()):
            condition = f"({condition}) {draw(st.sampled_from(['and', 'or']))} r{i - 1}"
        used = "" if "them" in condition or "$s*" in condition else " and (any of them or true)"
        sources.append(making.rule(f"r{i}", lines, f"({condition}){used}"))
        planted += [piece for _, pieces in strings for piece in pieces]
    texts: list[str] = []
    for _ in range(draw(st.integers(1, 3))):
        parts = draw(st.lists(st.sampled_from(planted), max_size=6))
        glue = draw(st.sampled_from([b"", b" ", b"\n", b"Zq"]))
        texts.append(glue.join(parts).decode("utf-8", "replace"))
    return "".join(sources), texts


def _everything(rules: str, texts: list[Text]) -> set[str]:
    """What YARA says of all rules at once, over the same bytes."""
    compiled: Any = yara.compile(source=rules)
    return {match.meta["id"] for match in compiled.match(data=Layout(texts).data)}


@pytest.mark.parametrize("examples", [40, pytest.param(400, marks=pytest.mark.long)])
@pytest.mark.parametrize("make", [HyperscanPrefilter, Re2Prefilter])
@pytest.mark.timeout(1200)
def test_prefilter_and_shards_are_yara_over_everything(make: MakePrefilter, examples: int) -> None:
    """Any rules, any texts with their strings planted: the same rules match, with each prefilter."""
    matched = [0, 0]

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    @given(_case())
    def same(case: tuple[str, list[str]]) -> None:
        rules, plain = case
        try:
            yara.compile(source=rules)
        except yara.Error:
            return
        made = build([making.pack(rules)], Limits(yara_rules_per_shard=2))
        # The rules that keep messages linear are another test's matter: these rules are small.
        scanner = PackScanner(made, Limits(), make)
        texts = [Text("body", one) for one in plain]
        found = {one.rule for one in scanner.full(texts) if one.detector == "yara"}
        wanted = _everything(rules, texts)
        assert found == wanted
        matched[bool(wanted)] += 1

    same()
    assert min(matched) > 4, "texts with and without matches were tried"


def _ids(scanner: PackScanner, text: str) -> list[str]:
    return [one.rule for one in scanner.quick([Text("body", text)]) or ()]


def test_what_can_be_true_without_a_string_always_runs() -> None:
    """Rules without a necessary string, or without a safe literal, are told and run on every text."""
    rules = "".join([
        making.rule("size", "", "filesize > 3"), making.rule("negated", '$a = "spam"', "not $a"),
        making.rule("short", '$a = "ab"', "$a"), making.rule("usual", '$a = "spam"', "$a"),
    ])
    scanner = making.scanner(making.pack(rules))
    assert sorted(scanner.always_run) == ["t.negated", "t.short", "t.size"]
    assert _ids(scanner, "hello ab") == ["t.negated", "t.short", "t.size"]
    assert _ids(scanner, "spam") == ["t.size", "t.usual"]


def test_rules_that_name_rules_stay_together() -> None:
    """A rule that names another works in shards of one rule; a private rule makes no finding; a global one holds."""
    rules = (
        'private rule p { strings: $a = "secret" condition: $a }\n'
        + making.rule("uses", '$b = "word"', "p and $b") + making.rule("alone", '$c = "alone"', "$c")
    )
    scanner = making.scanner(making.pack(rules), limits=Limits(yara_rules_per_shard=1))
    assert _ids(scanner, "a secret word") == ["t.uses"]
    assert scanner.quick([Text("b", "a word")]) == ()
    assert _ids(scanner, "alone") == ["t.alone"]
    held = 'global private rule g { condition: filesize < 10 }\n' + making.rule("long", '$a = "spam"', "$a")
    scanner = making.scanner(making.pack(held))
    assert _ids(scanner, "spam") == ["t.long"]
    assert scanner.quick([Text("b", "spam and much more")]) == ()
