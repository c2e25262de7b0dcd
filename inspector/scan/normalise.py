"""Texts as they are scanned: one run of bytes that holds every form of every text, and the way back.

A text of ASCII letters without a character reference has one form: itself. Any other is scanned as it is written and,
where they differ, in these forms (design §7):

- `plain`: references undone (markup was undone by the decoder; this is markup inside the text);
- `folded`: compatibility forms made plain (NFKC: full width, mathematical, enclosed letters), what does not show
  removed, case folded (for rules in other scripts than Latin: the rules' own `nocase` knows ASCII only);
- `skeleton`: decomposed, marks removed, letters replaced by the ASCII letters they look like, case kept.

Forms stand behind one another with a separator between that no word, line or space of a rule goes across. Where
in the text a byte of a form came from is computed only for a hit: cluster by cluster (a letter with its marks, a
reference), as the functions that make the forms work on clusters alone; where they do not, the whole text is the place.
"""

from __future__ import annotations

import html
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from inspector.model.events import Text
from inspector.model.verdicts import Span
from inspector.scan.confusables import skeleton
from inspector.wire.patterns import ENTITY, INVISIBLE

SEPARATOR = "\n\x1e_\x1e\n"
"""Between texts and forms: runs of white space, of signs and of dots end in it, and so do words."""
_SEPARATOR = SEPARATOR.encode()

Form = Callable[[str], bytes]


class Layout:
    """Which form of which text stands where in the scanned bytes."""

    __slots__ = ("_forms", "_maps", "_starts", "_texts", "data")

    def __init__(self, texts: Sequence[Text]) -> None:
        self._texts = texts
        self._starts: list[int] = []
        self._forms: list[tuple[int, Form]] = []
        self._maps: dict[int, _Map] = {}
        pieces: list[bytes] = []
        at = 0
        for index, text in enumerate(texts):
            for form, data in forms(text.plain):
                if pieces:
                    pieces.append(_SEPARATOR)
                    at += len(_SEPARATOR)
                self._starts.append(at)
                self._forms.append((index, form))
                pieces.append(data)
                at += len(data)
        self.data = b"".join(pieces)

    def exact(self) -> list[tuple[int, int]]:
        """Where the forms stand that hold no letter for another one it looks like: hosts are looked for in these."""
        ends = [start - len(_SEPARATOR) for start in self._starts[1:]] + [len(self.data)]
        lookalikes = {
            index for index, text in enumerate(self._texts) if not text.plain.isascii() and not _visible(
                _unescape(text.plain)).isascii()
        }
        return [
            (start, end) for start, end, (index, form) in zip(self._starts, ends, self._forms, strict=True)
            if form not in (_skeleton, _undone_skeleton) or index not in lookalikes
        ]

    def span(self, start: int, end: int) -> Span:
        """The characters of a text that the scanned bytes start..end came from. What goes beyond a form is cut."""
        which = max(bisect_right(self._starts, start) - 1, 0)
        index, form = self._forms[which]
        there = self._maps.get(which)
        if there is None:
            there = self._maps[which] = _Map(self._texts[index].plain, form)
        low, high = there.characters(start - self._starts[which], end - self._starts[which])
        return index, low, high


def forms(plain: str) -> list[tuple[Form, bytes]]:
    """The forms of a text that differ from one another, with the functions that make them. The first is itself."""
    raw = _raw(plain)
    made: list[tuple[Form, bytes]] = [(_raw, raw)]
    source: Form = _raw
    if "&" in plain:
        undone = _unescape(plain)
        if undone is not plain:
            source, raw = _undone, _raw(undone)
            made.append((source, raw))
            plain = undone
    if not plain.isascii():
        visible = _visible(plain)
        folded = _raw(visible.casefold())
        if folded != raw.lower() and not visible.isascii():
            made.append((_folded if source is _raw else _undone_folded, folded))
        bones = _bones(visible)
        if bones != raw:
            made.append((_skeleton if source is _raw else _undone_skeleton, bones))
    return made


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _unescape(text: str) -> str:
    """References with a semicolon undone; the very same object where there is none."""
    return ENTITY.sub(lambda match: html.unescape(match.group()), text) if ENTITY.search(text) else text


def _visible(text: str) -> str:
    return INVISIBLE.sub("", unicodedata.normalize("NFKC", text))


def _bones(visible: str) -> bytes:
    apart = unicodedata.normalize("NFKD", visible)
    return skeleton(apart if apart == visible else INVISIBLE.sub("", apart))


def _undone(text: str) -> bytes:
    return _raw(_unescape(text))


def _folded(text: str) -> bytes:
    return _raw(_visible(text).casefold())


def _skeleton(text: str) -> bytes:
    return _bones(_visible(text))


def _undone_folded(text: str) -> bytes:
    return _folded(_unescape(text))


def _undone_skeleton(text: str) -> bytes:
    return _skeleton(_unescape(text))


class _Map:
    """From bytes of a form to characters of its text."""

    __slots__ = ("_bytes", "_characters", "_length")

    def __init__(self, plain: str, form: Form) -> None:
        self._length = len(plain)
        cuts = clusters(plain) or [0]
        pieces = [form(plain[a:b]) for a, b in zip(cuts, [*cuts[1:], len(plain)], strict=True)]
        if b"".join(pieces) == form(plain):
            self._characters = [*cuts, len(plain)]
            self._bytes = [0, *accumulate(map(len, pieces))]
        else:
            self._characters = [0, len(plain)]
            self._bytes = [0, max(len(form(plain)), 1)]

    def characters(self, start: int, end: int) -> tuple[int, int]:
        last = len(self._bytes) - 1
        low = min(bisect_right(self._bytes, start) - 1, last)
        high = min(bisect_right(self._bytes, max(end - 1, start)), last)
        return self._characters[low], self._characters[high]


def clusters(plain: str) -> list[int]:
    """Where clusters begin: a character with what is composed with it or hidden behind it; a reference is one."""
    cuts: list[int] = []
    skip = 0
    entities = iter([m.span() for m in ENTITY.finditer(plain)] if "&" in plain else [])
    entity = next(entities, None)
    for i, c in enumerate(plain):
        if entity is not None and i == entity[0]:
            cuts.append(i)
            skip = entity[1]
            entity = next(entities, None)
        elif i >= skip and (i == 0 or c < "\u0300" or not _joins(c)):
            cuts.append(i)
    return cuts


def _joins(c: str) -> bool:
    """Whether a character may melt into the one before it: marks, Hangul vowels and finals, half-width voicing."""
    return (
        unicodedata.category(c)[0] == "M"
        or "\u1160" <= c <= "\u11ff"
        or c in "\uff9e\uff9f"
        or "\uffa0" <= c <= "\uffdc"
    )
