"""Findings of scanners and verdicts of policy."""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import msgspec

Severity = Literal["low", "medium", "high", "critical"]

Span = tuple[int, int, int]
"""(index into the event's `texts`, start, end): characters of `Text.plain`, end exclusive."""


class Action(IntEnum):
    """What is done with an event, mildest first."""

    PASS = 0
    WARN = 1
    REDACT = 2
    HOLD = 3
    BLOCK = 4
    CUT = 5


class Finding(msgspec.Struct, frozen=True):
    """Something a scanner found in one event."""

    detector: str
    """yara, indicator, dlp."""
    rule: str
    """core.eicar, dlp.card_number, <pack>.<file stem>."""
    severity: Severity
    detail: str = ""
    pack: str | None = None
    """name@version; None for built-in detectors."""
    tags: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    """Empty: the finding has no place that could be masked."""


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the judging of a file's content has found."""

    size: int
    sha256: str
    sha1: str
    md5: str
    kinds: tuple[str, ...] = ()
    """executable, script, archive, document …, most dangerous first; several for a polyglot; empty: unknown."""
    media_type: str | None = None
    members: int = 0
    """Files found inside it, at any depth."""
    encrypted: bool = False
    findings: tuple[Finding, ...] = ()
    """YARA file rules, hash indicators, clamd, and what the openers say ("file.encrypted", "file.bomb" …)."""


class Hit(msgspec.Struct, frozen=True):
    """A rule that matched: in shadow, or collected on the way to the final one."""

    rule: str
    action: Action
    mode: Literal["enforce", "shadow"] = "enforce"


class Verdict(msgspec.Struct, frozen=True):
    """The decision on one event. The policy fills all but `reference`, which the engine gives."""

    action: Action
    rule: str | None = None
    reason: str = ""
    reference: str = ""
    notice: str | None = None
    """Text for the sender, variables already filled except {reference}, which the engine fills; None: tell nobody."""
    placeholder: str | None = None
    """What the recipient reads in place of a refused message; None: nothing."""
    masks: tuple[Span, ...] = ()
    hits: tuple[Hit, ...] = ()
    """Every rule that matched, shadow ones included, in the order of the policy."""
    findings: tuple[Finding, ...] = ()


PASSED = Verdict(Action.PASS)
