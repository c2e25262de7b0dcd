"""The reader's side: what clients show, and whether a secret is in it. Nothing here is the gateway's own code."""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Iterable
from urllib.parse import unquote

_TAG = re.compile(r"<[^<>]*>")
_CODES = re.compile("\x03[0-9]{1,2}(?:,[0-9]{1,2})?|\x04[0-9A-Fa-f]{6}|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def decoded(data: bytes) -> list[str]:
    """A text in every charset that a client might take it for."""
    found = [data.decode("utf-8", "ignore"), data.decode("cp1252", "ignore")]
    if b"\x1b" in data:
        found.append(data.decode("iso2022_jp", "ignore"))
    if b"\0" in data:
        for start in (0, 1):
            found += [data[start:].decode(codec, "ignore") for codec in ("utf-16-be", "utf-16-le")]
    return found


def renderings(text: str) -> list[str]:
    """A text as it stands, without formatting codes, without tags, with references undone, in any order of these."""
    bare = _CODES.sub("", text)
    seen = {text: None, bare: None, html.unescape(bare): None, _TAG.sub("", bare): None}
    seen[html.unescape(_TAG.sub("", bare))] = None
    seen[_TAG.sub("", html.unescape(bare))] = None
    return list(seen)


def generous(data: bytes) -> list[str]:
    """Everything that any client might show of the bytes."""
    return [shown for text in decoded(data) for shown in renderings(text)]


def squashed(text: str) -> str:
    """Letters and digits alone: compatibility forms made plain, marks, signs and blanks left out, case folded."""
    out = []
    for char in unicodedata.normalize("NFKD", text):
        if char.isalnum():
            digit = unicodedata.digit(char, None)
            out.append(char.casefold() if digit is None else str(digit))
    return "".join(out)


def leaks(shown: Iterable[str], secrets: Iterable[str]) -> bool:
    """Whether a secret, or most of it, is in what is shown: in letters, and for links with percent signs undone."""
    views = [squashed(text) for text in shown]
    views += [squashed(unquote(text)) for text in shown if "%" in text]
    for secret in secrets:
        small = squashed(secret)
        size = max(5, len(small) * 6 // 10)
        for start in range(max(len(small) - size, 0) + 1):
            piece = small[start:start + size]
            if len(set(piece)) > 2 and any(piece in view for view in views):
                return True
    return False
