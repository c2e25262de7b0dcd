"""What waits in a session: frames, messages that are spread over several of them, files under way."""

from __future__ import annotations

from collections import deque

from inspector.model import FileEnd, FileMode, FileStart, Finding, Frame, Rules, Verdict, Way


class Item:
    """A frame that waits."""

    __slots__ = (
        "deadline", "file", "findings", "frame", "group", "hears", "kept", "left", "rules", "scans", "signing",
        "solid", "trouble", "verdicts",
    )

    def __init__(self, frame: Frame, rules: Rules, left: int) -> None:
        self.frame = frame
        self.rules = rules
        self.left = left
        """Bytes of the frame that had left before the protocol was recognised."""
        self.scans: dict[int, int] | None = None
        """Scan id -> index of the event it is for."""
        self.findings: list[tuple[Finding, ...] | str] = []
        """Per event: findings, or the sentence of a failed scan."""
        self.trouble = "scanner_failed"
        """What a failed scan of it is called."""
        self.verdicts: list[Verdict] | None = None
        """What is to be done, once all is known."""
        self.kept: set[int] | None = None
        """Ids of durable notes not yet on disk."""
        self.signing = False
        """Waits for the user's sign-on."""
        self.hears = False
        """A sign-on that waits for what other workers have to tell of its account."""
        self.solid = False
        """Nothing of it can be masked: content of a file goes with it."""
        self.deadline: float | None = None
        self.group: Group | None = None
        self.file: Transfer | None = None
        """The file that ends with this frame: what was held of it goes out in front."""


class Group:
    """Frames of one message spread over several units: the last one's verdict is for all."""

    __slots__ = ("bytes", "items", "until")

    def __init__(self, until: float) -> None:
        self.items: list[Item] = []
        self.bytes = 0
        self.until = until


class Transfer:
    """One file under way."""

    __slots__ = (
        "bytes", "closed", "complete", "deadline", "done", "end", "id", "item", "mode", "moved", "offer", "offered",
        "pending", "rules", "said", "sent", "spooled", "start", "tail", "tail_bytes", "tail_content", "told", "unread",
        "unspooling", "way",
    )

    def __init__(self, ident: str, way: Way, start: FileStart, rules: Rules) -> None:
        self.id = ident
        self.way = way
        self.start = start
        self.offer = start.offer
        self.rules = rules
        """The rules that decided how it is taken judge it."""
        self.said: tuple[Verdict, ...] = ()
        """What was decided of the offers that its first frame has, until that frame is applied."""
        self.mode: FileMode | str = "pass"
        self.offered: str | None = None
        """The id of the row of its offer."""
        self.told: str = "pass"
        """The mode as the log has it: of a capture what the policy would have done."""
        self.bytes = 0
        """Content seen."""
        self.complete = not start.offset
        self.sent = 0
        """Bytes that left before the verdict."""
        self.spooled = 0
        """Bytes the driver keeps for release."""
        self.tail: deque[tuple[bytes, int]] = deque()
        """(bytes, how many of them are content) in order."""
        self.tail_bytes = 0
        self.tail_content = 0
        self.moved = 0.0
        """When its sender last sent, or its reader last took, something."""
        self.unread = False
        """It is too long to be judged: its content is not spooled any more."""
        self.pending = b""
        """In-band bytes that wait for a unit boundary."""
        self.end: FileEnd | None = None
        self.item: Item | None = None
        """The frame of FileEnd, waiting."""
        self.deadline: float | None = None
        """While it is judged."""
        self.unspooling = False
        self.done = False
        """What was held has been sent, or thrown away."""
        self.closed = False

    @property
    def name(self) -> tuple[Way, str]:
        """What its frames are known by."""
        return self.way, self.start.transfer

    @property
    def inband(self) -> bool:
        return self.start.inband
