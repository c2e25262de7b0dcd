"""What somebody has just written in a conversation, in case he writes one thing in several pieces.

A card number or a link that is cut over three messages is in none of them. So the last short texts of each writer in
each conversation are kept (of a long one its end, if a number or link may go on behind it), and a short piece with
digits, `:` or `/` is also scanned behind the ones before it, with nothing or a blank between; and, when there was small
talk between them, behind those alone that have digits, `:` or `/`; and, with nothing between, behind the last of these
alone, however many. What is found over a border is found in the last piece, which is the one that completes it.

Only what was delivered is remembered: a refused piece never reached its reader.
"""

from __future__ import annotations

import functools
import unicodedata
from collections import deque
from collections.abc import Container
from typing import Protocol

import msgspec

from inspector.engine.covers import bare
from inspector.model import Finding, Identity, Limits, Message, Rules, Text, Way

_PART = "window"
_GLUES = ("", " ")
"""What may have stood between the pieces: links are cut anywhere, numbers between their groups."""
_TELLING = frozenset("0123456789:/")
_SIGNS = frozenset(
    "\u02d0\u02f8\u0589\u05c3\u2044\u2215\u2236\u2571\u29f8"
    "\u33a7\u33ae\u33c6\u33de\u33df\ua789\U00010781")
"""Signs that look like a colon or a slash, or have one in them, beside those that Unicode takes apart (NFKD)."""
_DIGIT_LETTERS = frozenset(
    "\u0398\u03b8\u03d1\u03f4\u0417\u0437\u0499\u04b7\u04b9\u04cc\u04de\u04df\u04e1\u1dbf\U0001d6af\U0001d6b9"
    "\U0001d6c9\U0001d6dd\U0001d6e9\U0001d6f3\U0001d703\U0001d717\U0001d723\U0001d72d\U0001d73d\U0001d751"
    "\U0001d75d\U0001d767\U0001d777\U0001d78b\U0001d797\U0001d7a1\U0001d7b1\U0001d7c5\U0001e037\U0001e058")
"""Letters that look like a digit."""
_ENDING = 8
"""Characters at the end of a long text that tell whether something goes on behind it."""
_OFF = 1.0
"""Seconds by which two workers may count differently when a piece came."""
_KINDS = frozenset(("chat", "action", "notice"))
_NAME = 128
"""Characters by which the log names a piece: an id on the wire may be as long as the message may."""


class Piece(msgspec.Struct, frozen=True, gc=False):
    """A text, or the end of one, that was delivered."""

    at: float
    text: str
    name: str
    """What the log knows it by: the wire's id of the message, or its time."""


Window = deque[Piece]


class Neighbours(Protocol):
    """The other workers of this gateway. The kernel gives a connection to the worker that its client's address leads
    to; one account that is signed on from several addresses may so be in several. Each of them is told what the others
    let it write. A session that has found its account in none of `accounts` asks nothing more of this."""

    @property
    def accounts(self) -> Container[str]:
        """Accounts of ours that are signed on in another worker, too, or were so lately."""
        ...

    def signed_on(self, account: str, at: float) -> None:
        """A session of this account begins here."""
        ...

    def signed_off(self, account: str, at: float) -> None:
        """One ends here."""
        ...

    def waits(self, account: str, at: float) -> bool:
        """Whether what it has lately written through other workers is not all known here."""
        ...

    def begun(self, account: str, key: int, at: float) -> None:
        """A window of this account begins here."""
        ...

    def announce(self, account: str, key: int, piece: Piece) -> None:
        """Tell a piece before it is looked at: of two that are looked at in two workers at once, one is seen by the
        other. What the others have told is known when this returns."""
        ...

    def delivered(self, account: str, key: int, piece: Piece) -> None:
        """Tell a piece, unless it was announced."""
        ...

    def refused(self, account: str, key: int, piece: Piece) -> None:
        """Take back what was announced."""
        ...


def key_of(event: Message, protocol: str | None, way: Way, writer: str) -> int | None:
    """Which window a message belongs to; None: none (copies of what was seen before, words of servers)."""
    if event.kind not in _KINDS or event.copy not in ("no", "leg") or not event.texts:
        return None
    place = event.conversation or (event.recipients[0] if event.recipients else "")
    return hash((protocol, way, writer, place))


def account_of(user: str | None, identity: Identity | None) -> str | None:
    """Who writes, whichever of his devices he is at; None: he has not proved who he is."""
    return bare(user) or None if identity == "authenticated" else None


def piece(event: Message, at: float, text: str) -> Piece:
    """A piece as it is remembered."""
    return Piece(at, text, event.id[:_NAME] if event.id else f"{at:.3f}")


def words(event: Message) -> str:
    """What a message mainly says: its body, wherever that stands among its texts."""
    for text in event.texts:
        if text.part == "body":
            return text.plain
    return event.texts[0].plain if event.texts else ""


def piece_of(event: Message, limits: Limits) -> str | None:
    """The text that may be one piece of something longer: all of a short one, the end of a long one that ends in the
    middle of a number or link; None: it has none."""
    text = words(event)
    if len(text) <= limits.window_piece_chars:
        return text or None
    end = text[-_ENDING:]
    return text[-limits.window_piece_chars:] if telling(end) else None


def telling(text: str) -> bool:
    """Whether a piece can complete a number or a link: digits, `:` or `/`, or what may stand for them."""
    if not _TELLING.isdisjoint(text):
        return True
    if text.isascii():
        return False
    letters = set(text)
    if any(_stands(letter) for letter in letters if letter >= "\x80"):
        return True
    # A letter that looks like a digit is one only among digits: words are full of them.
    return not _DIGIT_LETTERS.isdisjoint(letters) and any(
        _DIGIT_LETTERS.issuperset(run) for run in "".join(c if c.isalpha() else " " for c in text).split())


@functools.lru_cache(maxsize=4096)
def _stands(letter: str) -> bool:
    """Whether a character beyond ASCII may be read as a digit, a colon or a slash."""
    return (
        letter in _SIGNS or unicodedata.digit(letter, None) is not None
        or not _TELLING.isdisjoint(unicodedata.normalize("NFKD", letter)))


def look(window: Window, text: str, at: float, rules: Rules, limits: Limits) -> tuple[Finding, ...]:
    """What `text`, which came at `at`, completes of the pieces beside it: findings without a place, whose detail
    names the pieces.

    Linear in `limits.window_bytes`. Raises ScanFailed: what was not looked at together is not clean.
    """
    since = at - limits.window_seconds
    pieces = [piece for piece in window if piece.at >= since]
    if not pieces:
        return ()
    chains = [pieces]
    some = [piece for piece in pieces if telling(piece.text)]
    if some and len(some) < len(pieces):
        chains.append(some)  # small talk between the pieces
    forms = [_Form(chain, text, at, glue) for chain in chains for glue in _GLUES]
    # What runs on into the first piece (an hour, another number) would be taken for a part of it.
    forms += [
        _Form(some[n:], text, at, "") for n in range(1, len(some))
        if some[n].text[:1].isalnum() and some[n - 1].text[-1:].isalnum()]
    texts = tuple(Text(_PART, form.text, None, False) for form in forms)
    found = rules.scanner.quick(texts)
    if found is None:
        # Letters of several bytes make it too long for that; it is some ten KiB at most.
        found = rules.scanner.full(texts)
    out: list[Finding] = []
    for finding in found:
        begun: list[Piece] = []
        for index, start, end in finding.spans:
            these = forms[index].joined(start, end)
            if len(these) > len(begun):
                begun = these
        if not begun:
            continue
        detail = f"completed by this message; begun in {', '.join(piece.name for piece in begun)}"
        out.append(msgspec.structs.replace(
            finding, spans=(), detail=f"{finding.detail}; {detail}" if finding.detail else detail))
    return tuple(out)


class _Form:
    """One way to read pieces and a text together. Pieces that came later than the text stand behind it: another worker
    had them in the same moment."""

    __slots__ = ("_begin", "_chain", "_end", "_glue", "_place", "text")

    def __init__(self, chain: list[Piece], text: str, at: float, glue: str) -> None:
        self._chain = chain
        self._glue = len(glue)
        place = len(chain)
        while place and chain[place - 1].at > at:
            place -= 1
        self._place = place
        before = "".join(piece.text + glue for piece in chain[:place])
        self._begin, self._end = len(before), len(before) + len(text)
        self.text = before + text + "".join(glue + piece.text for piece in chain[place:])

    def joined(self, start: int, end: int) -> list[Piece]:
        """The pieces that what stands there has beside the text; none: it is not in the text and in a piece."""
        if end <= self._begin or start >= self._end:
            return []
        these: list[Piece] = []
        place = self._begin
        for piece in reversed(self._chain[:self._place]):
            if start >= place - self._glue:
                break
            these.insert(0, piece)
            place -= len(piece.text) + self._glue
        place = self._end
        for piece in self._chain[self._place:]:
            if end <= place + self._glue:
                break
            these.append(piece)
            place += len(piece.text) + self._glue
        return these


def remember(window: Window, piece: Piece, limits: Limits) -> None:
    """Add a delivered piece, in the order of their times; the oldest leave beyond the bounds."""
    place = len(window)
    while place and window[place - 1].at > piece.at:
        place -= 1
    window.insert(place, piece)
    size = sum(len(each.text) for each in window)
    while len(window) > limits.window_messages or size > limits.window_bytes:
        size -= len(window.popleft().text)


def forget(window: Window, piece: Piece) -> None:
    """Take a piece out that was not delivered after all, once; its time may be a little off."""
    for place in range(len(window) - 1, -1, -1):
        each = window[place]
        if each.text == piece.text and each.name == piece.name and abs(each.at - piece.at) < _OFF:
            del window[place]
            return
