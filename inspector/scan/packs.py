"""Signature packs on disk: finding them, reading pack.yaml, and the files it lists.

A pack is a folder with a pack.yaml (docs/write-a-signature.md). What is read here is bytes and their places; what they
mean is the work of `rules.py` and `indicators.py`.
"""

from __future__ import annotations

import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path

import msgspec

from inspector.wire.located import Fault, Faults, Located, did_you_mean, load_yaml, shown

KINDS = ("yara", "indicators")
"""What a file of a pack may be."""
RESERVED = ("dlp",)
"""Names no pack may have: findings of the built-in detectors begin with them."""
FILE_BYTES = 256 * 1024 * 1024
"""Longest file of a pack: a million indicators are about 100 MB."""
SAMPLE_BYTES = 64 * 1024
"""Longest sample."""
_NAME_CHARS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
_FILE_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.")
_KEYS = ("name", "version", "description", "license", "authors", "homepage", "content")
_REQUIRED = ("name", "version", "description", "license", "content")
_CONTENT_KEYS = ("file", "kind", "description")


class PackError(Faults):
    """Packs that cannot be loaded; `faults` holds all that is wrong in them."""


class PackFile(msgspec.Struct, frozen=True, array_like=True):
    """A file a pack lists. `path` as faults show it; `stem` the file's name without its suffix."""

    path: str
    stem: str
    kind: str
    data: bytes
    """Empty where only the digest was asked for."""
    digest: bytes = b""
    """SHA-256 of what is in the file; empty: of `data`."""

    @property
    def sha256(self) -> bytes:
        """SHA-256 of what is in the file."""
        return self.digest or hashlib.sha256(self.data).digest()


class Pack(msgspec.Struct, frozen=True, array_like=True):
    """A pack as it lies on disk."""

    name: str
    version: str
    folder: str
    files: tuple[PackFile, ...]

    @property
    def label(self) -> str:
        """name@version, as findings and events say it."""
        return f"{self.name}@{self.version}"


def is_pack(folder: Path) -> bool:
    """Whether a folder is a pack."""
    return (folder / "pack.yaml").is_file()


def folders(path: Path) -> list[Path]:
    """The packs at a path: the folder itself, or the folders right below it that are packs, by name."""
    if is_pack(path):
        return [path]
    if not path.is_dir():
        return []
    return sorted(p for p in path.iterdir() if p.is_dir() and is_pack(p))


def read_packs(paths: Iterable[Path], contents: Iterable[str] = KINDS) -> tuple[list[Pack], list[Fault]]:
    """Read pack folders. Faults name what could not be read; packs are what could.

    `contents`: kinds of files whose bytes are wanted; of the others only the digest is kept.
    """
    wanted = frozenset(contents)
    packs: list[Pack] = []
    faults: list[Fault] = []
    seen: dict[str, str] = {}
    for path in paths:
        pack = _read(path, wanted, faults)
        if pack is None:
            continue
        if pack.name in seen:
            text = f'a pack named "{pack.name}" is in {seen[pack.name]} too'
            faults.append(Fault(str(path / "pack.yaml"), 1, 1, text))
            continue
        seen[pack.name] = str(path)
        packs.append(pack)
    return packs, faults


def digest(packs: Iterable[Pack], *salt: str, kinds: Iterable[str] = KINDS) -> str:
    """A hash of all that compiling files of these kinds depends on: names, versions, files of the packs, the salt.
    Not on where they lie: a copy is the same."""
    wanted = frozenset(kinds)
    h = hashlib.sha256()
    for text in salt:
        h.update(b"%d:%s" % (len(text), text.encode()))
    for pack in packs:
        for file in pack.files:
            if file.kind not in wanted:
                continue
            name = file.path.rpartition("/")[2]
            for part in (pack.label.encode(), name.encode(), file.kind.encode(), file.sha256):
                h.update(b"%d:" % len(part))
                h.update(part)
    return h.hexdigest()


def _read(folder: Path, contents: frozenset[str], faults: list[Fault]) -> Pack | None:
    path = folder / "pack.yaml"
    try:
        located = load_yaml(path.read_bytes(), str(path))
    except Faults as exc:
        faults.extend(exc.faults)
        return None
    except OSError as exc:
        faults.append(Fault(str(path), 0, 0, f"cannot be read: {exc.strerror}"))
        return None
    before = len(faults)
    if not isinstance(located.value, dict):
        faults.append(located.fault("a pack is a mapping: name, version, description, license, content"))
        return None
    faults.extend(located.unknown(_KEYS))
    faults.extend(
        located.fault(f'"{key}" is missing') for key in _REQUIRED if located.value.get(key) in (None, "", [])
    )
    for key in ("name", "version", "description", "license", "homepage"):
        value = located.value.get(key)
        if value is not None and not isinstance(value, str | int | float):
            faults.append(located.fault(f'"{key}" must be text', key))
    authors = located.value.get("authors")
    if authors is not None and not isinstance(authors, str) and not (
        isinstance(authors, list) and all(isinstance(author, str) for author in authors)
    ):
        faults.append(located.fault('"authors" must be a list of texts', "authors"))
    name = located.raw("name") or ""
    if name and (not set(name) <= _NAME_CHARS or not name[0].isalpha()):
        faults.append(located.fault(f'"{shown(name)}": a name has small letters, digits and _, a letter first', "name"))
    elif name in RESERVED:
        faults.append(located.fault(f'"{name}" is the name of the built-in detectors', "name"))
    version = located.raw("version") or ""
    if version and (len(version) > 64 or not set(version) <= _FILE_CHARS | {"+"}):
        faults.append(located.fault(f'"{shown(version)}" is no version', "version"))
    files = _files(folder, located, contents, faults)
    if len(faults) != before or not name:
        return None
    return Pack(name, version, str(folder), tuple(files))


def _files(folder: Path, located: Located, contents: frozenset[str], faults: list[Fault]) -> list[PackFile]:
    content = located.value.get("content")
    if content is None:
        return []
    if not isinstance(content, list):
        faults.append(located.fault('"content" must be a list of {file, kind}', "content"))
        return []
    files: list[PackFile] = []
    listed: set[str] = set()
    stems: dict[str, str] = {}
    for i, entry in enumerate(content):
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str) or "kind" not in entry:
            faults.append(located.fault("an entry is {file: NAME, kind: yara or indicators}", "content", i))
            continue
        faults.extend(located.unknown(_CONTENT_KEYS, "content", i))
        name, kind = entry["file"], entry["kind"]
        if kind not in KINDS:
            hint = did_you_mean(str(kind), KINDS)
            faults.append(located.fault(f'unknown kind "{shown(kind)}"{hint}', "content", i, "kind"))
            continue
        if not name or not set(name) <= _FILE_CHARS or name[0] == ".":
            faults.append(located.fault(f'"{shown(name)}" is no name of a file in the pack', "content", i, "file"))
            continue
        if name in listed:
            faults.append(located.fault(f'"{name}" is listed twice', "content", i, "file"))
            continue
        listed.add(name)
        stem = name.rsplit(".", 1)[0]
        if kind == "indicators":
            if stem in stems:
                text = f'"{name}" and "{stems[stem]}" would have the same rule name'
                faults.append(located.fault(text, "content", i, "file"))
                continue
            stems[stem] = name
        path = folder / name
        try:
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                faults.append(located.fault(f'"{name}" is not a regular file', "content", i, "file"))
                continue
            if found.st_size > FILE_BYTES:
                faults.append(located.fault(f'"{name}" is longer than {FILE_BYTES} bytes', "content", i, "file"))
                continue
            if kind in contents:
                data = path.read_bytes()
                hashed = hashlib.sha256(data).digest()
            else:
                with path.open("rb") as opened:
                    data, hashed = b"", hashlib.file_digest(opened, "sha256").digest()
        except OSError as exc:
            faults.append(located.fault(f'"{name}" cannot be read: {exc.strerror}', "content", i, "file"))
            continue
        files.append(PackFile(str(path), stem, kind, data, hashed))
    for path in sorted(folder.iterdir()):
        if path.suffix in (".yar", ".yara", ".csv") and path.name not in listed:
            faults.append(located.key_fault(f'"{shown(path.name)}" is in the folder but not listed', "content"))
    return files
