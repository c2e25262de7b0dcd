"""RE2, for patterns of users and for ours that need it: linear in the text, whatever the pattern says.

Constants of ours that are linear by themselves are in inspector/wire/patterns.py: `re` takes a tenth of the time
for each match.

Patterns and texts are bytes: RE2's Latin-1 mode, one character a byte, as YARA has it.
"""

from __future__ import annotations

from typing import Any

import re2  # type: ignore[import-untyped]

MEMORY = 64 * 1024 * 1024
"""Bytes RE2 may use for one pattern; far above what one pattern needs."""


def options(memory: int = MEMORY) -> Any:
    """RE2's options for bytes, silent on errors."""
    made = re2.Options()
    made.encoding = re2.Options.Encoding.LATIN1
    made.log_errors = False
    made.max_mem = memory
    return made


def pattern(source: bytes) -> Any:
    """A compiled pattern over bytes. Raises ValueError with RE2's reason."""
    try:
        return re2.compile(source, options())
    except re2.error as exc:
        reason = exc.args[0] if exc.args else b""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ValueError(text) from None


def new_set(memory: int) -> Any:
    """An empty set of patterns, unanchored."""
    return re2.Set.SearchSet(options(memory))
