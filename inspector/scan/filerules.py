"""What file workers judge with: rules for files, hashes of bad ones, bounds; as bytes that go to another process.

The bytes hold compiled rules, which YARA trusts: they come from the process that compiled them and from nowhere else.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import yara  # type: ignore[import-not-found]

from inspector.model.limits import Limits
from inspector.model.ports import ScanFailed
from inspector.model.verdicts import Severity
from inspector.scan.indicators import HASH_KINDS, Indicator

if TYPE_CHECKING:
    from inspector.scan.compiling import Built

_YARA = yara.__version__


class FileRow(msgspec.Struct, frozen=True, array_like=True):
    """What a file rule's finding says."""

    id: str
    severity: Severity
    description: str
    pack: str
    tags: tuple[str, ...]


class _Blob(msgspec.Struct, frozen=True, array_like=True):
    yara: str
    packs: tuple[str, ...]
    limits: Limits
    compiled: list[bytes]
    rows: dict[str, FileRow]
    hashes: list[Indicator]


class FileRules:
    """The FileRules of model/ports.py."""

    __slots__ = ("_made", "key", "packs")

    def __init__(self, made: _Blob) -> None:
        self._made = made
        self.packs = made.packs
        self.key = hashlib.sha256(self.blob).hexdigest()

    @classmethod
    def of(cls, built: Built, limits: Limits) -> FileRules:
        """The part of compiled packs that is for files."""
        rows = {
            name: FileRow(row.id, row.severity, row.description, row.pack, row.tags)
            for name, index in built.file_names.items() for row in (built.rows[index],)
        }
        hashes = [one for one in built.indicators if one.kind in HASH_KINDS]
        return cls(_Blob(_YARA, built.packs, limits, built.files, rows, hashes))

    @property
    def blob(self) -> bytes:
        """Bytes for FileMatcher; made anew each time, since a million hashes are 100 MB."""
        return msgspec.msgpack.encode(self._made)


class FileMatcher:
    """Runs file rules and looks up hashes. One per worker process."""

    def __init__(self, blob: bytes) -> None:
        """Raises ValueError when the bytes are not those of FileRules of the same version."""
        try:
            made = msgspec.msgpack.decode(blob, type=_Blob)
        except msgspec.DecodeError as exc:
            raise ValueError(f"not file rules: {exc}") from None
        if made.yara != _YARA:
            raise ValueError(f"file rules of YARA {made.yara}, not {_YARA}")
        self.packs = made.packs
        self.limits = made.limits
        self.rules = len(made.rows)
        """File rules."""
        self._rows = made.rows
        self._shards = [yara.load(file=io.BytesIO(one)) for one in made.compiled]
        self._hashes: dict[str, list[Indicator]] = {}
        for one in made.hashes:
            self._hashes.setdefault(one.value, []).append(one)
        self.kinds = tuple(sorted({one.kind for one in made.hashes}))
        """The kinds of hashes there are any of: sha256, sha1, md5."""

    def match(self, data: memoryview, seconds: float) -> tuple[list[FileRow], list[str]]:
        """The rules that match, and why not all could be asked (too slow, too many matches). Raises ScanFailed."""
        found: list[FileRow] = []
        unasked: list[str] = []

        def warn(_kind: int, message: Any) -> int:
            unasked.append(f"too many matches of {getattr(message, 'rule', 'a rule')}")
            return int(yara.CALLBACK_CONTINUE)

        for shard in self._shards:
            try:
                matches = shard.match(data=data, timeout=max(1, int(seconds)), fast=True, warnings_callback=warn)
            except yara.TimeoutError:
                unasked.append("a rule takes too long")
                continue
            except yara.Error as exc:
                raise ScanFailed(f"yara: {exc}") from exc
            for match in matches:
                row = self._rows.get(f"{match.namespace}:{match.rule}")
                if row is not None:
                    found.append(row)
        return found, unasked

    def known(self, digests: Mapping[str, str]) -> list[Indicator]:
        """The indicators that name one of the hashes (kind -> lower-case hex)."""
        return [
            one for kind, value in digests.items() for one in self._hashes.get(value, ()) if one.kind == kind
        ]
