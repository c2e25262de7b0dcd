"""What the modules of this protocol may ask of a connection. `XmppDecoder` is the only one, and says what each of these
does.

They are functions of it: an object that held its connection, and was held by it, would be a cycle, and what a session
holds would die by the collector only.
"""

from __future__ import annotations

from typing import Protocol

from inspector.model import Flow, Identity, Limits, Memory, SignOn, Way
from inspector.protocols.xmpp.state import Counting, Files, Login, Servers, Side


class Owner(Protocol):
    """A connection, as its parts see it."""

    flow: Flow
    limits: Limits
    memory: Memory
    edits: frozenset[str]
    sides: tuple[Side, Side]
    undecryptable: str | None

    # -- who is behind it

    signed: bool
    user: str | None
    bare: str | None
    domain: str | None
    to: str | None
    identity: Identity
    rooms: dict[str, str] | None

    # -- what was agreed on

    login: Login
    login_seen: bool
    counting: Counting | None
    counted_elsewhere: bool
    servers: Servers | None
    files: Files | None

    # -- what we say

    ours: str
    said: int

    def ready(self, way: Way) -> bool: ...

    def sign_on(self, jid: str, identity: Identity = "authenticated", mechanism: str | None = None) -> SignOn: ...

    def cannot(self, why: str) -> None: ...

    def known_files(self) -> Files: ...
