"""From a folder of packs to a scanner."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import msgspec

from inspector.model.limits import Limits
from inspector.scan.compiling import Built, build_cached
from inspector.scan.packs import Pack, PackError, digest, folders, read_packs
from inspector.scan.samples import missing
from inspector.scan.scanner import MakePrefilter, PackScanner
from inspector.wire.located import Fault

_WARNINGS = 20
"""Missing samples of one pack that are told one by one."""


class LoadedPacks(msgspec.Struct, frozen=True):
    """A scanner, and what is worth a warning in the packs it was made from."""

    scanner: PackScanner
    warnings: tuple[Fault, ...] = ()


def load(
    folder: str | os.PathLike[str], limits: Limits | None = None, cache: str | os.PathLike[str] | None = None,
    make: MakePrefilter | None = None,
) -> LoadedPacks:
    """Load all packs of a folder (or the one pack that it is).

    `cache`: a folder (0700, made when missing) where compiled packs are kept; None: they are compiled each time.
    `make`: makes the prefilter; None: the fastest there is. Raises PackError with every fault of every pack.
    """
    path = Path(folder)
    if not path.is_dir():
        raise PackError([Fault(str(path), 0, 0, "no such folder of signature packs")])
    bounds = limits or Limits()
    packs, faults = read_packs(folders(path), ())
    built = build_cached(packs, bounds, None if cache is None else Path(cache))
    if faults or built.faults:
        raise PackError([*faults, *built.faults])
    scanner = PackScanner(built, bounds, make)
    scanner.digest = f"sha256:{digest(packs)}"
    return LoadedPacks(scanner, tuple(_warnings(packs, built)))


def _warnings(packs: list[Pack], built: Built) -> list[Fault]:
    warnings: list[Fault] = []
    ids = built.ids
    for pack in packs:
        lacking = missing(pack, ids.get(pack.label, ()))
        warnings += islice(lacking, _WARNINGS)
        if more := sum(1 for _ in lacking):
            text = f"{more} more samples are missing (`inspector check` names them)"
            warnings.append(Fault(pack.folder, 0, 0, text))
    return warnings
