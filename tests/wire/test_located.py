"""wire.located: YAML with places. Every fault at once, never another exception."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from inspector.wire import located
from inspector.wire.located import Fault, Faults, did_you_mean, dig, load_yaml, shown


def faults_of(text: str | bytes, **bounds: int) -> list[str]:
    with pytest.raises(Faults) as caught:
        load_yaml(text, "f.yaml", **bounds)
    return [str(fault) for fault in caught.value.faults]


def test_values_and_places() -> None:
    """Plain values come out, and every key and value knows its line and column, counted from 1."""
    document = load_yaml('rules:\n  - name: a\n    "then": [cut, 5]\n', "f.yaml")
    assert document.value == {"rules": [{"name": "a", "then": ["cut", 5]}]}
    assert document.at("rules") == (2, 3)
    assert document.at("rules", 0, "name") == (2, 11)
    assert document.key_at("rules", 0, "name") == (2, 5)
    assert document.key_at("rules", 0, "then") == (3, 5)
    assert document.at("rules", 0, "then", 1) == (3, 19)
    assert document.key_at("rules", 0, "then", 1) == (3, 19)


def test_a_place_that_is_not_there_is_the_nearest_above() -> None:
    """A fault about a missing key points at the mapping that misses it."""
    document = load_yaml("a:\n  b: 1\n", "f.yaml")
    assert document.at("a", "c", "d") == (2, 3)
    assert load_yaml("", "f.yaml").at("a") == (1, 1)
    assert str(document.fault("wrong", "a", "b")) == "f.yaml:2:6: wrong"
    assert str(document.key_fault("wrong", "a", "b")) == "f.yaml:2:3: wrong"


@pytest.mark.parametrize(("written", "value"), [
    ("no", "no"), ("yes", "yes"), ("on", "on"), ("08:00", "08:00"), ("2027-01-31", "2027-01-31"), ("1.2.3", "1.2.3"),
    ("10.0.0.1", "10.0.0.1"), ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("12", 12),
    ("-3", -3), ("+3", 3), ("2.5", 2.5), (".5", 0.5), ("1e3", 1000.0), ("1e999", "1e999"), ("0", 0), ("--1", "--1"),
    ("0x10", "0x10"), ("1_000", "1_000"), ("'12'", "12"), ('"true"', "true"), ("''", ""), ("e5", "e5"), ("-", [None]),
    ("1.", 1.0), ("٣", "٣"), (".inf", ".inf"),
])
def test_plain_scalars(written: str, value: object) -> None:
    """The core schema of YAML 1.2: what YAML 1.1 takes for booleans, times and dates is text."""
    got = load_yaml(f"a:\n - x\n - {written}\n", "f.yaml").value["a"][1]
    assert got == value
    assert type(got) is type(value)


def test_raw_keeps_what_is_written() -> None:
    """The version 1.10 is not 1.1."""
    document = load_yaml("version: 1.10\nlist: [a]", "f.yaml")
    assert document.value["version"] == 1.1
    assert document.raw("version") == "1.10"
    assert document.raw("list") is None


@pytest.mark.parametrize(("text", "fault"), [
    ("a: 1\nb: 2\na: 3\n", 'f.yaml:3:1: the key "a" is there twice (first on line 1)'),
    ("a: &x 1\n", "f.yaml:1:4: anchors (&) are not supported"),
    ("a: 1\nb: *x\n", "f.yaml:2:4: aliases (*) are not supported"),
    ("a: !!str 1\n", 'f.yaml:1:4: tags are not supported ("tag:yaml.org,2002:str")'),
    ("a: !x {b: 1}\n", 'f.yaml:1:4: tags are not supported ("!x")'),
    ("5: 1\n", 'f.yaml:1:1: a key must be text: put "5" into quotes'),
    ("true: 1\n", 'f.yaml:1:1: a key must be text: put "true" into quotes'),
    ("? [a, b]\n: 1\n", "f.yaml:1:3: a key must be text"),
    ("? {a: {b: c}}\n: {d: e}\n", "f.yaml:1:3: a key must be text"),
    ("a: 0600\n", 'f.yaml:1:4: "0600" begins with 0: put it into quotes if it is text'),
    ("a: 1234567890123456789\n", "f.yaml:1:4: a number of 19 digits is too long: put it into quotes if it is text"),
    ("a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document; one file holds one"),
    ("a: b\x01\n", "f.yaml:1:5: a character that YAML does not allow"),
    ("a: 1\nb: \ud800", "f.yaml:2:4: a character that YAML does not allow"),
    (b"a: 1\n\xc3\xa4: \xff", "f.yaml:2:4: not UTF-8 text"),
])
def test_refused(text: str | bytes, fault: str) -> None:
    """What is not in the subset is one fault with its place."""
    assert faults_of(text) == [fault]


def test_broken_yaml_says_where() -> None:
    """A fault of syntax has the place where reading stopped."""
    (fault,) = faults_of("a: 1\nb: [1, 2\nc: 3\n")
    assert fault.startswith("f.yaml:3:2: not YAML: while parsing a flow sequence")


def test_all_faults_at_once() -> None:
    """One run tells all of them, in the order of the lines, those before a fault of syntax included."""
    assert faults_of("a: &x 1\na: *x\n6: [\n")[:3] == [
        "f.yaml:1:4: anchors (&) are not supported",
        'f.yaml:2:1: the key "a" is there twice (first on line 1)',
        "f.yaml:2:4: aliases (*) are not supported",
    ]
    assert len(faults_of("a: &x 1\na: *x\n6: [\n")) == 5


def test_bounds() -> None:
    """Depth, number of values, length and number of faults are bounded."""
    assert faults_of("[" * 100_000) == ["f.yaml:1:33: nested more than 32 deep"]
    assert faults_of("[[1]]", depth=1) == ["f.yaml:1:2: nested more than 1 deep"]
    assert faults_of("[1, 2, 3]", nodes=3) == ["f.yaml:1:8: too many values in one file"]
    assert faults_of("abcd", chars=3) == ["f.yaml: longer than 3 characters"]
    assert len(faults_of("- &x 1\n" * 5000)) == 201


def test_a_colon_may_begin_text_in_a_list() -> None:
    """`[::1/128]` is YAML, though the C reader does not know; quoted keys need no blank after their colon."""
    text = 'inside: [127.0.0.0/8, ::1/128, fe80::/10]\nmore: {a: ::1, "b":1, c::d: [e], [f]: 1}'
    assert faults_of(text) == ["f.yaml:2:34: a key must be text"]
    text = 'inside: [127.0.0.0/8, ::1/128, fe80::/10]\nmore: {a: ::1, "b":1, c::d: [e]}'
    assert load_yaml(text, "f.yaml").value == {
        "inside": ["127.0.0.0/8", "::1/128", "fe80::/10"], "more": {"a": "::1", "b": 1, "c::d": ["e"]},
    }


def test_unknown_keys_of_a_mapping() -> None:
    """Each unknown key is a fault at the key, with the nearest known one."""
    document = load_yaml("a: {nmae: 1, then: 2}", "f.yaml")
    assert [str(fault) for fault in document.unknown(("name", "then"), "a")] == [
        'f.yaml:1:5: unknown key "nmae" (did you mean "name"?)',
    ]
    assert document.unknown(("x",), "a", "then") == []


def test_did_you_mean() -> None:
    """The nearest word, case aside; nothing where nothing is near."""
    assert did_you_mean("blok", ["pass", "block"]) == ' (did you mean "block"?)'
    assert did_you_mean("BLOCK", ["pass", "block"]) == ' (did you mean "block"?)'
    assert did_you_mean("xyz", ["pass", "block"]) == ""
    assert did_you_mean("x" * 100_000, ["x" * 70]) != "never"


def test_shown_is_one_harmless_line() -> None:
    """What a fault shows of a file cannot move the cursor or fill the screen."""
    assert shown("a\x1b[2J\nb") == "a\\x1b[2J\\x0ab"
    assert shown("x" * 100) == "x" * 59 + "…"


def test_dig() -> None:
    """A step that leads nowhere is None."""
    assert dig({"a": [{"b": 1}]}, ("a", 0, "b")) == 1
    assert dig({"a": [1]}, ("a", 1)) is None
    assert dig({"a": [1]}, ("a", "b")) is None
    assert dig(5, (0,)) is None


def test_faults_are_sorted_and_unique() -> None:
    """Faults of several files are told by file and line, each once."""
    late, early = Fault("b", 2, 1, "x"), Fault("a", 3, 1, "y")
    assert Faults([late, early, late]).faults == (early, late)
    assert str(Faults([late, early])) == "a:3:1: y\nb:2:1: x"


ODD = "ab:[]{},-?&*!|>'\"#%@ \n\t1"


@given(st.one_of(st.text(max_size=60), st.text(alphabet=ODD, max_size=60), st.binary(max_size=60)))
def test_any_text_is_a_document_or_faults(text: str | bytes) -> None:
    """Whatever is in a file, there is a value or there are faults; never another exception."""
    try:
        document = load_yaml(text, "f.yaml")
    except Faults as faults:
        assert faults.faults
    else:
        assert document.at() >= (1, 1)


@given(st.text(alphabet="ab:[]{},-'\"# \n1", max_size=40))
def test_both_readers_agree(text: str) -> None:
    """Where both the C reader and the Python one (asked where C gives up) read a text, they read the same."""
    builder = located._Builder("f.yaml", 32, 1000)
    other = located._Builder("f.yaml", 32, 1000)
    try:
        builder.read(text, located._Loader)
        other.read(text, located._FlowLoader)
    except yaml.YAMLError:
        return
    assert (other.root, other.faults) == (builder.root, builder.faults)
