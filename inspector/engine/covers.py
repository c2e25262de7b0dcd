"""What a reviewer's release covers: the legs that follow it, told by protocol, sender, conversation and digest."""

from __future__ import annotations

import hashlib

from inspector.model import DOWN, UP, Cover, Event, File, Message, Text, Way

SEALED = "sealed:"
"""Begins the digest of a message that could not be read: of its ciphertext."""


class Covers:
    """Releases that cover the legs which follow them."""

    __slots__ = ("_entries", "_most", "_readers")

    def __init__(self, most: int, *, readers: int = 4096) -> None:
        """`readers`: sessions that one release covers at most."""
        self._most = most
        self._readers = readers
        self._entries: dict[int, list[tuple[Cover, set[str]]]] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, cover: Cover, at: float) -> None:
        """Remember a release. Those whose time is over go; the oldest goes first where there is no room."""
        for key, entries in tuple(self._entries.items()):
            left = [entry for entry in entries if entry[0].until > at and entry[0].hold != cover.hold]
            if left:
                self._entries[key] = left
            else:
                del self._entries[key]
        if len(self._entries) >= self._most:
            del self._entries[next(iter(self._entries))]
        self._entries.setdefault(hash((cover.protocol, cover.digest)), []).append((cover, set()))

    def find(self, event: Message | File, digest: str, protocol: str | None, user: str | None, way: Way, flow: str,
             at: float) -> Cover | None:
        """The release that covers this event in this session, once."""
        if not digest:
            return None  # what was not read is nothing that was reviewed
        for cover, used in self._entries.get(hash((protocol, digest)), ()):
            if cover.until <= at or flow in used or cover.protocol != protocol or cover.digest != digest:
                continue
            if len(used) >= self._readers or (
                isinstance(event, File) and _suffix(event.file_name) != _suffix(cover.file_name)
            ):
                continue
            sender, conversation = bare(event.sender or (user if way is UP else None)), bare(event.conversation)
            place = bare(cover.conversation)
            # In a room the reader's leg names the writer by the room.
            by_room = way is DOWN and _in_room(event) and sender == conversation == place
            if not sender or (sender != cover.sender and not by_room):
                continue
            readers = {bare(name) for name in event.recipients} | ({bare(user)} if way is DOWN else set())
            if (conversation and conversation == place) or not readers.isdisjoint(cover.recipients):
                used.add(flow)
                return cover
        return None


def bare(name: str | None) -> str:
    """A name without its resource, in lower case: how two legs of one message name the same person. Only an address
    has a resource: other names (of channels) may hold a slash."""
    if name is None:
        return ""
    head = name.partition("/")[0]
    return (head if "@" in head else name).lower()


def _suffix(name: str | None) -> str:
    """What says how a file is opened: the last part of its name, in lower case."""
    return (name or "").rpartition(".")[2].strip().lower() if "." in (name or "") else ""


def _in_room(event: Message | File) -> bool:
    return isinstance(event, Message) and event.in_room


def digest_of(event: Event) -> str:
    """What says that two legs have the same content: the file's SHA-256, else one of all texts, and of the ciphertext
    where there is one; "": not all of it could be read or told apart, and what it looks like others look like, too."""
    if isinstance(event, File):
        return event.sha256 or ""
    sealed = event.sealed if isinstance(event, Message) else None
    if isinstance(event, Message) and event.encryption.inspectable != "full":
        if sealed is None:
            return ""
    else:
        sealed = None
    if not sealed and not any(text.plain for text in event.texts):
        return ""
    digest = digest_of_texts(event.texts)
    return digest if sealed is None else f"{SEALED}{sealed}{digest}"


def digest_of_texts(texts: tuple[Text, ...]) -> str:
    """Of part and plain text of each, in order; lower-case hex, 64 digits."""
    made = hashlib.sha256()
    for text in texts:
        for piece in (text.part, text.plain):
            data = piece.encode("utf-8", "surrogatepass")
            made.update(b"%d:" % len(data))
            made.update(data)
    return made.hexdigest()


__all__ = ["SEALED", "Covers", "bare", "digest_of", "digest_of_texts"]
