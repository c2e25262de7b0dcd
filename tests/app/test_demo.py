"""The demo: what it plays and how it tells it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from inspector.app import demo


class Pipe(asyncio.Transport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data


def test_the_small_server_relays_between_two_people() -> None:
    """Registration is answered with 001, a PING with a PONG, and a PRIVMSG reaches its target even when split."""
    people: dict[str, demo.Server] = {}
    ends = []
    for nick in ("alice", "bob"):
        server, pipe = demo.Server(people), Pipe()
        server.connection_made(pipe)
        server.data_received(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n".encode())
        assert pipe.written == f":irc.demo 001 {nick} :Welcome\r\n".encode()
        pipe.written = b""
        ends.append((server, pipe))
    (alice, said), (_, heard) = ends
    alice.data_received(b"PING x\r\nPRIVMSG bob :he")
    alice.data_received(b"llo\r\nPRIVMSG nobody :lost\r\n")
    assert said.written == b":irc.demo PONG irc.demo x\r\n"
    assert heard.written == b":alice!alice@demo PRIVMSG bob :hello\r\n"


def test_the_story_has_clients_and_log_side_by_side() -> None:
    """Each message is told with what was said, what was read and what the log says."""
    event = {"action": "block", "rule": "r", "reference": "R-1", "sender": "alice", "recipients": ["bob"],
             "protocol": "irc"}
    heard = {"title": "one", "alice says": "x", "bob reads": "(nothing)", "alice reads": "Blocked."}
    assert demo.show([heard], [event]).splitlines() == [
        "one:",
        "  alice says   x",
        "  bob reads    (nothing)",
        "  alice reads  Blocked.",
        "  the log      block, rule 'r', reference R-1",
        "               from alice to bob over irc",
    ]
    passed = demo.show([heard], [event | {"action": "pass", "rule": None, "reference": None}])
    assert "  the log      pass\n" in passed


@pytest.mark.live
def test_the_demo_passes_masks_and_refuses_within_a_minute(tmp_path: Path) -> None:
    """Through the real gateway: one message arrives as sent, one masked, one not at all, and the talk goes on."""
    start = time.monotonic()
    seen, events = asyncio.run(demo.run(tmp_path))
    assert time.monotonic() - start < 60
    passed, masked, refused, waited, after = seen
    assert waited["bob reads"] == waited["alice says"]
    assert "waits for review" in waited["alice reads"]
    assert events[3]["did"] == "hold"
    assert passed["bob reads"] == passed["alice says"]
    assert "4111" not in masked["bob reads"]
    assert masked["bob reads"].startswith("My card is ****")
    assert masked["bob reads"].endswith(", thanks!")
    assert "Blocked by company policy" in refused["alice reads"]
    assert after["bob reads"] == after["alice says"]
    assert [event["action"] for event in events] == ["pass", "redact", "block", "hold", "pass"]
    assert events[2]["reference"]
    assert events[2]["reference"] in refused["alice reads"]


@pytest.mark.live
def test_a_gateway_that_does_not_start_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With a broken policy the demo says that it could not be played, shows the gateway's words, and returns 1."""
    monkeypatch.setattr(demo, "POLICY", "rules: 7\n")
    assert demo.main() == 1
    told = capsys.readouterr()
    assert "could not be played" in told.err
    assert "policy.yaml" in told.err
