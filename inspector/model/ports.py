"""What the engine asks of the rooms beside it, as typing.Protocols; `app` hands the real things in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from inspector.model.events import Event, FileOffer, Identity, Text
from inspector.model.flow import Flow, Way
from inspector.model.frames import Match, Spec
from inspector.model.verdicts import Finding, Verdict


class Context:
    """What policy may know of a session beside the event. One per session, changed only by the engine."""

    __slots__ = (
        "application", "confidence", "directions", "flow", "groups", "identity", "listener_protocols", "plan",
        "policy", "protocol", "user",
    )

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.protocol: str | None = None
        self.application: str | None = None
        self.confidence: float = 0.0
        self.user: str | None = None
        self.identity: Identity = "unknown"
        self.groups: frozenset[str] = frozenset()
        """Groups of the session's user; filled by Policy.enter."""
        self.directions: tuple[str, str] = ("outbound", "inbound")
        """Direction of what travels UP and DOWN: outbound, inbound, internal; filled by Policy.enter."""
        self.policy: object = None
        """The policy that filled groups and directions: another one must enter again."""
        self.plan: object = None
        """What that policy worked out for this session in `enter`; of no meaning to anybody else."""
        self.listener_protocols: frozenset[str] = frozenset()


class ScanFailed(Exception):
    """A scan did not come to its end: never to be read as clean."""


FileMode = Literal["spool", "stream", "pass"]
"""How a file's content is taken. spool: nothing leaves before the verdict. stream: all but the last
`limits.file_tail_bytes` leaves while it is read. pass: it is not read at all."""


class FileRules(Protocol):
    """All that judges the content of files, in a form that goes to a process of its own."""

    @property
    def key(self) -> str:
        """A digest of `blob`: the same key, the same judgement."""
        ...

    @property
    def blob(self) -> bytes:
        """What a worker process is given. May be long (a million hashes): made when it is asked for."""
        ...


class Scanner(Protocol):
    """Signature packs, indicators and detectors, compiled."""

    packs: tuple[str, ...]
    """name@version of each loaded pack."""
    digest: str | None
    """sha256:<hex> of what is in the packs; None: it has none (a scanner of a test)."""

    @property
    def files(self) -> FileRules | None:
        """What files are judged with; None: files are not judged."""
        ...

    def quick(self, texts: Sequence[Text]) -> tuple[Finding, ...] | None:
        """Findings, if the texts are short enough to be scanned at once (bounded, linear); None: use `full` elsewhere.
        Raises ScanFailed."""
        ...

    def full(self, texts: Sequence[Text]) -> tuple[Finding, ...]:
        """Findings of texts of any permitted length; may take long, is run in a thread. Raises ScanFailed."""
        ...


class Policy(Protocol):
    """A compiled policy."""

    digest: str
    """sha256:<hex> of its source."""
    enforce: bool

    def enter(self, context: Context) -> None:
        """Fill groups and directions of a context (at start, and when its user or the policy changes)."""
        ...

    def decide(
        self, event: Event, context: Context, way: Way, at: float, findings: tuple[Finding, ...],
    ) -> Verdict | None:
        """The verdict on one event; None: passes, and no rule (shadow ones included) has anything to say of it."""
        ...

    def file_mode(self, offer: FileOffer, context: Context, way: Way, at: float) -> FileMode:
        """How the content of an offered file is to be taken, by what is known before it comes."""
        ...

    def on_trouble(self, name: str, protocol: str | None) -> str:
        """pass, block, cut or hold for malformed, gap, unclassified, overload, undecryptable, scanner_failed …"""
        ...


class Rules(msgspec.Struct, frozen=True):
    """One version of all that judges: what a reload replaces."""

    version: int
    policy: Policy
    scanner: Scanner


class Evidence(msgspec.Struct, frozen=True):
    """One reason for naming a flow's protocol."""

    rule: str
    text: str
    points: float


class Guess(msgspec.Struct, frozen=True):
    """What the first bytes of a flow say. `settled`: sure enough to begin decoding now."""

    spec: Spec | None = None
    match: Match = Match.NO
    confidence: float = 0.0
    settled: bool = False
    evidence: tuple[Evidence, ...] = ()


Classify = Callable[[bytes, bytes, Flow, frozenset[str]], Guess]
"""(first bytes up, first bytes down, flow, the listener's protocol names or empty for any) -> Guess."""
