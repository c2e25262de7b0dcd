"""Texts as they are scanned: one run of bytes that holds every form of every text, and the way back.

A text of printable ASCII letters with single blanks and without a character reference has one form: itself. Any other
is scanned as it is written and, where they differ, in these forms (design §7):

- `raw`, references undone (markup was undone by the decoder; this is markup inside the text);
- `spaced`: of ASCII: white space as one blank, controls removed;
- `folded`: compatibility forms made plain (NFKC: full width, mathematical, enclosed letters), what does not show
  removed, white space as one blank, case folded (for rules in other scripts than Latin: the rules' own `nocase` knows
  ASCII only);
- `skeleton`: decomposed, marks removed, letters replaced by the ASCII letters they look like, case kept;
- `joined`: of the address of a link: without tabs and line breaks;
- `turned`: the skeleton of what a right-to-left override shows.

Forms stand behind one another with a separator between that no word, line or space of a rule goes across. Where
in the text a byte of a form came from is computed only for a hit: cluster by cluster (a letter with its marks, a
reference), as the functions that make the forms work on clusters alone; where they do not, the whole text is the place.
"""

from __future__ import annotations

import html
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from inspector.model.events import Text
from inspector.model.verdicts import Span
from inspector.scan.confusables import skeleton
from inspector.wire.patterns import BLANKS, ENCLOSED, ENTITY, INVISIBLE

SEPARATOR = "\n\x1e_\x1e\n"
"""Between texts and forms: runs of white space, of signs and of dots end in it, and so do words."""
_SEPARATOR = SEPARATOR.encode()

_DEEPEST = 125
"""Embedded directions that count (UAX 9, max_depth)."""
_OPENING = frozenset("\u202a\u202b\u202d\u202e\u2066\u2067\u2068")
_ENCLOSED: dict[int, str] = {
    **{0x2474 + n: str(n + 1) for n in range(20)}, **{0x249C + n: chr(97 + n) for n in range(26)},
    **{0x1F110 + n: chr(65 + n) for n in range(26)},
}
"""Letters and numbers in brackets of one character: NFKC would write the brackets."""


_BREAKS: dict[int, None] = dict.fromkeys(map(ord, "\t\n\r"))
_CONTROLS = bytes((*range(9), *range(14, 32), 127))
_TELLING = bytes(range(32)) + b"\x7f&"
"""What gives a text of ASCII letters another form: controls, white space, references."""


class Form:
    """A function from a text to the bytes of one of its forms."""

    __slots__ = ("kind", "undone")

    def __init__(self, kind: str, undone: bool) -> None:
        self.kind = kind
        """raw, spaced, folded, skeleton, turned, joined, or one of them behind "joined"."""
        self.undone = undone
        """Whether references are undone first."""

    def __call__(self, text: str) -> bytes:
        if self.undone:
            text = _unescape(text)
        if self.kind == "raw":
            return _raw(text)
        if self.kind.startswith("joined"):
            text = _joined(text)
            if self.kind == "joined":
                return _raw(text)
        if self.kind == "spaced":
            return _spaced(text) if text.isascii() else b""
        visible = _visible(turned(text) if self.kind.endswith("turned") else text)
        return _raw(visible.casefold()) if self.kind.endswith("folded") else _bones(visible)


_FORMS = {(kind, undone): Form(kind, undone) for kind in (
    "raw", "spaced", "folded", "skeleton", "turned", "joined", "joined folded", "joined skeleton",
    "joined turned") for undone in (False, True)}
_LOOKALIKES = ("skeleton", "turned", "joined skeleton", "joined turned")


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
            for form, data in forms(text.plain, text.part == "url"):
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
            if form.kind not in _LOOKALIKES or index not in lookalikes
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


def single(plain: str) -> bool:
    """Whether a text has one form: itself."""
    if not plain.isascii():
        return False
    data = plain.encode()
    return len(data.translate(None, _TELLING)) == len(data) and "  " not in plain


def forms(plain: str, link: bool = False) -> list[tuple[Form, bytes]]:
    """The forms of a text that differ from one another, with the functions that make them. The first is itself.

    `link`: the text is the address of a link; programs leave out tabs and line breaks in it (WHATWG URL 4.4).
    """
    if link and _broken(plain):
        kinds = ["joined"]
        joined = _joined(plain)
        if not joined.isascii():
            kinds += ["joined folded", "joined skeleton", *(("joined turned",) if "\u202e" in joined else ())]
        return [*forms(plain), *((form, form(plain)) for form in (_FORMS[kind, False] for kind in kinds))]
    raw = _raw(plain)
    undone = False
    made: list[tuple[Form, bytes]] = [(_FORMS["raw", False], raw)]
    if "&" in plain:
        bare = _unescape(plain)
        if bare is not plain:
            plain, raw, undone = bare, _raw(bare), True
            made.append((_FORMS["raw", True], raw))
    if plain.isascii():
        if not plain.isprintable() or "  " in plain:
            spaced = _spaced(plain)
            if spaced != raw:
                made.append((_FORMS["spaced", undone], spaced))
        return made
    visible = _visible(plain)
    folded = _raw(visible.casefold())
    if folded != raw.lower() and not visible.isascii():
        made.append((_FORMS["folded", undone], folded))
    bones = _bones(visible)
    if bones != raw:
        made.append((_FORMS["skeleton", undone], bones))
    if "\u202e" in plain:
        form = _FORMS["turned", undone]
        made.append((form, _bones(_visible(turned(plain)))))
    return made


def _broken(text: str) -> bool:
    """Whether an address has tabs or line breaks in it, perhaps as references."""
    text = html.unescape(text)
    return text.translate(_BREAKS) != text


def _joined(text: str) -> str:
    """The address of a link as programs read it."""
    return html.unescape(text).translate(_BREAKS)


def _raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _unescape(text: str) -> str:
    """References undone; the very same object where there is none."""
    return ENTITY.sub(lambda match: html.unescape(match.group()), text) if ENTITY.search(text) else text


def _spaced(text: str) -> bytes:
    """ASCII without controls, with single blanks."""
    data = text.encode().translate(None, _CONTROLS)
    spaced = b" ".join(data.split())
    if data[:1].isspace():
        spaced = b" " + spaced
    return spaced + b" " if data[-1:].isspace() and spaced != b" " else spaced


def _visible(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text)
    if plain != text and ENCLOSED.search(text) is not None:
        plain = unicodedata.normalize("NFKC", text.translate(_ENCLOSED))
    visible = INVISIBLE.sub("", plain)
    if "&" in visible and len(visible) != len(plain):
        visible = _unescape(visible)  # what does not show stood inside a reference
    usual = visible.isprintable() and "  " not in visible and "\u2800" not in visible
    return visible if usual else BLANKS.sub(" ", visible)


def _bones(visible: str) -> bytes:
    apart = unicodedata.normalize("NFKD", visible)
    return skeleton(apart if apart == visible else INVISIBLE.sub("", apart))


def turned(text: str) -> str:
    """A text in the order in which right-to-left overrides show it (UAX 9, X1 to X8). Controls of direction stay out.

    What stands inside an override to the left is one unit of an override to the right around it.
    """
    done: list[str] = []
    stack: list[tuple[str, list[str]]] = []
    beyond = 0
    for c in text:
        if c in _OPENING:
            if len(stack) < _DEEPEST:
                stack.append((c, []))
            else:
                beyond += 1
        elif c in "\u202c\u2069":
            if beyond:
                beyond -= 1
            elif stack:
                _close(stack, done)
        else:
            if c in "\n\r\u2029":
                beyond = 0
                while stack:
                    _close(stack, done)
            (stack[-1][1] if stack else done).append(c)
    while stack:
        _close(stack, done)
    return "".join(done)


def _close(stack: list[tuple[str, list[str]]], done: list[str]) -> None:
    """End the innermost direction: what it holds becomes one unit of the one around it."""
    opening, units = stack.pop()
    if opening == "\u202e":
        units.reverse()
    (stack[-1][1] if stack else done).append("".join(units))


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
    """Where clusters begin: a character with what is composed with it or hidden behind it; a reference is one, a run of
    white space is one."""
    cuts: list[int] = []
    skip = 0
    before = False
    entities = iter([m.span() for m in ENTITY.finditer(plain)] if "&" in plain else [])
    entity = next(entities, None)
    for i, c in enumerate(plain):
        if entity is not None and i == entity[0]:
            cuts.append(i)
            skip = entity[1]
            entity = next(entities, None)
        elif i >= skip and (i == 0 or c < "\u0300" or not _joins(c)):
            blank = c.isspace()
            if not (blank and before):
                cuts.append(i)
            before = blank
            continue
        before = False
    return cuts


def _joins(c: str) -> bool:
    """Whether a character may melt into the one before it: marks, Hangul vowels and finals, half-width voicing."""
    return (
        unicodedata.category(c)[0] == "M"
        or "\u1160" <= c <= "\u11ff"
        or c in "\uff9e\uff9f"
        or "\uffa0" <= c <= "\uffdc"
    )
