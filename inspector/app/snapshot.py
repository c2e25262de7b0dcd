"""The rules that are in force, as files: what every worker loads, also one that takes another's place later.

The files of a configuration may be edited while the gateway runs; what is edited comes into force with a reload, for
all workers or for none. So the supervisor takes a copy of policy and packs (`var/in-force/<version>`, 0700) and the
text of the configuration, and workers read those. Faults are told with the names of the files that were copied.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import msgspec

from inspector.app import build, config
from inspector.wire.located import Fault, Faults

FOLDER = "in-force"
"""In the state folder."""
_PACK = "pack.yaml"


class Snapshot(msgspec.Struct, frozen=True):
    """One version of configuration, policy and packs."""

    version: int
    path: str | None
    """The configuration's file, None: the embedded defaults."""
    base: str
    text: bytes
    folder: str
    """Where the copies are."""
    policy: str
    """The policy's path as the configuration names it; so with `signatures`."""
    signatures: str

    def config(self) -> config.Config:
        """The configuration, with policy and packs of the copies. Raises Faults."""
        loaded = config.parse(self.text, None if self.path is None else Path(self.path), Path(self.base))
        return replace(loaded, policy=Path(self.folder, "policy.yaml"), signatures=Path(self.folder, "signatures"))

    def named(self, sentence: str) -> str:
        """A fault's sentence with the names of the files that were copied."""
        sentence = sentence.replace(str(Path(self.folder, "policy.yaml")), self.policy)
        return sentence.replace(str(Path(self.folder, "signatures")), self.signatures)

    def remove(self) -> None:
        """Delete the copies."""
        shutil.rmtree(self.folder, ignore_errors=True)


def take(path: str | None, version: int) -> tuple[Snapshot, config.Config]:
    """Copy what is in force from now on, if the workers can load it; and the configuration as it is read from its own
    place. Raises Faults: the configuration's, and what cannot be copied."""
    text = b""
    if path is not None:
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise Faults([Fault(path, 0, 0, f"cannot be read: {(error.strerror or str(error)).lower()}")]) from None
    loaded = config.parse(text, None if path is None else Path(path))
    folder = loaded.state / FOLDER / str(version)
    try:
        build.private_folder(loaded.state)
        shutil.rmtree(folder, ignore_errors=True)
        build.private_folder(folder.parent)
        build.private_folder(folder)
    except OSError as error:
        raise Faults([Fault(str(folder), 0, 0, f"cannot be made: {(error.strerror or str(error)).lower()}")]) from None
    faults = []
    with contextlib.suppress(FileNotFoundError):  # what is not there is the workers' fault to tell
        faults += _copied(loaded.policy, folder / "policy.yaml")
        faults += _packs(loaded.signatures, folder / "signatures")
    if faults:
        shutil.rmtree(folder, ignore_errors=True)
        raise Faults(faults)
    return Snapshot(
        version, path, str(loaded.base), text, str(folder), str(loaded.policy), str(loaded.signatures)), loaded


def clear(state: Path, keep: int | None = None) -> None:
    """Delete what is left of other versions than `keep`."""
    with contextlib.suppress(OSError):
        for entry in os.listdir(state / FOLDER):
            if entry != str(keep):
                shutil.rmtree(state / FOLDER / entry, ignore_errors=True)


def _copied(source: Path, target: Path) -> list[Fault]:
    """Copy a file or a folder; a fault for what cannot be read."""
    try:
        if source.is_dir():
            shutil.copytree(source, target, ignore_dangling_symlinks=True)
        else:
            shutil.copyfile(source, target)
    except FileNotFoundError:
        raise
    except shutil.Error as error:
        return [Fault(str(one[0]), 0, 0, "cannot be copied") for one in error.args[0][:8]]
    except OSError as error:
        return [Fault(str(source), 0, 0, f"cannot be read: {(error.strerror or str(error)).lower()}")]
    return []


def _packs(source: Path, target: Path) -> list[Fault]:
    """The packs of a folder, and nothing else that lies there."""
    if (source / _PACK).is_file():
        return _copied(source, target)
    if not source.is_dir():
        return []
    target.mkdir(mode=0o700)
    faults = []
    for folder in sorted(source.iterdir()):
        if (folder / _PACK).is_file():
            faults += _copied(folder, target / folder.name)
    return faults
