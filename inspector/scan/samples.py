"""Samples of packs: texts that a rule must match, and texts that it must not.

They lie in match/ and nomatch/ of a pack, named after the rule: `core.eicar.txt`, `core.eicar.hex`, or any name in a
folder `core.eicar/`. A sample whose name ends in .hex holds hexadecimal digits (white space between them is nothing):
so are binary ones kept, and those that another scanner would take for the real thing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from inspector.scan.packs import SAMPLE_BYTES, Pack
from inspector.wire.located import Fault

FOLDERS = ("match", "nomatch")


class Sample(msgspec.Struct, frozen=True):
    """A sample of a rule. `must`: whether the rule must match it."""

    path: str
    rule: str
    must: bool
    data: bytes


def missing(pack: Pack, ids: Iterable[str]) -> Iterator[Fault]:
    """A fault for each rule without a sample that matches, and for each without one that does not."""
    wanted = list(ids)
    for folder in FOLDERS:
        names = _names(Path(pack.folder) / folder)
        what = "matches" if folder == "match" else "does not match"
        for one in wanted:
            if one not in names:
                yield Fault(pack.folder, 0, 0, f"the rule {one} has no sample in {folder}/ that {what}")


def _names(folder: Path) -> set[str]:
    """The rules that a folder has samples of, by their names without a suffix (ids have dots: all beginnings)."""
    names: set[str] = set()
    if folder.is_dir():
        for path in folder.iterdir():
            if path.is_dir():
                names.add(path.name)
            else:
                names.add(path.name.rpartition(".")[0])
    return names


def read_samples(pack: Pack, ids: Iterable[str], faults: list[Fault]) -> Iterator[Sample]:
    """All samples of a pack. Samples that cannot be read, or belong to no rule (of `ids`), are faults."""
    known = set(ids)
    for name in FOLDERS:
        folder = Path(pack.folder) / name
        if not folder.is_dir():
            continue
        for path in sorted(folder.rglob("*")):
            if not path.is_file():
                continue
            inside = path.relative_to(folder)
            rule = inside.parts[0] if len(inside.parts) > 1 else path.name.rpartition(".")[0]
            if rule not in known:
                why = f'a sample of "{rule}", which is no rule of the pack' if rule else (
                    "a sample is called <id of its rule>.anything")
                faults.append(Fault(str(path), 0, 0, why))
                continue
            if path.stat().st_size > SAMPLE_BYTES:
                faults.append(Fault(str(path), 0, 0, f"a sample of more than {SAMPLE_BYTES} bytes"))
                continue
            data = path.read_bytes()
            if path.suffix == ".hex":
                try:
                    data = bytes.fromhex(data.decode("ascii"))
                except ValueError:
                    faults.append(Fault(str(path), 0, 0, "not hexadecimal digits"))
                    continue
            yield Sample(str(path), rule, name == "match", data)
