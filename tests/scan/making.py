"""Packs made in memory for the tests of scanning."""

from __future__ import annotations

from pathlib import Path

from inspector.model import Limits
from inspector.scan.compiling import Built, build
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
