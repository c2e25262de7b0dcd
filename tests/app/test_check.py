"""app.check: what a path is, what is wrong with it, and the table of policy tests."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from inspector.app.check import (
    check_command,
    check_paths,
    compile_policy,
    kind_of,
    policy_test_command,
    run_policy_tests,
    tell,
)
from inspector.app.errors import UserError
from inspector.policy import compile
from inspector.wire.located import Faults

HERE = Path(__file__).parents[2]


def test_the_project_s_own_files_have_no_fault() -> None:
    """The default policy, its tests and the complete example pass what they are checked with."""
    paths = [HERE / "rules" / "policy.yaml", *sorted((HERE / "rules" / "tests").glob("*.yaml"))]
    checked = check_paths(paths)
    assert checked.faults == []
    assert len(checked.what) == len(paths)


def test_the_default_policy_passes_its_tests_and_none_of_its_rules_is_untested() -> None:
    """rules/tests sees every rule of rules/policy.yaml match, and everything come out as written."""
    results = run_policy_tests([HERE / "rules" / "tests"], HERE / "rules" / "policy.yaml")
    assert [str(result.fault) for result in results.failed] == []
    assert results.untested == ()
    assert len(results.results) > 30


def blocks(page: Path) -> list[str]:
    """The indented blocks of a page of the docs, without their indent."""
    found: list[list[str]] = [[]]
    for line in page.read_text().splitlines():
        if line.startswith("    ") or (not line and found[-1]):
            found[-1].append(line[4:])
        elif found[-1]:
            found.append([])
    return ["\n".join(block) for block in found if block]


def test_the_examples_of_the_docs_are_valid(tmp_path: Path) -> None:
    """Every policy, condition and test on the page about rules can be copied as it stands."""
    kinds = []
    for block in blocks(HERE / "docs" / "write-a-rule.md"):
        first = block.partition(":")[0]
        kinds.append(first)
        if first in ("rules", "enforce"):
            compile(block, "docs")
        elif first == "when":
            indented = block.replace("\n", "\n    ")
            compile(f"groups: {{finance: {{users: [x]}}}}\nrules:\n  - name: r\n    {indented}\n    then: warn", "docs")
        elif first == "given":
            (tmp_path / "t.yaml").write_text(block)
            results = run_policy_tests([tmp_path / "t.yaml"], HERE / "rules" / "policy.yaml")
            assert [str(result.fault) for result in results.failed] == []
    assert {"rules", "enforce", "when", "given"} <= set(kinds)


def test_the_default_policy_can_be_run() -> None:
    """No rule in it is hidden by another."""
    policy = compile_policy(HERE / "rules" / "policy.yaml")
    assert policy.hidden() == ()
    assert policy.enforce


@pytest.mark.parametrize(("keys", "kind"), [
    (["listeners", "policy"], "config"), (["rules"], "policy"), (["enforce", "groups", "typo"], "policy"),
    (["name", "version", "content"], "pack"), (["tests"], "tests"), (["tests", "given", "description"], "tests"),
    (["limits"], "config"), (["nothing"], None), ([], None),
])
def test_kinds(keys: list[str], kind: str | None) -> None:
    """By keys, so that a misspelled one does not change what the file is."""
    assert kind_of(keys) == kind


def test_told_by_content_never_by_name(tmp_path: Path) -> None:
    """A policy called inspector.yaml is a policy, a configuration called policy.txt a configuration."""
    (tmp_path / "inspector.yaml").write_text("rules:\n  - {name: r, when: {}, then: blok}\n")
    (tmp_path / "policy.txt").write_text("workers: 0\n")
    (tmp_path / "tests.conf").write_text("tests: [{name: t, expect: blok}]\n")
    (tmp_path / "notes.yaml").write_text("hello: world\n")
    (tmp_path / "list.yaml").write_text("- 5\n")
    (tmp_path / "broken.yaml").write_text("a: [\n")
    names = ["inspector.yaml", "policy.txt", "tests.conf", "notes.yaml", "list.yaml", "broken.yaml", "missing.yaml"]
    checked = check_paths([tmp_path / name for name in names])
    assert [str(fault).removeprefix(f"{tmp_path}/") for fault in checked.faults] == [
        'inspector.yaml:2:31: unknown action "blok" (did you mean "block"?)',
        "policy.txt:1:10: workers is a whole number from 1 to 256",
        'tests.conf:1:27: unknown action "blok" (did you mean "block"?)',
        "notes.yaml:1:1: neither a configuration, a policy, tests of one nor a pack: no key of any of them",
        "list.yaml:1:1: neither a configuration, a policy, tests of one nor a pack: no key of any of them",
        "broken.yaml:2:1: not YAML: while parsing a flow node, expected the node content, but found '<stream end>'",
        "missing.yaml: there is no such file or folder",
    ]


def test_a_policy_that_only_says_how_files_are_taken(tmp_path: Path) -> None:
    """`files` is a key of both; a list is the policy's."""
    (tmp_path / "p.yaml").write_text("files: [{when: {direction: inbound}, mode: spol}]")
    (tmp_path / "c.yaml").write_text("files: {clamd: 5}")
    policy, config = (check_paths([tmp_path / name]).faults for name in ("p.yaml", "c.yaml"))
    assert [fault.text for fault in policy] == ['unknown mode "spol" (did you mean "spool"?)']
    assert len(config) == 1 and config[0].text.startswith("clamd is ")


def test_a_folder_is_checked_with_all_that_is_in_it(tmp_path: Path) -> None:
    """`inspector check inspector.yaml rules signatures`, as the README says it: policies, their tests, packs."""
    checked = check_paths([HERE / "rules", HERE / "signatures"])
    assert checked.faults == []
    assert [told.removeprefix(f"{HERE}/").partition(":")[0] for told in checked.what] == [
        "rules/policy.yaml", "rules/tests/files.yaml", "rules/tests/harmful.yaml", "rules/tests/harmless.yaml",
        "rules/tests/leaks.yaml", "signatures"]
    (tmp_path / "below" / "deep").mkdir(parents=True)
    (tmp_path / "below" / "p.yml").write_text("rules: 5\n")
    (tmp_path / "below" / "deep" / "pack.yaml").write_text("")
    (tmp_path / "below" / "deep" / "other.yaml").write_text("hello: world\n")
    (tmp_path / ".hidden.yaml").write_text("rules: 5\n")
    (tmp_path / "none").mkdir()
    told = [str(fault).removeprefix(f"{tmp_path}/") for fault in check_paths([tmp_path, tmp_path / "none"]).faults]
    assert told == [
        "below/p.yml:1:8: rules is a list",
        "below/deep/pack.yaml:1:1: a pack is a mapping: name, version, description, license, content",
        "none: neither a signature pack (a folder with a pack.yaml) nor a configuration or policy is here",
    ]


def test_a_file_without_end_is_a_fault() -> None:
    """What is not of ours is not read for ever."""
    [fault] = check_paths([Path("/dev/zero")]).faults
    assert str(fault) == "/dev/zero: longer than any file that people write"


def test_a_configuration_is_checked_with_what_it_names(tmp_path: Path) -> None:
    """Its policy, its packs, and the groups of one that the other must have."""
    (tmp_path / "signatures").mkdir()
    (tmp_path / "p.yaml").write_text(
        "groups: {a: {users: [x]}}\nrules:\n  - {name: r, when: {}, then: cut}\n  - {name: s, when: {}, then: warn}\n",
    )
    (tmp_path / "i.yaml").write_text("policy: p.yaml\nprivacy: {never_inspect: [b]}\n")
    told = [str(fault).removeprefix(f"{tmp_path}/") for fault in check_paths([tmp_path / "i.yaml"]).faults]
    assert told[0] == 'p.yaml:4:12: rule "s" is never reached: "r" (line 3) decides all that it matches'
    assert told[1] == 'i.yaml:2:27: the policy has no group "b"'
    assert len(told) == 3 and told[2].startswith("signatures: no signature pack is here")


def test_what_is_named_twice_is_checked_once(tmp_path: Path) -> None:
    """A configuration names policy and packs, and whoever checks names them, too."""
    (tmp_path / "policy.yaml").write_text("rules: [{name: x}]")
    pack = tmp_path / "packs" / "p"
    pack.mkdir(parents=True)
    (pack / "pack.yaml").write_text("name: p\n")
    config = tmp_path / "inspector.yaml"
    config.write_text("policy: policy.yaml\nsignatures: packs\n")
    alone = check_paths([config])
    assert alone.faults
    twice = check_paths([config, tmp_path / "policy.yaml", tmp_path / "packs", config.parent / "packs"])
    assert (twice.what, twice.faults) == (alone.what, alone.faults)


def test_a_file_of_a_pack_is_checked_with_it(tmp_path: Path) -> None:
    """Rules are no YAML, and what is wrong with that says nothing of them."""
    path = tmp_path / "a.yar"
    path.write_text("rule a\n{\n    meta:\n        id = \"t.a\"\n}\n")
    assert [fault.text for fault in check_paths([path]).faults] == [
        "a file of a pack is checked with it: name the folder"]


def test_a_policy_that_is_not_there(tmp_path: Path) -> None:
    """A configuration that names a missing policy or folder is told so."""
    (tmp_path / "i.yaml").write_text("policy: none.yaml\nsignatures: none\ntls: {upstream_ca: ca.pem}\n")
    assert [str(fault) for fault in check_paths([tmp_path / "i.yaml"]).faults] == [
        f"{tmp_path}/i.yaml:3:20: there is no file {tmp_path}/ca.pem",
        f"{tmp_path}/none.yaml: cannot be read: no such file or directory",
        f"{tmp_path}/i.yaml:2:13: there is no folder {tmp_path}/none",
    ]


def test_check_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No fault: what was checked on stdout, 0. Faults: all of them in the error, which exits 1."""
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text("rules: []\n")
    bad.write_text("rules: 5\nenforce: 5\n")
    assert check_command(Namespace(paths=[str(good)], config=None)) == 0
    assert capsys.readouterr().out == f"{good}: policy with 0 rules\n"
    with pytest.raises(UserError) as caught:
        check_command(Namespace(paths=[str(good), str(bad)], config=None))
    assert caught.value.sentence == f"{bad}:1:8: rules is a list\n{bad}:2:10: enforce is true or false"
    assert caught.value.exit == 1


POLICY = """rules:
  - {name: no secrets, when: {text: secret}, then: block}
  - {name: other, when: {copy: leg}, then: warn}
"""
TESTS = """tests:
  - name: a secret
    given: {text: "my secret"}
    expect: {action: block, rule: no secrets}
  - name: no secret
    given: {text: "nothing"}
    expect: block
"""


def test_policy_test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of all tests; a failing one says with file and line what was expected and what came; exit 1."""
    (tmp_path / "rules" / "tests").mkdir(parents=True)
    (tmp_path / "rules" / "policy.yaml").write_text(POLICY)
    tests = tmp_path / "rules" / "tests" / "t.yaml"
    tests.write_text(TESTS)
    (tmp_path / "i.yaml").write_text("policy: rules/policy.yaml\n")
    args = Namespace(paths=[], config=str(tmp_path / "i.yaml"), explain=False)
    with pytest.raises(UserError) as caught:
        policy_test_command(args)
    assert (caught.value.sentence, caught.value.exit) == ("1 of 2 tests failed", 1)
    assert capsys.readouterr().out == f"""{tests}
  ok    a secret   block   no secrets
  FAIL  no secret  pass    -
        {tests}:5: expected action "block", got "pass"
no test sees these rules match: other
2 tests, 1 failed
"""
    tests.write_text(TESTS.replace("expect: block", "expect: pass"))
    assert policy_test_command(args) == 0


def test_explain_tells_of_each_rule(tmp_path: Path) -> None:
    """Below each test a line for each rule: matched or not, and why."""
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "t.yaml").write_text(TESTS)
    lines: list[str] = []
    tell(run_policy_tests([tmp_path / "t.yaml"], tmp_path / "p.yaml"), True, lines.append)
    assert lines[2:4] == [
        "        matched  no secrets (line 2): text: secret",
        '        -        other (line 3): not reached: "no secrets" had decided',
    ]
    assert "        no       no secrets (line 2): not text: secret (not in the text)" in lines


def test_faults_of_policy_and_tests_come_together(tmp_path: Path) -> None:
    """A broken policy does not hide the faults of its tests, nor does an empty folder pass for tested."""
    (tmp_path / "p.yaml").write_text("rules: 5\n")
    (tmp_path / "t.yaml").write_text("tests: [{name: t, expect: blok}]\n")
    (tmp_path / "empty").mkdir()
    with pytest.raises(Faults) as caught:
        run_policy_tests([tmp_path / "t.yaml", tmp_path / "empty"], tmp_path / "p.yaml")
    assert [str(fault).removeprefix(f"{tmp_path}/") for fault in caught.value.faults] == [
        "empty: no tests there", "p.yaml:1:8: rules is a list",
        't.yaml:1:27: unknown action "blok" (did you mean "block"?)',
    ]
