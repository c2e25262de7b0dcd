"""Frames: the one error that peer bytes may end in."""

from __future__ import annotations

from inspector.model import Decoder, Flow, Limits, Match, Memory, PeerError, Spec


def test_a_peer_error_says_its_name_and_detail() -> None:
    """Name first, detail after a colon when there is one; the protocol's condition is kept beside."""
    fault = PeerError("xmpp.restricted_xml", "a document type declaration", "restricted-xml")
    assert str(fault) == "xmpp.restricted_xml: a document type declaration"
    assert (fault.name, fault.condition) == ("xmpp.restricted_xml", "restricted-xml")
    assert str(PeerError("irc.too_long")) == "irc.too_long"


def test_match_grows_with_certainty() -> None:
    """A probe's answers are ordered: what is at least WEAK is a claim."""
    assert Match.NO < Match.MORE < Match.WEAK < Match.STRONG


def test_a_spec_needs_no_more_than_names_a_probe_and_a_decoder() -> None:
    """The defaults of a Spec: TCP, no ports, signs on, cannot do anything to an event."""

    def decoder(flow: Flow, limits: Limits, memory: Memory, edits: frozenset[str]) -> Decoder:
        raise AssertionError("not made here")

    spec = Spec("quiet", "Quiet protocol", lambda up, down: Match.NO, decoder)
    assert spec.transports == {"tcp"}
    assert spec.signs_on
    assert (spec.ports, spec.can, spec.edits) == (frozenset(), {}, ())
