"""Meta of rules."""

from __future__ import annotations

import pytest

from inspector.scan.rules import read_rules, split_tags
from tests.scan import making


def _faults(meta: str) -> list[str]:
    return [one.text for one in read_rules([making.pack(f"rule a {{ meta: {meta} condition: true }}")])[1]]


def test_what_meta_says() -> None:
    """Id, severity, scope, tags and the pack's label."""
    meta = 'id = "t.a" severity = "low" description = "d" scope = "both" tags = "x, y,x" reference = "r" author = "me"'
    ((rule,), faults) = read_rules([making.pack(f"rule a {{ meta: {meta} condition: true }}")])
    assert faults == []
    assert (rule.id, rule.severity, rule.scope, rule.tags, rule.pack) == ("t.a", "low", "both", ("x", "y"), "t@1")
    assert rule.for_messages


@pytest.mark.parametrize(("meta", "want"), [
    ('id = "t.a" severity = "low" description = "d"', ['the rule "a" has no meta "scope"']),
    ('id = "u.a" severity = "low" description = "d" scope = "file"',
    ['the id "u.a" must begin with the pack\'s name: "t."']),
    ('id = "t.A" severity = "low" description = "d" scope = "file"',
     ['the id "t.A" may have small letters, digits, "_", "-" and "."']),
    ('id = "t.a" severity = "lw" description = "d" scope = "fil"',
     ['unknown severity "lw" (did you mean "low"?)', 'unknown scope "fil" (did you mean "file"?)']),
    ('id = "t.a" severity = 3 description = "d" scope = "file"', ['meta "severity" must be text']),
    ('id = "t.a" severity = "low" description = "d" scope = "file" tgas = "x"',
     ['unknown meta key "tgas" (did you mean "tags"?)']),
])
def test_faults_of_meta(meta: str, want: list[str]) -> None:
    """Missing, unknown and wrong ones, with a hint."""
    assert _faults(meta) == want


def test_an_id_is_there_once() -> None:
    """Across files and packs; the second says where the first is."""
    rule = making.rule("a", "", "true")
    _, faults = read_rules([making.pack(rule + rule.replace("rule a", "rule b"))])
    assert [one.text for one in faults] == ['the id "t.a" is in t/rules.yar:1 too']


def test_private_rules_need_no_meta() -> None:
    """They make no findings."""
    assert read_rules([making.pack("private rule p { condition: true }")])[1] == []


def test_tags() -> None:
    """Parted by commas, each once."""
    assert split_tags(" a, b,,a ") == ("a", "b")
