"""A row of every kind, with every field filled, as the engine and the gateway make them."""

from __future__ import annotations

from typing import Any

from inspector.store.fields import ALIASES, KINDS

T = 1764000000.123456

_VALUES: dict[str, Any] = {
    "text": "words", "number": 0.5, "count": 7, "flag": True, "flag!": True, "way": "up", "direction": "outbound",
    "identity": "claimed", "copy": "leg", "action": "block", "time": T, "texts": ["one", "two"],
    "parts": [{"part": "body", "text": "words", "lang": None}], "address": {"ip": "2001:db8::1", "port": 5222},
    "encryption": {"inspectable": "none", "scheme": "omemo"},
    "evidence": [{"rule": "r", "text": "why", "points": 3}],
    "findings": [{"detector": "yara", "rule": "core.eicar", "severity": "high", "pack": "core@2026.11.0",
                  "detail": None, "tags": ["worm"], "spans": [[0, 0, 2]]}],
    "hits": [{"rule": "malware", "action": "block", "mode": "shadow"}],
    "hashes": [("sha-256", "00ff")],
}


def full(event: str, n: int = 1, **more: Any) -> dict[str, Any]:
    """A row in which every field of the kind has a value."""
    names = ALIASES.get(event, {})
    row: dict[str, Any] = {"event": event, "id": f"00f1-{n}", "t": T + n, "file": None, "flow": "00f1"}
    row |= {names.get(field.name, field.name): _VALUES[field.type] for field in KINDS[event]}
    return row | more


def bare(event: str, **more: Any) -> dict[str, Any]:
    """A row of which nothing is known but that it happened."""
    return {"event": event, "t": T, **more}


def message(n: int, **more: Any) -> dict[str, Any]:
    """A chat message like any other."""
    return bare("message", id=f"00f1-{n}", flow="00f1", protocol="irc", kind="chat", way="up", sender="alice",
                user="alice", recipients=["bob"], text=f"message {n}") | more
