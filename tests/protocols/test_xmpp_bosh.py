"""XMPP over HTTP (BOSH): the carrier's own ways; what is inside is XMPP's (tests/protocols/test_xmpp.py)."""

from __future__ import annotations

from tests.evasion.ways import Said
from tests.protocols import bosh_disguises, test_xmpp
from tests.protocols.bosh_disguises import ALLOWED, PREFLIGHT, bound
from inspector.model import DOWN, UP

DISGUISES = bosh_disguises.DISGUISES

TALKS: dict[str, Said] = {
    "chat": bound(test_xmpp.TALKS["chat"]),
    "words": [(UP, PREFLIGHT), (DOWN, ALLOWED), *bound(test_xmpp.TALKS["forms-of-words"], chunks=40)],
}
