"""Packs made in memory for the tests of scanning."""

from __future__ import annotations

import functools
from pathlib import Path

from inspector.model import File, FileReport, Limits
from inspector.scan.compiling import Built, build
from inspector.scan.filerules import FileRules
from inspector.scan.files import FileJudge
from inspector.scan.packs import Pack, PackFile
from inspector.scan.scanner import MakePrefilter, PackScanner


def pack(rules: str = "", *, name: str = "t", **lists: str) -> Pack:
    """A pack of one file of rules and of lists by their stem."""
    files = [PackFile(f"{name}/rules.yar", "rules", "yara", rules.encode())] if rules else []
    files += [PackFile(f"{name}/{stem}.csv", stem, "indicators", text.encode()) for stem, text in lists.items()]
    return Pack(name, "1", f"/nowhere/{name}", tuple(files))


def rule(name: str, strings: str, condition: str, *, scope: str = "message", severity: str = "high") -> str:
    """A rule of the pack "t" with the id t.<name>."""
    body = f"strings: {strings}" if strings else ""
    return (
        f'rule {name} {{ meta: id = "t.{name}" severity = "{severity}" description = "d" scope = "{scope}" '
        f"{body} condition: {condition} }}\n"
    )


def built(*packs: Pack, limits: Limits | None = None) -> Built:
    """Packs compiled in this process; faults fail the test."""
    made = build(packs, limits or Limits())
    assert made.faults == [], made.faults
    return made


def scanner(*packs: Pack, limits: Limits | None = None, make: MakePrefilter | None = None) -> PackScanner:
    """A scanner of packs in memory."""
    bounds = limits or Limits()
    return PackScanner(built(*packs, limits=bounds), bounds, make)


def write(folder: Path, rules: str, *, name: str = "t", listed: str = "rules.yar") -> Path:
    """A pack on disk; returns its folder."""
    where = folder / name
    where.mkdir(parents=True, exist_ok=True)
    (where / "rules.yar").write_text(rules)
    (where / "pack.yaml").write_text(
        f"name: {name}\nversion: 1.0\ndescription: d\nlicense: Apache-2.0\n"
        f"content:\n  - {{file: {listed}, kind: yara}}\n"
    )
    return where


EICAR_RULE = rule("eicar", "$a = { 45 49 43 41 52 2D 53 54 41 4E 44 41 52 44 2D 41 4E 54 49 56 49 52 55 53 }", "$a",
                  scope="file")
"""A file rule for the harmless file that every scanner knows: t.eicar."""


@functools.cache
def judge(rules: str = EICAR_RULE, *, limits: Limits | None = None, **lists: str) -> FileJudge:
    """A judge of files with a pack in memory."""
    bounds = limits or Limits()
    return FileJudge(FileRules.of(built(pack(rules, **lists), limits=bounds), bounds).blob)


def judged(
    data: bytes, name: str = "", *, by: FileJudge | None = None, limits: Limits | None = None,
) -> FileReport:
    """The report on a content of that name."""
    return (by or judge(limits=limits)).judge(data, File(file_name=name))


def told(report: FileReport) -> dict[str, str]:
    """Rule -> severity of the findings of a report, without what only says what kinds of files are inside."""
    return {one.rule: one.severity for one in report.findings if not one.rule.startswith("file.inner_")}


def inner(report: FileReport) -> set[str]:
    """The kinds of files inside that a report tells."""
    return {one.rule.removeprefix("file.inner_") for one in report.findings if one.rule.startswith("file.inner_")}
