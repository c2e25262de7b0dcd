"""What file workers judge with: rules for files, indicators, what finds words, bounds; as bytes that go to another
process.

The bytes hold compiled rules, which YARA trusts: they come from the process that compiled them and from nowhere else.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sized
from typing import Any, Protocol

import msgspec
import yara  # type: ignore[import-not-found]

from inspector.model.limits import Limits
from inspector.model.ports import ScanFailed
from inspector.model.verdicts import Severity
from inspector.scan.detectors import SHARDS
from inspector.scan.filetexts import Words
from inspector.scan.indicators import HASH_KINDS, Indicator, Table

_YARA = yara.__version__


class FileRow(msgspec.Struct, frozen=True, array_like=True):
    """What a file rule's finding says."""

    id: str
    severity: Severity
    description: str
    pack: str
    tags: tuple[str, ...]


class _Rules(msgspec.Struct, frozen=True, array_like=True):
    packs: tuple[str, ...]
    compiled: list[memoryview]
    rows: dict[str, FileRow]
    texts: list[memoryview]
    """Rules of the scope "both" once more: what texts are shown to."""
    both: frozenset[str]
    """namespace:name of those."""


class _Blob(msgspec.Struct, frozen=True, array_like=True):
    yara: str
    limits: Limits
    rules: memoryview
    """As `pack_rules` made them."""
    index: memoryview
    """Of all indicators."""
    dump: memoryview
    """The prefilter's database, empty where it is not kept."""
    phrases: int
    """The number that the prefilter has for the first phrase."""


def pack_rules(
    packs: tuple[str, ...], compiled: list[bytes], rows: dict[str, FileRow], texts: list[bytes], both: frozenset[str],
) -> bytes:
    """Rules for files as bytes: labels of packs, compiled objects, namespace:name of each rule to its row; objects with
    the rules that are for messages, too, and which these are."""
    return msgspec.msgpack.encode(_Rules(
        packs, [memoryview(one) for one in compiled], rows, [memoryview(one) for one in texts], both))


class Compiled(Protocol):
    """What of compiled packs is for files (scan/compiling.py)."""

    @property
    def packs(self) -> tuple[str, ...]: ...

    @property
    def shards(self) -> Sized: ...

    @property
    def index(self) -> memoryview: ...

    @property
    def dump(self) -> memoryview: ...

    @property
    def file_rules(self) -> memoryview: ...

    @property
    def file_key(self) -> bytes: ...


class FileRules:
    """The FileRules of model/ports.py."""

    __slots__ = ("_made", "key", "packs")

    def __init__(self, made: _Blob, packs: tuple[str, ...], key: str) -> None:
        self._made = made
        self.packs = packs
        self.key = key

    @classmethod
    def of(cls, built: Compiled, limits: Limits) -> FileRules:
        """The part of compiled packs that is for files. It stays where it is: in a mapped file, most often."""
        parts = (_YARA.encode(), msgspec.msgpack.encode(limits), built.file_key, Table(built.index).content)
        key = hashlib.sha256(b"".join(len(part).to_bytes(4, "little") + part for part in parts)).hexdigest()
        # Another prefilter finds the same: it has other message rules in it, which do not count here.
        phrases = SHARDS + len(built.shards)
        return cls(_Blob(_YARA, limits, built.file_rules, built.index, built.dump, phrases), built.packs, key)

    @property
    def blob(self) -> bytes:
        """Bytes for FileMatcher; made anew each time, since a million indicators are 140 MB."""
        return msgspec.msgpack.encode(self._made)


class FileMatcher:
    """Runs file rules, looks up hashes, finds words. One per worker process."""

    def __init__(self, blob: bytes | memoryview) -> None:
        """`blob` is kept: indicators are looked up where they lie. Raises ValueError when the bytes are not those of
        FileRules of the same version."""
        try:
            made = msgspec.msgpack.decode(blob, type=_Blob)
            if made.yara != _YARA:
                raise ValueError(f"file rules of YARA {made.yara}, not {_YARA}")
            rules = msgspec.msgpack.decode(made.rules, type=_Rules)
            self._table = Table(made.index)
        except msgspec.DecodeError as exc:
            raise ValueError(f"not file rules: {exc}") from None
        self.packs = rules.packs
        self.limits = made.limits
        self.rules = len(rules.rows)
        """File rules."""
        self._rows = rules.rows
        self._shards = [yara.load(file=io.BytesIO(one)) for one in rules.compiled]
        self._texts = [yara.load(file=io.BytesIO(one)) for one in rules.texts]
        self._both = rules.both
        self.for_texts = bool(self._texts)
        """Whether there are rules that texts are shown to."""
        self.kinds = tuple(sorted(kind for kind in HASH_KINDS if self._table.kinds[kind]))
        """The kinds of hashes there are any of: sha256, sha1, md5."""
        self.words = Words(self._table, made.dump, made.phrases)

    def match(self, data: memoryview, seconds: float) -> tuple[list[FileRow], list[str]]:
        """The rules that match, and why not all could be asked (too slow, too many matches). Raises ScanFailed."""
        return self._match(self._shards, data, seconds)

    def match_text(self, data: bytes, seconds: float) -> tuple[list[FileRow], list[str]]:
        """As `match`, of the forms of a text: only the rules that are for messages, too."""
        return self._match(self._texts, data, seconds, self._both)

    def _match(
        self, shards: list[Any], data: memoryview | bytes, seconds: float, only: frozenset[str] | None = None,
    ) -> tuple[list[FileRow], list[str]]:
        found: list[FileRow] = []
        unasked: list[str] = []

        def warn(_kind: int, message: Any) -> int:
            unasked.append(f"too many matches of {getattr(message, 'rule', 'a rule')}")
            return int(yara.CALLBACK_CONTINUE)

        for shard in shards:
            try:
                matches = shard.match(data=data, timeout=max(1, int(seconds)), fast=True, warnings_callback=warn)
            except yara.TimeoutError:
                unasked.append("a rule takes too long")
                continue
            except yara.Error as exc:
                raise ScanFailed(f"yara: {exc}") from exc
            for match in matches:
                name = f"{match.namespace}:{match.rule}"
                row = self._rows.get(name)
                if row is not None and (only is None or name in only):
                    found.append(row)
        return found, unasked

    def known(self, digests: Mapping[str, str]) -> list[Indicator]:
        """The indicators that name one of the hashes (kind -> lower-case hex)."""
        return [one for kind, value in digests.items() for one in self._table.hash(value) if one.kind == kind]
