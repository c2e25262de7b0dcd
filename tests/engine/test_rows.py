"""Rows of the log: the right fields, nothing of a found value."""

from __future__ import annotations

import pytest

from inspector.engine import rows
from inspector.model import (
    UP,
    Address,
    CallSetup,
    ContactChange,
    Context,
    Event,
    FileOffer,
    Finding,
    Flow,
    GroupChange,
    Message,
    Opaque,
    Presence,
    SignOn,
    Text,
    Typing,
)
from inspector.store import lines

EVENTS: list[Event] = [
    Message(sender="a", recipients=("b",), texts=(Text("subject", "s"), Text("body", "hello")), id="m1"),
    SignOn(user="a@example.net/x", identity="authenticated", mechanism="PLAIN"),
    Presence(sender="a", availability="away"),
    ContactChange(action="add", contact="c"),
    GroupChange(action="join", group="#c", member="a"),
    FileOffer(sender="a", recipients=("b",), file_name="x.exe", size=5, method="dcc", hashes=(("sha-256", "00"),)),
    CallSetup(action="propose", media=("audio",)),
    Typing(sender="a"),
    Opaque(kind="vcard", texts=(Text("form", "words"),)),
]


def context() -> Context:
    made = Context(Flow("f", Address("10.0.0.1", 1), Address("192.0.2.1", 2)))
    made.protocol, made.user, made.identity = "toy", "a", "claimed"
    return made


@pytest.mark.parametrize("event", EVENTS, ids=lambda e: e.name)
def test_every_event_renders_as_a_line(event: Event) -> None:
    """Each kind of event has a row that the log's schema takes."""
    row = rows.of_event(event, "f-1", 1.5, UP, context(), text=True)
    assert row["event"] == event.name
    line = lines.render(row, "gw")
    assert line.startswith(b'{"event":"' + event.name.encode() + b'"')


def test_the_text_of_a_message_is_its_body() -> None:
    """A subject does not hide the body."""
    row = rows.of_event(EVENTS[0], "f-1", 1.5, UP, context(), text=True)
    assert row["text"] == "hello"
    assert [t["text"] for t in row["texts"]] == ["s", "hello"]


def test_without_text_no_text_is_in_the_row() -> None:
    """archive: metadata keeps no words."""
    row = rows.of_event(EVENTS[0], "f-1", 1.5, UP, context(), text=False)
    assert row["text"] is None
    assert row["texts"] == []
    assert "hello" not in str(row)


def test_a_finding_names_its_rule_and_place_only() -> None:
    """The found value itself is not in the finding's row."""
    row = rows.of_finding(Finding("dlp", "dlp.card_number", "high", spans=((0, 1, 5),)))
    assert row == {"detector": "dlp", "rule": "dlp.card_number", "severity": "high", "pack": None, "detail": "",
                   "tags": [], "spans": [[0, 1, 5]]}


def test_the_log_has_a_text_as_it_was_written() -> None:
    """Formatting codes are evidence: the row's text keeps them, its parts are what a person reads."""
    message = Message(texts=(Text("body", "secret"),), written="se\x02\x02cret")
    row = rows.of_event(message, "f-1", 1.5, UP, context(), text=True)
    assert row["text"] == "se\x02\x02cret"
    assert row["texts"][0]["text"] == "secret"
    assert rows.of_event(message, "f-1", 1.5, UP, context(), text=False)["text"] is None
