"""Borders of words in UTF-8 bytes."""

from __future__ import annotations

_SPACELESS = "\u0e00"
"""First character of the scripts that put no spaces between words (Thai; Han, Kana and Hangul stand beyond it too)."""


def before(data: bytes, at: int) -> str:
    """The character that ends at `at`; empty at the beginning."""
    if at <= 0:
        return ""
    return data[max(at - 4, 0):at].decode("utf-8", "replace")[-1:]


def after(data: bytes, at: int) -> str:
    """The character that begins at `at`; empty at the end."""
    return data[at:at + 4].decode("utf-8", "replace")[:1]


def in_word(c: str) -> bool:
    """Whether a character belongs to a word that ends at a space."""
    return (c.isalnum() or c == "_") and c < _SPACELESS


def inside(data: bytes, at: int) -> bool:
    """Whether `at` is in the middle of a word."""
    return in_word(before(data, at)) and in_word(after(data, at))
