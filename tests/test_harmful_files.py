"""What the project's own packs must find in files, plain and in archives, and what the default policy does then."""

from __future__ import annotations

import io
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

from inspector import policy
from inspector.model import DOWN, UP, Action, Address, Context, File, Flow, Limits
from inspector.scan.compiling import build_in_child, compile_units, units_of
from inspector.scan.filerules import FileRules
from inspector.scan.files import FileJudge
from inspector.scan.linearity import worst_texts
from inspector.scan.packs import folders, read_packs
from inspector.scan.rules import PackRule, read_rules
from inspector.scan.samples import Sample, read_samples

ROOT = Path(__file__).parent.parent
PACKS = read_packs(folders(ROOT / "signatures"))[0]
RULES = {rule.id: rule for rule in read_rules(PACKS)[0] if rule.scope != "message"}


def samples() -> list[Sample]:
    """Every sample that must match and whose rule is for files."""
    ids = {rule.id for rule in read_rules(PACKS)[0]}
    found = [one for pack in PACKS for one in read_samples(pack, {i for i in ids if i.startswith(f"{pack.name}.")}, [])]
    return [one for one in found if one.must and one.rule in RULES]


SAMPLES = samples()


@pytest.fixture(scope="module")
def judge() -> FileJudge:
    """The file rules of all packs of the project."""
    built = build_in_child(PACKS, Limits())
    assert not built.faults
    return FileJudge(FileRules.of(built, Limits()).blob)


def zipped(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return out.getvalue()


def tarred(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:xz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize("sample", SAMPLES, ids=[one.path.partition("match/")[2] for one in SAMPLES])
def test_every_sample_is_found_in_a_zip_in_a_tar(sample: Sample, judge: FileJudge) -> None:
    """What a file rule must match it matches wherever it lies."""
    for data in (sample.data, tarred("x/y.zip", zipped("z", sample.data))):
        report = judge.judge(data, File(file_name="x", size=len(data)))
        found = {one.rule: one for one in report.findings}
        assert sample.rule in found
        rule = RULES[sample.rule]
        assert (found[sample.rule].severity, found[sample.rule].tags) == (rule.severity, rule.tags)


WORST_BYTES = 256 * 1024
WORST_SECONDS = 0.5
"""CPU time for the worst text of a rule: linear ones take a fifth of it, quadratic ones many times as much."""


def beginnings(rule: PackRule) -> set[bytes]:
    """What a file must begin with for the condition to be looked at at all, as far as it says so."""
    tokens = [token.text for token in rule.rule.condition]
    found = {b""}
    for at, token in enumerate(tokens):
        if token == "uint32be" and tokens[at + 1:at + 5] == ["(", "0", ")", "=="]:
            found.add(int(tokens[at + 5], 16).to_bytes(4))
    return found


@pytest.mark.parametrize("name", RULES)
def test_no_file_rule_is_catastrophic(name: str) -> None:
    """On texts made to be worst for it, its strings over and over behind what it wants first, a rule stays quick."""
    rule = RULES[name]
    compiled = compile_units(units_of([rule], False)[0])
    for text in worst_texts(rule.rule, WORST_BYTES):
        for beginning in beginnings(rule):
            taken = []
            for _ in range(3):  # the machine may be busy
                started = time.thread_time()
                compiled.match(data=beginning + text, fast=True, timeout=20)
                taken.append(time.thread_time() - started)
                if taken[-1] < WORST_SECONDS:
                    break
            assert min(taken) < WORST_SECONDS, text[:60]


def test_the_test_file_of_scanners_is_refused_everywhere(judge: FileJudge) -> None:
    """Plain, in a zip in a zip, in an archive with the name of a picture: refused in both directions."""
    (one,) = [sample for sample in SAMPLES if sample.rule == "core.eicar"]
    default = policy.compile((ROOT / "rules" / "policy.yaml").read_text(encoding="utf-8"), "policy.yaml")
    context = Context(Flow("f", Address("10.0.0.5", 40000), Address("203.0.113.9", 5222)))
    context.protocol = "irc"
    for name, data in (
        ("notes.txt", one.data), ("a.zip", zipped("b.zip", zipped("c.txt", one.data))),
        ("holiday.jpg", zipped("c.txt", one.data)),
    ):
        report = judge.judge(data, File(file_name=name, size=len(data)))
        file = File(file_name=name, size=len(data), sha256=report.sha256, kinds=report.kinds, complete=True)
        for way in (UP, DOWN):
            verdict = default.decide(file, context, way, 1.8e9, report.findings)
            assert verdict is not None and (verdict.action, verdict.rule) == (Action.BLOCK, "harmful files are refused")
