"""Choosing a protocol for the first bytes of a flow."""

from __future__ import annotations

import msgspec

from inspector.classify.probes import classifier, named_im
from inspector.model import Address, Flow, Match
from tests.engine.toy import FLOW as ELSEWHERE
from tests.engine.toy import TOY, ToyDecoder

OTHER = msgspec.structs.replace(
    TOY, name="other", probe=lambda up, down: Match.WEAK if up.startswith(b"HI") else Match.NO, ports=frozenset({8888}),
    decoder=ToyDecoder,
)
CLASSIFY = classifier((TOY, OTHER))


def on(port: int) -> Flow:
    return Flow("f", Address("10.0.0.1", 1), Address("192.0.2.1", port))


def test_strong_settles_on_any_port() -> None:
    """Payload decides."""
    guess = CLASSIFY(b"HELLO a\n", b"", on(443), frozenset())
    assert guess.settled
    assert guess.spec is TOY
    assert guess.confidence > 0.9
    assert guess.evidence


def test_weak_settles_only_where_a_port_agrees() -> None:
    """A port breaks a tie; alone it decides nothing."""
    assert not CLASSIFY(b"HI\n", b"", ELSEWHERE, frozenset()).settled
    hinted = CLASSIFY(b"HI there\n", b"", on(8888), frozenset())
    assert hinted.settled
    assert hinted.spec is OTHER


def test_weak_settles_on_a_listener_for_that_protocol_alone() -> None:
    """The listener's word counts as a hint, and hides other protocols."""
    guess = CLASSIFY(b"HI there\n", b"", ELSEWHERE, frozenset({"toy"}))
    assert guess.spec is TOY
    assert guess.settled


def test_a_port_without_payload_says_nothing() -> None:
    """No bytes, no name."""
    assert CLASSIFY(b"", b"", on(7777), frozenset()).spec is None
    assert not CLASSIFY(b"\x16\x03\x01", b"", on(7777), frozenset()).settled


def test_other_transports_are_not_asked() -> None:
    """A TCP protocol's probe does not see datagrams."""
    flow = Flow("f", Address("10.0.0.1", 1), Address("192.0.2.1", 7777), transport="udp")
    assert CLASSIFY(b"HELLO a\n", b"", flow, frozenset()).match is Match.NO


def test_ports_and_listeners_named_as_im() -> None:
    """A registered port or a listener's `protocols` names it."""
    assert named_im((TOY,), 7777, frozenset())
    assert named_im((TOY,), 80, frozenset({"toy"}))
    assert not named_im((TOY,), 80, frozenset())
