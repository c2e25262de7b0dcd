"""What the parts of a session (its files, what it holds for a reviewer) may ask of it."""

from __future__ import annotations

from typing import Any, Protocol

from inspector.engine.items import Item
from inspector.engine.kit import Kit
from inspector.engine.world import World
from inspector.model import (
    Act,
    Action,
    Context,
    Cover,
    Decoder,
    Effect,
    Event,
    File,
    FileOffer,
    Finding,
    Flow,
    Frame,
    Limits,
    Message,
    PeerError,
    Rules,
    Send,
    Spec,
    Verdict,
    Way,
)


class Owner(Protocol):
    """A session, as its parts see it. They work with its queues, rows and counts. `Session` is the only one, and says
    what each of these does."""

    flow: Flow
    context: Context
    kit: Kit
    dry: bool
    spec: Spec | None

    # -- what it is, and where it stands

    @property
    def over(self) -> bool: ...

    @property
    def decoder(self) -> Decoder | None: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def names_messages(self) -> bool: ...

    def closed(self, way: Way) -> bool: ...

    def finished(self, way: Way) -> bool: ...

    def waits(self, way: Way) -> bool: ...

    def unread(self) -> bool: ...

    def has_room(self, way: Way) -> bool: ...

    def can_hold(self, event: Message) -> bool: ...

    def would_hold(self, offer: FileOffer, way: Way, at: float) -> bool: ...

    # -- frames

    def item(self, frame: Frame, left: int) -> Item: ...

    def enqueue(self, item: Item) -> None: ...

    def pump(self, way: Way, world: World, out: list[Effect], at: float) -> None: ...

    def deliver(
        self, frame: Frame, verdicts: tuple[Verdict, ...], left: int, world: World, out: list[Effect],
    ) -> None: ...

    def arranged(self, acts: list[Act], at: float, world: World, out: list[Effect]) -> bool: ...

    def aside(self, act: Send, out: list[Effect]) -> None: ...

    # -- verdicts

    def enter(self, rules: Rules) -> None: ...

    def decide(self, item: Item, at: float, world: World, out: list[Effect]) -> None: ...

    def cover(self, event: Message | File, way: Way, at: float, world: World) -> Cover | None: ...

    def did(self, item: Item, event: Event, asked: Verdict) -> Verdict: ...

    def outcome(
        self, item: Item, event: Event, asked: Verdict | None, findings: tuple[Finding, ...], at: float,
        out: list[Effect], did: Verdict, done: Action, index: int = 0, cover: Cover | None = None,
    ) -> Verdict: ...

    def failed_scan(
        self, event: Event, failure: str, way: Way, at: float, *, policy_rules: Rules, out: list[Effect],
        name: str = "scanner_failed",
    ) -> Verdict: ...

    def count_refused(self) -> None: ...

    def refusal(self, reference: str) -> str: ...

    # -- rows, waiting, endings

    def next_id(self) -> int: ...

    def note_file(self, event: File, way: Way, at: float, out: list[Effect]) -> None: ...

    def note_durably(self, item: Item, row: dict[str, Any], at: float, out: list[Effect]) -> None: ...

    def note_trouble(
        self, name: str, detail: str, action: str, at: float, out: list[Effect], *, follows: bool = False,
    ) -> None: ...

    def wait_for(self, item: Item, ident: int, at: float, out: list[Effect]) -> None: ...

    def wake_at(self, at: float | None, out: list[Effect]) -> None: ...

    def finish(self, way: Way, world: World, out: list[Effect], at: float) -> None: ...

    def cut(
        self, at: float, world: World, out: list[Effect], *, reason: str, polite: bool = True,
        fault: PeerError | None = None, verdict: Verdict | None = None,
    ) -> None: ...
