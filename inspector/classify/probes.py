"""Choosing a protocol for the first bytes of a flow.

Every spec's probe sees the same bytes of both ways. STRONG settles at once; WEAK settles only where a hint agrees (the
server's port is one of the spec's, or the listener is for that protocol alone) — ports break ties, they decide nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from inspector.model import Classify, Evidence, Flow, Guess, Match, Spec

_CONFIDENCE = {Match.NO: 0.0, Match.MORE: 0.0, Match.WEAK: 0.6, Match.STRONG: 0.99}


def classifier(specs: Sequence[Spec]) -> Classify:
    """A function (up, down, flow, protocols) -> Guess over these specs. Pure; linear in the bytes given."""
    by_transport: dict[str, tuple[Spec, ...]] = {
        transport: tuple(s for s in specs if transport in s.transports) for transport in ("tcp", "udp")
    }

    def classify(up: bytes, down: bytes, flow: Flow, protocols: frozenset[str]) -> Guess:
        best: Spec | None = None
        match = Match.NO
        for spec in by_transport[flow.transport]:
            if (protocols or spec.expected_only) and spec.name not in protocols:
                continue
            said = spec.probe(up, down)
            if said > match or (said is match and best is not None and _hinted(spec, flow, protocols)):
                best, match = spec, said
        if best is None or match < Match.WEAK:
            return Guess(None, match)
        hinted = _hinted(best, flow, protocols)
        evidence = [Evidence(f"{best.name}.probe", f"first bytes read as {best.title} ({match.name.lower()})",
                             _CONFIDENCE[match])]
        confidence = _CONFIDENCE[match]
        if hinted:
            confidence = max(confidence, 0.8)
            evidence.append(Evidence(f"{best.name}.hint", "port or listener agrees", 0.2))
        return Guess(best, match, confidence, match is Match.STRONG or hinted, tuple(evidence))

    return classify


def _hinted(spec: Spec, flow: Flow, protocols: frozenset[str]) -> bool:
    return flow.server.port in spec.ports or flow.server.port in spec.tls_ports or protocols == {spec.name}


def named_im(specs: Sequence[Spec], port: int, protocols: frozenset[str]) -> bool:
    """Whether a listener or port is named as IM: anything unclassified there is cut (interface.md, `protocols`)."""
    return bool(protocols) or any(port in s.ports or port in s.tls_ports for s in specs)
