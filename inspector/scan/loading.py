"""From a folder of packs to a scanner."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from inspector.model.limits import Limits
from inspector.scan.compiling import Built, build_cached
from inspector.scan.packs import Pack, PackError, folders, read_packs
from inspector.scan.samples import missing
from inspector.scan.scanner import MakePrefilter, PackScanner
from inspector.wire.located import Fault


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
    return LoadedPacks(PackScanner(built, bounds, make), tuple(_warnings(packs, built)))


def _warnings(packs: list[Pack], built: Built) -> list[Fault]:
    warnings: list[Fault] = []
    for pack in packs:
        ids = [row.id for row in built.rows if row.pack == pack.label]
        warnings.extend(missing(pack, ids))
    return warnings
