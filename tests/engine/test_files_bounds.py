"""Files that never end, that lie about their size, that are padded or begin too early: what they can take from us."""

from __future__ import annotations

import msgspec
import pytest

from inspector.engine.session import Session
from inspector.engine.world import World, offer_key
from inspector.model import (
    DOWN,
    UP,
    Action,
    Can,
    Cut,
    Discard,
    Effect,
    Expect,
    FileOffer,
    FileReport,
    Finding,
    Judge,
    Judged,
    Kept,
    Limits,
    Note,
    Send,
    Spool,
    Unspool,
    Unspooled,
    Verdict,
    Woke,
)
from tests.engine.toyfiles import FILES, FilePolicy, file_session
from tests.playbook import START, down, up

REPORT = FileReport(size=3, sha256="aa", sha1="bb", md5="cc", kinds=("text",))
BAD = FileReport(size=3, sha256="aa", sha1="bb", md5="cc", findings=(Finding("yara", "core.eicar", "high"),))


class Run:
    """A session, everything that came of it, and what the last input brought."""

    def __init__(self, made: tuple[Session, World, FilePolicy]) -> None:
        self.session, self.world, self.policy = made
        self.all: list[Effect] = []
        self.last: list[Effect] = []

    def give(self, given: object) -> list[Effect]:
        self.last = self.session.step(given, self.world)  # type: ignore[arg-type]
        self.all += self.last
        return self.last

    def sent(self, way: int) -> bytes:
        return b"".join(e.data for e in self.all if isinstance(e, Send) and e.way == way)

    def troubles(self) -> list[str]:
        return [e.row["name"] for e in self.all if isinstance(e, Note) and e.row["event"] == "trouble"]

    def keep(self) -> None:
        for note in [e for e in self.last if isinstance(e, Note) and e.durable]:
            self.give(Kept(note.id, START))

    def of(self, kind: type) -> list[Effect]:
        return [e for e in self.all if isinstance(e, kind)]


def spooled(effects: list[Effect], *, raw: bool = False) -> int:
    return sum(len(e.raw if raw else e.content) for e in effects if isinstance(e, Spool))


def test_a_file_of_unknown_size_is_spooled_up_to_the_bound() -> None:
    """Without a size it could fill the spool of all others: at `spool_bytes` its connection ends, nothing has left."""
    run = Run(file_session(limits=Limits(spool_bytes=100)))
    run.give(up(b"FILE t a.txt\n"))
    for _ in range(50):
        run.give(up(b"PART t 0123456789\n"))
    assert spooled(run.all) <= 110
    assert run.of(Cut)
    assert run.of(Discard)
    assert b"PART" not in run.sent(UP)
    assert run.troubles() == ["overload"]


def test_an_inband_file_of_unknown_size_is_refused_at_the_bound() -> None:
    """In-band: only the file ends."""
    run = Run(file_session(limits=Limits(spool_bytes=100)))
    run.give(up(b"IN t a.txt\n"))
    for _ in range(50):
        run.give(up(b"PART t 0123456789\n"))
    run.give(up(b"CLOSE t\nSAY bob hi\n"))
    assert spooled(run.all) <= 110
    assert run.sent(UP) == b"SAY bob hi\n"
    assert run.sent(DOWN).endswith(b"REFUSED\n")


def test_what_wraps_the_content_is_bounded_too() -> None:
    """A file of ten bytes in units of a thousand each takes no more of the disk than a large file would."""
    run = Run(file_session(limits=Limits(spool_bytes=1000)))
    run.give(up(b"FILE t a.txt\n"))
    for _ in range(100):
        run.give(up(b"PART t\n"))
    for _ in range(2000):
        if run.session.over:
            break
        run.give(up(b"PART t \n"))
    assert spooled(run.all, raw=True) <= 2100
    assert run.of(Cut)


@pytest.mark.parametrize("mode", ["stream", "watch"])
def test_content_that_is_too_long_to_be_judged_is_not_spooled(mode: str) -> None:
    """Beyond `file_scan_bytes` the verdict is scanner_failed already: the disk is given back, and it is not asked."""
    limits = Limits(file_scan_bytes=100, file_tail_bytes=20)
    run = Run(file_session("stream", enforce=mode == "stream", limits=limits))
    run.give(up(b"FILE t a.txt\n"))
    for _ in range(50):
        run.give(up(b"PART t 0123456789\n"))
    assert spooled(run.all) <= 110
    assert len(run.of(Discard)) == 1
    assert not run.session.over
    run.give(up(b"CLOSE t\n"))
    assert not run.of(Judge)
    assert run.troubles() == ["scanner_failed"]
    run.keep()
    assert (b"CLOSE t\n" in run.sent(UP)) is (mode == "watch")


def test_a_file_whose_sender_falls_silent_is_given_up() -> None:
    """It would hold its place in the spool for days: after `file_idle_seconds` its connection ends."""
    run = Run(file_session(limits=Limits(file_idle_seconds=100)))
    run.give(up(b"FILE t a.txt 30\nPART t abc\n"))
    run.give(Woke(START + 60.0))
    run.give(up(b"PART t abc\n", START + 90.0))
    run.give(Woke(START + 150.0))
    assert not run.session.over
    run.give(Woke(START + 191.0))
    assert run.of(Discard)
    assert run.of(Cut)
    rows = [e.row for e in run.all if isinstance(e, Note) and e.row.get("state") == "transferred"]
    assert [row["complete"] for row in rows] == [False]


def test_a_silent_inband_file_is_given_up_and_the_session_goes_on() -> None:
    """In-band: what comes of it later is refused."""
    run = Run(file_session(limits=Limits(file_idle_seconds=100)))
    run.give(up(b"IN t a.txt 30\nPART t abc\n"))
    run.give(Woke(START + 101.0))
    assert run.of(Discard)
    run.give(up(b"PART t abc\nCLOSE t\nSAY bob hi\n", START + 102.0))
    assert run.sent(UP) == b"SAY bob hi\n"
    assert run.sent(DOWN) == b"ACK\nREFUSED\n"


def test_a_reader_who_does_not_read_gives_the_spool_back() -> None:
    """Released, but nobody takes it: the connection ends."""
    run = Run(file_session(limits=Limits(file_idle_seconds=100)))
    run.give(up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n"))
    run.give(Judged("f1-f1", START + 10.0, REPORT))
    assert run.of(Unspool)
    run.give(Unspooled("f1-f1", START + 50.0, b"one"))
    run.give(Woke(START + 140.0))
    assert not run.session.over
    run.give(Woke(START + 151.0))
    assert run.of(Cut)
    assert run.of(Discard)


def test_a_policy_that_does_not_enforce_cuts_no_silent_file() -> None:
    """Only its place in the spool is given back; the log says that it was not judged."""
    run = Run(file_session(enforce=False, limits=Limits(file_idle_seconds=100)))
    run.give(up(b"FILE t a.txt 6\nPART t abc\n"))
    run.give(Woke(START + 101.0))
    assert run.of(Discard)
    run.give(up(b"PART t def\nCLOSE t\n", START + 102.0))
    assert run.sent(UP) == b"FILE t a.txt 6\nPART t abc\nPART t def\nCLOSE t\n"
    rows = [e.row for e in run.all if isinstance(e, Note) and e.row.get("state") == "transferred"]
    assert [row["complete"] for row in rows] == [False]


def test_a_file_that_is_not_known_passes_a_policy_that_does_not_enforce() -> None:
    """Content of no file is refused only where something is refused at all."""
    run = Run(file_session(enforce=False))
    run.give(up(b"PART x abc\n"))
    assert run.sent(UP) == b"PART x abc\n"
    run = Run(file_session())
    run.give(up(b"PART x abc\n"))
    assert run.sent(UP) == b""


def test_padding_does_not_shorten_the_tail() -> None:
    """What waits is counted in bytes of content: small pieces in large wrappings leave no more of the file."""
    spec = FILES
    run = Run(file_session("stream", limits=Limits(file_tail_bytes=64), spec=spec))
    run.give(up(b"FILE t a.txt\n"))
    for content in range(1, 61):
        run.give(up(b"PART t x\n"))
        assert content - run.sent(UP).count(b"PART") >= min(content, 64)
    assert run.session.queued(UP) <= 5 * 64
    run.give(up(b"PART t " + b"y" * 200 + b"\n"))
    run.give(up(b"CLOSE t\n"))
    run.give(Judged("f1-f1", START, REPORT))
    held = b"".join(e.raw for e in run.all if isinstance(e, Spool))
    run.give(Unspooled("f1-f1", START, held, True))
    assert run.sent(UP) == b"FILE t a.txt\n" + b"PART t x\n" * 60 + b"PART t " + b"y" * 200 + b"\nCLOSE t\n"


def test_a_file_that_begins_before_its_protocol_is_known_is_held_from_there_on() -> None:
    """A first line that comes slowly leaves unrecognised; it must not free the content behind it."""
    run = Run(file_session(trouble={"unclassified": "pass"}))
    run.give(up(b"FILE t a.txt 3"))
    run.give(Woke(START + 2.0))
    assert run.sent(UP) == b"FILE t a.txt 3"
    run.give(up(b"\nPART t abc\nCLOSE t\n", START + 3.0))
    assert b"abc" not in run.sent(UP)
    run.give(Judged("f1-f1", START + 4.0, BAD))
    run.keep()
    assert b"abc" not in run.sent(UP)
    assert run.sent(DOWN).endswith(b"REFUSED\n")


def test_a_file_that_began_early_is_not_sent_twice() -> None:
    """What had left is judged with the rest, and not sent again."""
    run = Run(file_session(trouble={"unclassified": "pass"}))
    run.give(up(b"FILE t a.txt 3"))
    run.give(Woke(START + 2.0))
    run.give(up(b"\nPART t abc\nCLOSE t\n", START + 3.0))
    run.give(Judged("f1-f1", START + 4.0, REPORT))
    held = b"".join(e.raw for e in run.all if isinstance(e, Spool))
    run.give(Unspooled("f1-f1", START + 4.0, held, True))
    assert run.sent(UP) == b"FILE t a.txt 3\nPART t abc\nCLOSE t\n"


def test_files_that_come_take_no_place_of_those_that_go() -> None:
    """A stranger who opens files and never ends them stops only what comes."""
    run = Run(file_session(limits=Limits(files_open=2)))
    run.give(down(b"IN a a.txt 3\nIN b b.txt 3\nIN c c.txt 3\n"))
    assert run.troubles() == ["overload"]
    run.give(up(b"IN t a.txt 3\nPART t abc\nCLOSE t\n"))
    assert run.of(Judge)


class MaskingPolicy(FilePolicy):
    """Masks the name of every file."""

    def decide(self, event: object, *rest: object, **more: object) -> Verdict | None:
        if type(event).__name__ == "FileOffer":
            return Verdict(Action.REDACT, "names", masks=((0, 0, 1),))
        return None


def test_a_name_that_cannot_be_masked_any_more_refuses_the_file() -> None:
    """The offer came with the content's begin: what asks for a mask refuses, and the log says so."""
    spec = msgspec.structs.replace(FILES, can={"file": Can(drop=True, mask=True)})
    session, world, policy = file_session(spec=spec)
    session.kit.rules = msgspec.structs.replace(session.kit.rules, policy=MaskingPolicy())
    run = Run((session, world, policy))
    run.give(up(b"FILE t a.txt 3\nPART t abc\n"))
    verdicts = [e for e in run.all if isinstance(e, Note) and e.row["event"] == "verdict"]
    assert [(e.durable, e.row["asked"], e.row["did"]) for e in verdicts] == [(True, "redact", "block")]
    assert spooled(run.all) == 0


def test_a_file_names_its_own_offer() -> None:
    """Somebody else's offer in the same words is not what announced it."""
    offer = FileOffer(sender="ann", recipients=("bob",), file_name="a.txt", size=3, method="toy")
    expect = Expect("192.0.2.1:4000", "toyfiles", "ann", offer=offer, flow="talk", identity="authenticated")
    run = Run(file_session(expected=expect))
    until = START + 100.0
    run.world.offers.put(offer_key("talk", offer), "talk-7", until)
    run.world.offers.put(offer_key("other", offer), "other-9", until)
    run.give(up(b"FILE t a.txt 3\nPART t abc\nCLOSE t\n"))
    [judge] = run.of(Judge)
    assert isinstance(judge, Judge)
    assert judge.about.offer == "talk-7"
