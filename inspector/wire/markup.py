"""What a person reads of a text with HTML tags, and where each character of it stands.

Instant messengers render a small HTML without ever refusing any. A tag is taken for one where every reader takes it for
one; what a reader without HTML would see beside that (links, unknown tags, comments) is told separately.
"""

from __future__ import annotations

import html
from typing import Protocol

from inspector.wire.patterns import (
    HTML_BREAK,
    HTML_ENDING,
    HTML_HIDDEN,
    HTML_LINK,
    HTML_SPLIT,
    HTML_SURE,
    HTML_TAG,
    HTML_TOKEN,
    RTF_HIDDEN,
    RTF_TOKEN,
)

TAGS = 512
"""Tags remembered as mere formatting; all are forgotten when full."""
TAG_BYTES = 100
"""A longer tag is not remembered."""
_formatting: set[str] = set()

Unit = tuple[str, int, int]
"""(one shown character, start, end): where it stands in the text; a whole tag or entity may stand behind it."""


class _Found(Protocol):
    """A match of a pattern."""

    def groups(self) -> tuple[str | None, ...]: ...


def has_tags(text: str) -> bool:
    """Whether the text is surely HTML: it has a tag that nobody types by chance."""
    return "<" in text and HTML_SURE.search(text) is not None


def _shown(token: str) -> str:
    if token[0] == "&":
        return html.unescape(token)
    return "\n" if HTML_BREAK.match(token) else ""


def shown(text: str) -> str:
    """The text without tags, line breaks and character references undone, NUL left out."""
    if "\0" in text:
        return "".join(unit[0] for unit in units(text))
    if "&" not in text:
        if "<" not in text:
            return text
        if HTML_BREAK.search(text) is None:
            return HTML_TAG.sub("", text)
    return HTML_TOKEN.sub(lambda found: _shown(found.group()), text)


def formatted(text: str) -> str | None:
    """What `shown` gives, for the usual text: tags that only format, each seen before; None: look closer.

    A tag is remembered once it was seen to break no line, lead nowhere and hide nothing: clients write the same few.
    """
    if "&" in text or "\0" in text:
        return None
    if "<" not in text:
        return text
    parts = HTML_SPLIT.split(text)
    if not _formatting.issuperset(parts[1::2]):
        for tag in parts[1::2]:
            if (HTML_BREAK.match(tag) or HTML_HIDDEN.match(tag) or HTML_LINK.search(tag) or len(tag) > TAG_BYTES
                    or tag.count('"') & 1 or tag.count("'") & 1):
                return None
            if len(_formatting) >= TAGS:
                _formatting.clear()
            _formatting.add(tag)
    return "".join(parts[::2])


def strict(text: str) -> str | None:
    """What browsers show where that differs from `shown`: a `>` in a value or comment ends no tag there, and a tag that
    does not end hides the rest (HTML Living Standard 13.2.5). None: no difference."""
    if '"' not in text and "'" not in text and "<!" not in text:
        return None
    out: list[str] = []
    at = 0
    while (start := text.find("<", at)) >= 0:
        after = text[start + 1:start + 2]
        if not after or not (after in "/!?" or (after.isascii() and after.isalpha())):
            out.append(text[at:start + 1])
            at = start + 1
            continue
        out.append(text[at:start])
        if text.startswith("<!--", start):
            end = text.find("-->", start + 2)
            at = len(text) if end < 0 else end + 3
        else:
            at = _tag_end(text, start + 1)
        if HTML_BREAK.match(text[start:min(at, start + 16)] + ">"):
            out.append("\n")
    seen = html.unescape("".join([*out, text[at:]])).replace("\0", "")
    return None if seen == shown(text) else seen


def _tag_end(text: str, at: int) -> int:
    """Behind the `>` of the tag that begins before `at`; the text's end where there is none."""
    while (found := HTML_ENDING.search(text, at)) is not None:
        at = found.end()
        if found.group() == ">":
            return at
        if text[:found.start()][-8:].rstrip().endswith("="):
            at = text.find(found.group(), at) + 1
            if not at:
                break
    return len(text)


_RTF_BREAKS = frozenset(("par", "line", "tab", "page", "sect", "cell", "row"))


def rich(text: str) -> str:
    """The words of RTF (Rich Text Format specification 1.9): control words and groups left out, escapes undone."""
    return RTF_TOKEN.sub(_of_rtf, RTF_HIDDEN.sub("", text))


def _of_rtf(found: _Found) -> str:
    byte, char, word, sign = found.groups()
    if byte:
        return bytes((int(byte, 16),)).decode("cp1252", "replace")
    if char:
        return chr(int(char) & 0xFFFF)
    if word:
        return "\n" if word in _RTF_BREAKS else ""
    return "" if sign is None else {"~": "\u00a0", "_": "-", "-": ""}.get(sign, sign)


def units(text: str) -> list[Unit]:
    """Each character that `shown` gives with its place."""
    out: list[Unit] = []
    at = 0
    for found in [*HTML_TOKEN.finditer(text), None]:
        upto = found.start() if found else len(text)
        out += [(text[i], i, i + 1) for i in range(at, upto) if text[i] != "\0"]
        if found is None:
            break
        at = found.end()
        out += [(char, upto, at) for char in _shown(found.group()) if char != "\0"]
    return out


def references(text: str) -> str:
    """The text with character references undone, for what stands in an attribute."""
    return "".join(char for char, _, _ in units_of_value(text, 0, len(text)))


def units_of_value(text: str, start: int, end: int) -> list[Unit]:
    """Each character of an attribute's value text[start:end] with its place in `text`."""
    return [(char, start + a, start + b) for char, a, b in units(text[start:end])]


def links(text: str, most: int) -> list[tuple[int, int]]:
    """Where the values of links and sources stand in the text's tags; `most` of them at most."""
    found: list[tuple[int, int]] = []
    for tag in HTML_TAG.finditer(text):
        for link in HTML_LINK.finditer(text, tag.start(), tag.end()):
            if len(found) == most:
                return found
            found.append(link.span(link.lastindex or 0))
    return found


def hidden(text: str) -> str:
    """What stands in tags that are no formatting, and in comments, with blanks between."""
    return " ".join(found.group(1).strip() for found in HTML_HIDDEN.finditer(text)).strip()
