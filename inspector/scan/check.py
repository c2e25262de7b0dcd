"""`inspector check` for packs: all that can be known to be wrong before a pack meets a message.

Beyond what loading refuses: each rule has samples, matches those it must and none that it must not; and no message
rule takes longer than a millisecond on texts of 4 KiB made to be worst for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import yara  # type: ignore[import-not-found]

from inspector.model.events import File, Text
from inspector.model.limits import Limits
from inspector.model.ports import ScanFailed
from inspector.scan.compiling import Built, Unit, build_in_child, compile_units, units_of
from inspector.scan.files import FileJudge
from inspector.scan.linearity import worst_texts
from inspector.scan.packs import Pack, PackError, folders, read_packs
from inspector.scan.rules import PackRule, read_rules
from inspector.scan.samples import Sample, missing, read_samples
from inspector.scan.scanner import PackScanner
from inspector.wire.located import Fault

WORST_BYTES = 4096
WORST_SECONDS = 0.001
_TRIES = 7
"""A run above the bound is repeated this often, and the fastest counts: the machine may be busy."""
_GRACE = 20
"""Runs this many times above the bound are not repeated."""
_YARDSTICK = ("rule yardstick { strings: $a = /yard:[^ :%]{0,12}%[a-z]{1,4}\\./ condition: $a }", b"yard:" * 819)
_YARDSTICK_SECONDS = 0.00025
"""CPU time of the yardstick where the bound was set: a slower machine refuses no pack that others take."""


def check(paths: Iterable[str | os.PathLike[str]], project_packs: bool = True) -> list[Fault]:
    """All faults of the packs at the paths (a pack, or a folder of packs), in the order of files and lines.

    `project_packs`: the packs are the project's own, for which a rule without samples is a fault.
    """
    faults: list[Fault] = []
    found: list[Path] = []
    for path in map(Path, paths):
        here = folders(path)
        if not here:
            faults.append(Fault(str(path), 0, 0, "no signature pack is here (a folder with a pack.yaml)"))
        found += here
    packs, more = read_packs(found)
    faults += more
    limits = Limits()
    try:
        built = build_in_child(packs, limits)
    except PackError as exc:
        return sorted({*faults, *exc.faults})
    faults += built.faults
    if not built.faults:
        rules, _ = read_rules(packs)
        faults += _samples(packs, built, rules, limits, project_packs)
        faults += slow_rules(rules)
    return sorted(set(faults))


def _samples(
    packs: Sequence[Pack], built: Built, rules: Sequence[PackRule], limits: Limits, project_packs: bool,
) -> list[Fault]:
    faults: list[Fault] = []
    scanner = PackScanner(built, limits)
    judge = FileJudge(scanner.files.blob)
    names = {f"{rule.namespace}:{rule.rule.name}": rule for rule in rules}
    whole = [unit for messages in (True, False) for unit in units_of(rules, messages)[0]]
    everything = compile_units(_once(whole)) if whole else None
    for pack in packs:
        ids = built.ids.get(pack.label, [])
        if project_packs:
            faults += missing(pack, ids)
        lists = {f"{pack.name}.{file.stem}" for file in pack.files if file.kind == "indicators"}
        for sample in read_samples(pack, {*ids, *lists}, faults):
            # What a rule for files says of a sample is what the judge of files says: of what is inside it, too.
            matched = {one.rule for one in judge.judge(sample.data, File()).findings}
            if everything is not None:
                found = {names[f"{m.namespace}:{m.rule}"].id for m in everything.match(data=sample.data)}
                if _is_text(sample.data):
                    # What a message rule says of a text is what the scanner says: it sees the other forms too.
                    messages = {row.id for row in built.rows if row.scope != "file"}
                    found -= messages
                    matched -= messages
                matched |= found
            if _is_text(sample.data):
                try:
                    matched |= {one.rule for one in scanner.full((Text("body", sample.data.decode("utf-8")),))}
                except ScanFailed as exc:
                    faults.append(Fault(sample.path, 0, 0, f"the sample could not be scanned: {exc}"))
                    continue
            faults += _verdict(sample, matched)
    return faults


def _verdict(sample: Sample, matched: set[str]) -> list[Fault]:
    if sample.must and sample.rule not in matched:
        return [Fault(sample.path, 0, 0, f"the rule {sample.rule} does not match this sample, which it must")]
    if not sample.must and sample.rule in matched:
        return [Fault(sample.path, 0, 0, f"the rule {sample.rule} matches this sample, which it must not")]
    return []


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _once(units: Iterable[Unit]) -> list[Unit]:
    """Units that hold both kinds of rules are in both lists: each once."""
    return list({(unit.namespace, unit.names): unit for unit in units}.values())


def slow_rules(rules: Sequence[PackRule]) -> list[Fault]:
    """A fault for each message rule that takes too long on a text that is worst for it."""
    faults: list[Fault] = []
    by_name = {(rule.namespace, rule.rule.name): rule for rule in rules}
    for unit in units_of(rules)[0]:
        try:
            compiled = compile_units([unit])
        except yara.Error:
            continue
        for name in unit.names:
            rule = by_name[unit.namespace, name]
            worst = max((_seconds(compiled, text) for text in worst_texts(rule.rule, WORST_BYTES)), default=0.0)
            if worst > WORST_SECONDS:
                worst /= _slower()
            if worst > WORST_SECONDS:
                text = (
                    f"the rule {rule.id or name} takes {worst * 1000:.1f} ms for a text of {WORST_BYTES} bytes made to "
                    f"be worst for it (at most {WORST_SECONDS * 1000:g} ms)"
                )
                faults.append(rule.source.fault(rule.rule.at, text))
    return faults


def _slower() -> float:
    """How many times slower than that where the bound was set this machine is now; 1.0 at least."""
    rule, text = _YARDSTICK
    compiled = yara.compile(source=rule)
    best = 60.0
    for _ in range(_TRIES):
        start = time.thread_time()
        compiled.match(data=text, timeout=5)
        best = min(best, time.thread_time() - start)
    return max(1.0, best / _YARDSTICK_SECONDS)


def _seconds(compiled: yara.Rules, text: bytes) -> float:
    """CPU time of a scan: the fastest of several, when the first is slow."""
    best = 60.0
    for _ in range(_TRIES):
        start = time.thread_time()
        try:
            compiled.match(data=text, timeout=5)
        except yara.TimeoutError:
            return 5.0
        best = min(best, time.thread_time() - start)
        if best <= WORST_SECONDS or best > _GRACE * WORST_SECONDS:
            break
    return best
