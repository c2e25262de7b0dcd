"""`inspector check` of packs: every fault, with its place."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from inspector.scan import check
from tests.scan import making
from tests.scan.making_files import zipped

ROOT = Path(__file__).parents[2]


def texts(folder: Path, project: bool = False) -> list[str]:
    return [str(one).removeprefix(f"{folder}/") for one in check([folder], project)]


def test_the_packs_of_the_project_are_without_fault() -> None:
    """Schema, samples that match and that do not, linear rules, and none slow."""
    assert check([ROOT / "signatures"]) == []


def test_a_pack_and_a_folder_of_packs_are_told_by_content(tmp_path: Path) -> None:
    """A path is a pack when it has a pack.yaml; a folder without any pack is a fault."""
    pack = making.write(tmp_path, making.rule("a", '$a = "word"', "$a"))
    assert check([pack], False) == [] and check([tmp_path], False) == []
    (tmp_path / "empty").mkdir()
    assert texts(tmp_path / "empty") == [
        f"{tmp_path}/empty: no signature pack is here (a folder with a pack.yaml)",
    ]


def test_missing_samples_are_faults_of_project_packs_only(tmp_path: Path) -> None:
    """Both samples are wanted, unless the pack is somebody else's."""
    making.write(tmp_path, making.rule("a", '$a = "word"', "$a"))
    assert texts(tmp_path) == []
    assert texts(tmp_path, True) == [
        "t: the rule t.a has no sample in match/ that matches",
        "t: the rule t.a has no sample in nomatch/ that does not match",
    ]


def test_samples_must_match_and_must_not(tmp_path: Path) -> None:
    """Each sample is scanned as a text is, its other forms too; hexadecimal ones are undone; strangers are told."""
    pack = making.write(tmp_path, making.rule("a", '$a = "word"', "$a") + making.rule(
        "bin", "$a = { ff fe 01 02 }", "$a", scope="file"))
    for name, data in {
        "match/t.a.txt": "nothing", "match/t.a/1.txt": "w\u200bord", "nomatch/t.a.txt": "a word",
        "match/t.bin.hex": "00 ff fe 01 02", "nomatch/t.bin.hex": "fffe01", "match/t.b.txt": "x",
        "match/t.bin/2.hex": "fg", "match/README": "y",
    }.items():
        path = pack / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data, encoding="utf-8")
    assert texts(tmp_path, True) == [
        "t/match/README: a sample is called <id of its rule>.anything",
        't/match/t.a.txt: the rule t.a does not match this sample, which it must',
        't/match/t.b.txt: a sample of "t.b", which is no rule of the pack',
        't/match/t.bin/2.hex: not hexadecimal digits',
        't/nomatch/t.a.txt: the rule t.a matches this sample, which it must not',
    ]


def test_samples_of_file_rules_are_judged_as_files(tmp_path: Path) -> None:
    """A rule for files matches what is inside a sample; one for messages and files must match a text as a message."""
    rules = making.rule("inner", '$a = "needle" $b = "PK" wide', "$a and not $b", scope="file") + (
        making.rule("both", '$a = "a  needle"', "$a", scope="both"))
    folder = making.write(tmp_path, rules)
    for name, data in (("t.inner", zipped({"a": b"a needle"})), ("t.both", b"a <b></b> needle")):
        (folder / "match").mkdir(exist_ok=True)
        (folder / "match" / f"{name}.hex").write_text(data.hex())
    faults = [one.text for one in check([folder], project_packs=False)]
    assert faults == ["the rule t.both does not match this sample, which it must"]


def test_slow_rules_are_refused(tmp_path: Path) -> None:
    """A rule that is linear in form but takes more than a millisecond for 4 KiB made to be worst for it."""
    slow = making.rule("slow", "$a = /http[a-z.:\\/]{0,64}[^ ]{0,64}[a-z\\/.]{0,64}\\.exe/", "$a")
    making.write(tmp_path, making.rule("a", '$a = "word"', "$a") + slow)
    (fault,) = check([tmp_path], False)
    assert (fault.line, fault.column) == (2, 1)
    assert fault.text.startswith("the rule t.slow takes ") and fault.text.endswith("(at most 1 ms)")


def test_a_slow_machine_refuses_no_rule_that_others_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound is of the machine where it was set: time is measured beside a rule of known cost."""
    making.write(tmp_path, making.rule("slow", "$a = /http[a-z.:\\/]{0,64}[^ ]{0,64}[a-z\\/.]{0,64}\\.exe/", "$a"))
    assert len(check([tmp_path], False)) == 1
    monkeypatch.setattr(sys.modules["inspector.scan.check"], "_YARDSTICK_SECONDS", 1e-9)
    assert check([tmp_path], False) == []


def test_all_faults_at_once(tmp_path: Path) -> None:
    """Of several files and packs: schema, meta, ids, strings, YARA's own, each with line and column."""
    bad = (
        'rule a { meta: id = "t.a" severity = "hihg" description = "d" scope = "message" '
        'strings: $a = "word" condition: $a }\n'
        'rule b { meta: id = "x.b" severity = "low" description = "d" scope = "message" colour = "red" '
        "strings: $a = \"word\" condition: $a }\n"
        + making.rule("c", "$a = /wor.{0,500}d/", "$a") + making.rule("d", '$a = "word"', "$b")
        + making.rule("e", '$a = "word"', "$a") + making.rule("e", '$a = "word"', "$a")
        + making.rule("f", "$a = /wor+.*d+x/", "$a") + making.rule("g", "$a = /a.b/", "$a")
        + making.rule("h", "$a = /(wor+)+d/", "$a") + making.rule("i", "$a = { 41 42 43 [0-] 41 [70] 43 }", "$a")
        + 'rule j { condition: true }\n'
    )
    pack = making.write(tmp_path, bad)
    other = making.write(tmp_path, "", name="u", listed="gone.yar")
    (other / "pack.yaml").write_text("name: u\nversoin: 1\ncontent: []\n")
    found = texts(tmp_path)
    assert pack.name == "t"
    for want in (
        't/rules.yar:1:38: unknown severity "hihg" (did you mean "high"?)',
        't/rules.yar:2:21: the id "x.b" must begin with the pack\'s name: "t."',
        'unknown meta key "colour"',
        "the regular expression $a has a repeat above 64", 'undefined string "$b"',
        't/rules.yar:6:1: the rule "e" is there twice (first on line 5)',
        "the regular expression $a has more than one open repeat",
        "the regular expression $a has no literal of 3 bytes or more that each match must hold",
        "the regular expression $a has an open repeat inside a repeat",
        "the hexadecimal string $a has a repeat above 64",
        't/rules.yar:11:1: the rule "j" has no meta "id"', 't/rules.yar:11:1: the rule "j" has no meta "severity"',
        'u/pack.yaml:2:1: unknown key "versoin" (did you mean "version"?)', 'u/pack.yaml:1:1: "license" is missing',
        'u/pack.yaml:3:1: "rules.yar" is in the folder but not listed',
    ):
        assert any(want in one for one in found), (want, found)
