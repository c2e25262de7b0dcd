"""Every pattern of inspector/wire/patterns.py is linear, and finds what it is for."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from inspector.wire import patterns

WORST: dict[str, Callable[[int], list[str | bytes]]] = {
    "INVISIBLE": lambda n: ["\u200b" * n, "a\u0301" * (n // 2), "a" * n],
    "ENTITY": lambda n: ["&" * n, "&a" * (n // 2), "&" + "a" * n, "&#" * (n // 2), "&#x12345" * (n // 8)],
}
"""For each pattern: texts of about n characters that are worst for it."""


def _constants() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    return {name: value for name, value in vars(patterns).items() if isinstance(value, re.Pattern)}


def _seconds(pattern: re.Pattern[str] | re.Pattern[bytes], text: str | bytes) -> float:
    best = 9.0
    for _ in range(5):
        start = time.process_time()
        for _match in pattern.finditer(text):  # type: ignore[arg-type]
            pass
        best = min(best, time.process_time() - start)
    return best


def test_every_pattern_has_its_worst_texts() -> None:
    """A pattern without a row here is not allowed in."""
    assert set(_constants()) == set(WORST)


@pytest.mark.parametrize("name", sorted(WORST))
def test_is_linear_in_the_text(name: str) -> None:
    """Sixteen times the text takes nearer 16 than 256 times as long."""
    pattern = _constants()[name]
    for small, large in zip(WORST[name](1000), WORST[name](16000), strict=True):
        assert _seconds(pattern, large) < 80 * max(_seconds(pattern, small), 5e-6), small[:40]


def test_invisible_characters() -> None:
    """Zero-width characters, bidirectional controls and combining marks go; letters, emoji and spaces stay."""
    assert patterns.INVISIBLE.sub("", "p\u200ba\u00ady\u202epa\u0301l\ufe0f é \U0001f600") == "paypal é \U0001f600"


def test_entities() -> None:
    """References with a semicolon only: the & of a link's query is none."""
    assert patterns.ENTITY.findall("&amp; &#65; &#x41; ?a=1&copy=2 & &;") == ["&amp;", "&#65;", "&#x41;"]
