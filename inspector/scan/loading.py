"""From a folder of packs to a scanner."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from inspector.model.limits import Limits
from inspector.scan.packs import PackError, folders, read_packs
from inspector.scan.rules import read_rules
from inspector.scan.scanner import PackScanner
from inspector.wire.located import Fault


class LoadedPacks(msgspec.Struct, frozen=True):
    """A scanner, and what is worth a warning in the packs it was made from."""

    scanner: PackScanner
    warnings: tuple[Fault, ...] = ()


def load(folder: str | os.PathLike[str], limits: Limits | None = None, cache: Path | None = None) -> LoadedPacks:
    """Load all packs of a folder. Raises PackError with every fault."""
    path = Path(folder)
    if not path.is_dir():
        raise PackError([Fault(str(path), 0, 0, "no such folder of signature packs")])
    packs, faults = read_packs(folders(path))
    rules, more = read_rules(packs)
    if faults or more:
        raise PackError([*faults, *more])
    return LoadedPacks(PackScanner(packs, rules, limits or Limits()))
