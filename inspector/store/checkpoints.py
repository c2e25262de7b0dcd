"""Signed checkpoints of an event log: what an auditor keeps elsewhere.

A checkpoint lists the heads of all chains. Its key is used once: the next seed is the hash of the last one, which is
wiped, so that who breaks in today cannot sign yesterday's. Each checkpoint names its own public key and the next one's
and the hash of the checkpoint before it; one that was exported in time proves all before it and authenticates all after
it.

Ed25519 (RFC 8032). The seed lies in a file of its own (0600), replaced as a whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SEED_BYTES = 32
_RATCHET = b"inspector checkpoint ratchet 1\0"
_FIELDS = ("heads", "key", "n", "next", "previous", "t")


class CheckpointError(Exception):
    """A key file or an exported checkpoint that cannot be used; one sentence that names it."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One signed checkpoint."""

    n: int
    """1, 2, 3 …"""
    t: float
    heads: dict[str, tuple[int, str]]
    """chain -> (rows, digest of the last one in hex)."""
    key: str
    """Public key that signs this one, hex."""
    next: str
    """Public key that signs the next one."""
    previous: str
    """SHA-256 of the checkpoint before, as signed; "" of the first."""
    signature: str
    pruned: dict[str, tuple[int, str]] = field(default_factory=dict)
    """chain -> (the last row that was pruned, its digest in hex): rows up to there are gone, and the chain goes on from
    that digest."""

    def signed(self) -> bytes:
        """The bytes that are signed: one JSON object, keys in order, nothing between."""
        body = {"heads": {name: list(head) for name, head in sorted(self.heads.items())}, "key": self.key, "n": self.n,
                "next": self.next, "previous": self.previous, "t": self.t}
        if self.pruned:
            body["pruned"] = {name: list(end) for name, end in sorted(self.pruned.items())}
        return json.dumps(body, separators=(",", ":"), sort_keys=True).encode()

    def digest(self) -> str:
        """What the next checkpoint names this one by."""
        return sha256(self.signed()).hexdigest()

    def valid(self) -> bool:
        """Whether the signature is its key's."""
        try:
            Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.key)).verify(
                bytes.fromhex(self.signature), self.signed())
        except (InvalidSignature, ValueError):
            return False
        return True

    def json(self) -> str:
        """One line, as it is exported and stored."""
        return json.dumps({**json.loads(self.signed()), "signature": self.signature}, sort_keys=True)

    @classmethod
    def parse(cls, text: str | bytes) -> Checkpoint:
        """Raises CheckpointError."""
        try:
            body: dict[str, Any] = json.loads(text)
            heads, pruned = (
                {str(name): (int(head[0]), str(head[1])) for name, head in ends.items()}
                for ends in (body["heads"], body.get("pruned", {})))
            key, following, previous, signature = (str(body[name]) for name in ("key", "next", "previous", "signature"))
            return cls(int(body["n"]), float(body["t"]), heads, key, following, previous, signature, pruned)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            raise CheckpointError("not a checkpoint of an event log") from None


class Signer:
    """Holds the seed of the next checkpoint. Not for two processes at once: the supervisor's."""

    def __init__(self, path: Path) -> None:
        """Raises CheckpointError: the key file is there and cannot be used."""
        self.path = path
        try:
            self._seed = self._read()
        except OSError as fault:
            raise CheckpointError(f"checkpoint key {path}: {(fault.strerror or str(fault)).lower()}") from None

    def _read(self) -> bytes:
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            seed = os.urandom(SEED_BYTES)
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(seed)
            return seed
        with os.fdopen(handle, "rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                os.fchmod(file.fileno(), 0o600)
            seed = file.read(SEED_BYTES + 1)
        if len(seed) != SEED_BYTES:
            raise CheckpointError(f"checkpoint key {self.path}: not a key of {SEED_BYTES} bytes")
        return seed

    def _write(self, seed: bytes) -> None:
        """Replace the file as a whole, on disk before it has the name. Raises OSError."""
        fresh = self.path.with_name(f".{self.path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, seed)
            os.fsync(handle)
        finally:
            os.close(handle)
        fresh.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @property
    def public(self) -> str:
        """The public key of the next checkpoint, hex."""
        return _public(self._seed)

    def sign(
        self, t: float, heads: dict[str, tuple[int, str]], last: Checkpoint | None,
        pruned: dict[str, tuple[int, str]] | None = None,
    ) -> Checkpoint:
        """The checkpoint behind `last`. `pruned`: None: as the last one says. The key is not used up before `advance`.
        """
        if pruned is None:
            pruned = {} if last is None else last.pruned
        unsigned = Checkpoint(
            1 if last is None else last.n + 1, t, heads, self.public, _public(ratchet(self._seed)),
            "" if last is None else last.digest(), "", pruned)
        signature = Ed25519PrivateKey.from_private_bytes(self._seed).sign(unsigned.signed()).hex()
        return replace(unsigned, signature=signature)

    def advance(self) -> None:
        """The next seed takes the last one's place. Raises CheckpointError."""
        seed = ratchet(self._seed)
        try:
            self._write(seed)
        except OSError as fault:
            raise CheckpointError(f"checkpoint key {self.path}: {(fault.strerror or str(fault)).lower()}") from None
        self._seed = seed

    def catch_up(self, last: Checkpoint | None) -> None:
        """After a crash between a checkpoint and `advance` its key is used up. Raises CheckpointError."""
        if last is not None and last.key == self.public:
            self.advance()


def ratchet(seed: bytes) -> bytes:
    """The next seed."""
    return sha256(_RATCHET + seed).digest()


def public_key(path: Path) -> str | None:
    """The public key of the next checkpoint, for who may read the key file; None: it cannot be read. Makes no file."""
    try:
        seed = path.read_bytes()
    except OSError:
        return None
    return _public(seed) if len(seed) == SEED_BYTES else None


def _public(seed: bytes) -> str:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw().hex()


def faults(checkpoints: list[Checkpoint]) -> list[str]:
    """What is wrong with a log's checkpoints among themselves, in order."""
    found: list[str] = []
    last: Checkpoint | None = None
    for one in checkpoints:
        if not one.valid():
            found.append(f"checkpoint {one.n}: its signature is not its key's")
        elif one.n != (1 if last is None else last.n + 1):
            found.append(f"checkpoint {one.n}: the one before it is missing")
        elif last is not None and (one.key != last.next or one.previous != last.digest()):
            found.append(f"checkpoint {one.n}: it does not follow the one before it")
        elif last is not None and any(_end(one.pruned, name) < seq for name, (seq, _) in last.pruned.items()):
            found.append(f"checkpoint {one.n}: it says less to be pruned than the one before it")
        elif any(seq > _end(one.heads, name) for name, (seq, _) in one.pruned.items()):
            found.append(f"checkpoint {one.n}: it says more to be pruned than there was")
        if found:
            break  # behind a fault nothing is proved
        last = one
    return found


def _end(ends: dict[str, tuple[int, str]], chain: str) -> int:
    return ends.get(chain, (0, ""))[0]
