"""One conversation: inputs, effects, timers, and errors of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.mitm_layer import Conversation, trouble_row, where
from inspector.drivers.spool import Spool as Disk
from inspector.drivers.spool import Spooled
from inspector.model import (
    DOWN,
    UP,
    Address,
    Arrived,
    Came,
    Chunk,
    Closed,
    Cut,
    Deliver,
    Discard,
    Effect,
    Expect,
    File,
    FileReport,
    Finish,
    Flow,
    Hold,
    Input,
    Judge,
    Judged,
    Kept,
    Killed,
    Limits,
    Note,
    Notice,
    Scan,
    Scanned,
    Secured,
    Send,
    Spliced,
    Spool,
    StartTls,
    Tell,
    Troubled,
    Unhold,
    Unspool,
    Unspooled,
    WakeAt,
    Way,
    Woke,
)

FLOW = Flow("f00", Address("192.0.2.1", 1000), Address("192.0.2.2", 5222), opened=100.0, listener="127.0.0.1:1080")


class Timer:
    """A call that is to come."""

    def __init__(self, at: float, call: Callable[[], None]) -> None:
        self.at, self.call, self.cancelled = at, call, False

    def cancel(self) -> None:
        self.cancelled = True


class World:
    """Host, outlet and session in one, each as simple as can be."""

    def __init__(self, *answers: list[Effect] | Exception) -> None:
        self.now = 100.0
        self.world = None
        self.answers = list(answers)
        self.inputs: list[Input] = []
        self.done: list[Any] = []
        self.timers: list[Timer] = []
        self.sentences: list[str] = []
        self.over = False
        self.room = True
        """For rows that are waited for."""
        self.thens: list[Callable[[], None]] = []
        """What is called when they are on disk."""
        self.disk: Disk = None  # type: ignore[assignment]
        self.judged: list[tuple[Spooled, Callable[[Judged], None]]] = []
        self.talk = Conversation(FLOW, self, self, self, self.up, self.down)

    # the session
    def step(self, given: Input, world: Any) -> list[Effect]:
        self.inputs.append(given)
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    def queued(self, way: Way) -> int:
        return 10 if way is UP else 0

    # the writers and the outlet
    def up(self, data: bytes) -> None:
        self.done.append(("up", data))

    def down(self, data: bytes) -> None:
        self.done.append(("down", data))

    def finish(self, way: Way) -> None:
        self.done.append(("finish", way))

    def cut(self) -> None:
        self.done.append("cut")

    def secure(self, effect: StartTls) -> None:
        self.done.append(effect)

    def post(self, news: Input) -> None:
        self.talk.step(news)

    def when_room(self, way: Way, call: Callable[[], None]) -> None:
        self.done.append(("room", way))
        self.later(0.0, call)

    # the host
    def clock(self) -> float:
        return self.now

    def scan(self, effect: Scan, done: Callable[[Scanned], None], client: str) -> None:
        done(Scanned(effect.id, self.now))

    def note(self, note: Note, done: Callable[[Kept], None] | None) -> None:
        self.done.append(note.row.get("name"))
        if done is not None:
            done(Kept(note.id, self.now))

    def note_first(self, note: Note, client: str, then: Callable[[], None]) -> bool:
        if not self.room:
            return False
        self.done.append(f"{note.row.get('name')} first")
        self.thens.append(then)
        return True

    def judge(self, effect: Judge, file: Spooled, done: Callable[[Judged], None]) -> Callable[[], None]:
        self.judged.append((file, done))
        return lambda: self.done.append("taken back")

    def tell(self, flow: str, notice: Notice) -> None:
        self.done.append((flow, notice))

    def hold(self, effect: Hold, content: int, done: Callable[[Kept], None]) -> None:
        self.done.append((effect.held.id, content))
        done(Kept(effect.id, self.now))

    def deliver(self, flow: str, effect: Deliver, done: Callable[[Kept], None]) -> None:
        self.done.append((flow, effect))
        done(Kept(effect.id, self.now, effect.hold != "denied"))

    def review(self, flow: str, effect: Unhold | Came | Arrived) -> None:
        self.done.append((flow, effect))

    def later(self, delay: float, call: Callable[[], None]) -> Timer:
        self.timers.append(Timer(self.now + delay, call))
        return self.timers[-1]

    def log(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def pass_time(self, until: float) -> None:
        """Fire what is due, in order."""
        while due := [timer for timer in self.timers if not timer.cancelled and timer.at <= until]:
            timer = min(due, key=lambda one: one.at)
            self.timers.remove(timer)
            self.now = timer.at
            timer.call()
        self.now = until


def test_effects_are_carried_out_in_order() -> None:
    """Send, Note, Finish, Expect, and the end by Cut; what follows a Cut is nothing's."""
    world = World([
        Send(UP, b"1"), Note(0, {"name": "row"}), Expect("a", "dcc"), Send(DOWN, b"2"), Finish(UP), Cut("x"),
        Send(UP, b"never"),
    ])
    world.talk.receive(UP, b"in")
    assert world.done == [("up", b"1"), "row", ("down", b"2"), ("finish", UP), "cut"]
    world.talk.receive(UP, b"more")
    world.talk.closed(UP)
    assert world.inputs == [Chunk(UP, 100.0, b"in")]
    assert (world.talk.bytes, world.talk.over) == (2, True)


def test_scans_and_durable_notes_come_back() -> None:
    """Each answer is a step of its own."""
    scan = Scan(3, None, (), None)  # type: ignore[arg-type]
    world = World([scan, Note(4, {"name": "durable"}, True), Note(0, {"name": "light"})])
    world.talk.receive(DOWN, b"x")
    assert world.inputs[1:] == [Scanned(3, 100.0), Kept(4, 100.0)]
    assert world.done == ["durable", "light"]


def test_both_ends() -> None:
    """Each way closes once; after both the session's connections are closed."""
    world = World([Finish(UP)], [Finish(DOWN)])
    for _ in range(2):
        world.talk.closed(UP)
    assert world.done == [("finish", UP)]
    world.talk.closed(DOWN)
    assert world.inputs[:2] == [Closed(UP, 100.0), Closed(DOWN, 100.0)]
    assert world.done == [("finish", UP), ("finish", DOWN), "cut"]


def test_a_session_that_still_waits_when_both_sides_are_gone_writes_its_last_rows() -> None:
    """It is told that it is ended, so that its flow's row is written and its user leaves the world; nothing is sent."""
    world = World([], [], [Send(UP, b"bye"), Note(0, {"name": "flow"}), Cut("x")])
    world.talk.closed(UP)
    world.talk.closed(DOWN)
    assert [type(given).__name__ for given in world.inputs] == ["Closed", "Closed", "Killed"]
    assert world.done == ["flow", "cut"]


def test_a_session_that_is_over_is_closed() -> None:
    """The engine may say so without a Cut."""
    world = World([])
    world.over = True
    world.talk.receive(UP, b"x")
    assert world.done == ["cut"]


def test_one_timer_a_session() -> None:
    """A later WakeAt replaces an earlier one, in both directions of time; the end cancels it."""
    world = World([WakeAt(110.0), WakeAt(120.0)], [WakeAt(105.0)], [])
    world.talk.receive(UP, b"x")
    assert [timer.at for timer in world.timers] == [110.0]
    world.pass_time(115.0)
    assert world.inputs == [Chunk(UP, 100.0, b"x")]
    world.pass_time(120.0)
    assert world.inputs[1:] == [Woke(120.0), Woke(120.0)]  # 105 was over when it was asked for: at once
    assert world.timers == []
    sooner = World([WakeAt(110.0)], [WakeAt(102.0)])
    sooner.talk.receive(UP, b"x")
    sooner.talk.receive(UP, b"x")
    assert [timer.at for timer in sooner.timers if not timer.cancelled] == [102.0]
    sooner.talk.end()
    assert all(timer.cancelled for timer in sooner.timers)


def test_plain_text_while_tls_is_being_opened_is_an_injection() -> None:
    """The session is told, and it is over, whatever it answers."""
    start = StartTls("a.test", b"proceed", b"failure")
    world = World([start], [])
    world.talk.receive(DOWN, b"agreed")
    assert world.done == [start]
    world.talk.receive(UP, b"<injected/>")
    told = world.inputs[-1]
    assert isinstance(told, Troubled)
    assert told.name == "injection"
    assert world.done == [start, "cut"]


@pytest.mark.parametrize("ok", [True, False])
def test_the_outcome_of_tls(ok: bool) -> None:
    """Success goes on; failure ends."""
    world = World([StartTls(None, b"", b"")])
    world.talk.receive(DOWN, b"agreed")
    world.talk.secured(ok, "detail")
    assert world.inputs[-1] == Secured(100.0, ok, "detail")
    assert world.talk.over is not ok
    assert world.talk.securing is None


def test_splice_and_kill() -> None:
    """Both are inputs."""
    world = World()
    world.talk.splice("tls", "never")
    world.talk.kill("drain")
    assert world.inputs == [Spliced(100.0, "tls", "never"), Killed(100.0, "drain")]


def test_an_error_of_ours_is_trouble_internal() -> None:
    """The engine is told and ends the session; neither log nor event holds the error's text."""
    world = World(ValueError("the secret word"), [Send(DOWN, b"ERROR"), Cut("internal")])
    world.talk.receive(UP, b"x")
    told = world.inputs[1]
    assert isinstance(told, Troubled)
    assert told.name == "internal"
    assert "ValueError" in told.detail
    assert world.done == [("down", b"ERROR"), "cut"]
    assert "secret" not in told.detail + world.sentences[0]


def test_an_error_in_the_answer_to_an_error_cuts_too() -> None:
    """If not even the engine's own ending works, the row is written for it."""
    world = World(KeyError("a"), KeyError("b"))
    world.talk.receive(UP, b"x")
    assert world.done == ["internal first"]
    world.thens.pop()()
    assert world.done[1:] == ["cut"]


def test_held() -> None:
    """More than the limit waits that way."""
    world = World()
    assert world.talk.held(UP, 9)
    assert not world.talk.held(UP, 10)
    assert not world.talk.held(DOWN, 0)


def test_a_trouble_row_has_the_shape_of_the_log() -> None:
    """Every field of the table of events, and none beside it."""
    from inspector.store.fields import KINDS

    row = trouble_row(FLOW, 1, 5.0, "overload", "too many")
    assert set(row) == {"event", "id", "t", "flow", *(field.name for field in KINDS["trouble"])}
    assert row["client"] == {"ip": "192.0.2.1", "port": 1000}


def test_where_names_the_place_without_the_text() -> None:
    """Type, file, line and function."""
    try:
        int("a secret")
    except ValueError as error:
        assert where(error).startswith("ValueError at test_mitm_layer.py:")
        assert "secret" not in where(error)


JUDGE = Judge("f", File(file_name="a.txt"), None)  # type: ignore[arg-type]
REPORT = FileReport(size=3, sha256="00", sha1="11", md5="22")


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    limits = Limits(spool_total_bytes=1000)
    spool = Disk(tmp_path / "spool", lambda: limits, lambda folder: 1 << 40)
    spool.start()
    return spool


def filing(disk: Disk, *answers: list[Effect] | Exception) -> World:
    """A world with a spool."""
    world = World(*answers)
    world.disk = disk
    return world


def test_a_file_is_spooled_judged_and_given_back(disk: Disk) -> None:
    """Content is judged, raw comes back when the reader has room; each answer is a step of its own, and later."""
    world = filing(disk, [Spool("f", b"abc", b"<abc>"), Spool("f", b"def", b""), JUDGE], [Unspool("f", DOWN)], [])
    world.talk.receive(UP, b"x")
    file, done = world.judged[0]
    assert file.size == 6
    assert len(world.inputs) == 1
    done(Judged("f", 100.0, REPORT))
    assert world.inputs[1:] == [Judged("f", 100.0, REPORT)]
    assert world.done == [("room", DOWN)]
    world.pass_time(101.0)
    assert world.inputs[2:] == [Unspooled("f", 100.0, b"<abc>", True)]
    assert disk.bytes == 11


def test_a_discarded_file_is_gone(disk: Disk) -> None:
    """Its space is free, its question taken back, and a late answer is nobody's."""
    world = filing(disk, [Spool("f", b"abc"), JUDGE], [Discard("f"), Discard("f"), Discard("unknown")])
    world.talk.receive(UP, b"x")
    world.talk.receive(UP, b"y")
    assert world.done == ["taken back"]
    assert (disk.bytes, disk.files, world.talk.busy) == (0, 0, False)
    world.judged[0][1](Judged("f", 100.0, REPORT))
    assert len(world.inputs) == 2


def test_what_the_spool_does_not_take_is_told_as_a_failure(disk: Disk) -> None:
    """At once, and again when the file is to be judged or given back: never inside the step that asked."""
    world = filing(disk, [Spool("f", b"x" * 2000), Spool("f", b"more"), JUDGE, Unspool("f", UP)])
    world.talk.receive(UP, b"x")
    assert len(world.inputs) == 1
    world.pass_time(101.0)
    failure = "the spool is full: limits.spool_total_bytes"
    assert world.inputs[1:] == [
        Judged("f", 100.0, None, failure), Judged("f", 100.0, None, failure), Unspooled("f", 100.0, b"", True, failure)]
    assert world.judged == []


def test_what_was_never_spooled_cannot_be_given_back(disk: Disk) -> None:
    """A failure, not a crash."""
    world = filing(disk, [Unspool("f", UP)])
    world.talk.receive(UP, b"x")
    world.pass_time(101.0)
    (answer,) = world.inputs[1:]
    assert isinstance(answer, Unspooled)
    assert (answer.end, answer.failure) == (True, "there is no such file in the spool")


def test_the_end_throws_away_what_was_spooled(disk: Disk) -> None:
    """A session that ends leaves nothing in the spool and nobody to be answered."""
    world = filing(disk, [Spool("f", b"abc"), Spool("g", b"abc"), JUDGE])
    world.talk.receive(UP, b"x")
    world.talk.end()
    assert (disk.bytes, disk.files) == (0, 0)
    assert world.done == ["taken back", "cut"]
    world.judged[0][1](Judged("f", 100.0, REPORT))
    world.pass_time(101.0)
    assert len(world.inputs) == 1


def test_a_file_is_released_though_both_sides_have_ended_theirs(disk: Disk) -> None:
    """A sender that closes behind the last byte, a receiver that has nothing to say: the file is still delivered, and
    the session ends after it. What comes behind an end is not read."""
    world = filing(disk, [Spool("f", b"abc", b"abc"), JUDGE], [], [], [Unspool("f", DOWN)], [Send(DOWN, b"abc"),
                   Discard("f"), Note(0, {"name": "file"})], [Note(0, {"name": "flow"})])
    world.talk.receive(UP, b"x")
    world.talk.closed(UP)
    world.talk.closed(DOWN)
    world.talk.receive(UP, b"ignored")
    assert (world.talk.busy, world.done) == (True, [])
    world.judged[0][1](Judged("f", 100.0, REPORT))
    world.pass_time(101.0)
    assert [type(given).__name__ for given in world.inputs] == [
        "Chunk", "Closed", "Closed", "Judged", "Unspooled", "Killed"]
    assert world.done == [("room", DOWN), ("down", b"abc"), "file", "flow", "cut"]


def test_a_file_is_judged_though_nobody_is_left(disk: Disk) -> None:
    """Both connections are gone (RST): the log still gets the verdict; nothing is written to anybody."""
    world = filing(disk, [Spool("f", b"abc", b"abc"), JUDGE], [], [], [Unspool("f", DOWN), WakeAt(200.0)],
                   [Send(DOWN, b"abc"), Discard("f"), Note(0, {"name": "file"}), Finish(UP)])
    world.talk.receive(UP, b"x")
    world.talk.orphaned()
    world.judged[0][1](Judged("f", 100.0, REPORT))
    world.pass_time(150.0)
    assert isinstance(world.inputs[-2], Unspooled)
    assert (world.done, world.talk.over) == (["file"], True)
    assert all(timer.cancelled for timer in world.timers)


def test_nobody_is_left_and_nothing_is_judged() -> None:
    """The session ends at once, with its last rows."""
    world = World([], [], [Note(0, {"name": "flow"})])
    world.talk.orphaned()
    assert (world.done, world.talk.over) == (["flow"], True)


def test_words_for_another_session_are_handed_on() -> None:
    """Tell goes to the gateway, which knows where that session is."""
    notice = Notice("refused")
    world = World([Tell("f99", notice)])
    world.talk.receive(UP, b"x")
    assert world.done == [("f99", notice)]


# -- rows of trouble that must be on disk before the peers notice (decision 85)


def barrier(name: str = "malformed") -> Note:
    return Note(0, {"name": name}, barrier=True)


def test_nothing_behind_a_row_of_trouble_leaves_before_it_is_on_disk() -> None:
    """Last words and the cut wait; what stood in front has left; what is read meanwhile reaches nobody."""
    world = World([Send(UP, b"1"), barrier(), Send(DOWN, b"bye"), Note(0, {"name": "flow"}), Cut("malformed")])
    world.talk.receive(UP, b"bad")
    world.over = True
    world.talk.receive(UP, b"more")
    assert world.done == [("up", b"1"), "malformed first"]
    assert world.talk.ending
    assert world.talk.held(UP, 1 << 20)
    assert world.talk.held(DOWN, 1 << 20)
    world.thens.pop()()
    assert world.done[2:] == [("down", b"bye"), "flow", "cut"]
    assert world.talk.over


def test_what_comes_behind_the_row_keeps_its_order() -> None:
    """A row of trouble that refuses something holds up its session, not for good: later steps come behind it, a second
    such row is waited for by itself."""
    world = World([barrier("hold_full"), Send(DOWN, b"refused")], [Send(UP, b"next")],
                  [barrier("scan"), Send(DOWN, b"2")], [Send(UP, b"last")])
    for data in (b"a", b"b", b"c", b"d"):
        world.talk.receive(UP, data)
    assert world.done == ["hold_full first"]
    assert not world.talk.held(UP, 4096)
    assert world.talk.held(UP, 9)
    world.thens.pop()()
    assert world.done[1:] == [("down", b"refused"), ("up", b"next"), "scan first"]
    world.thens.pop()()
    assert world.done[4:] == [("down", b"2"), ("up", b"last")]
    assert not world.talk.over


def test_where_too_many_wait_the_row_follows() -> None:
    """At the bound nothing waits: the row is written as others are."""
    world = World([barrier(), Send(DOWN, b"bye"), Cut("malformed")])
    world.room = False
    world.talk.receive(UP, b"bad")
    assert world.done == ["malformed", ("down", b"bye"), "cut"]


def test_when_both_peers_are_gone_nobody_can_notice() -> None:
    """What waits behind the row is done at once: its rows are written, its words are nobody's."""
    world = World([barrier(), Send(DOWN, b"bye"), Note(0, {"name": "flow"}), Came("h1", False), Cut("malformed")])
    world.talk.receive(UP, b"bad")
    world.over = True
    world.talk.closed(UP)
    assert world.done == ["malformed first"]
    world.talk.closed(DOWN)
    assert world.done[1:] == ["flow", ("f00", Came("h1", False)), "cut"]
    world.thens.pop()()
    assert world.done[-1] == "cut"


def test_an_ending_from_outside_loses_no_row_that_waits() -> None:
    """The link is aborted while the row is on its way."""
    world = World([barrier(), Send(DOWN, b"bye"), Note(0, {"name": "flow"}), Cut("malformed")])
    world.talk.receive(UP, b"bad")
    world.talk.end()
    assert world.done == ["malformed first", "flow", "cut"]


def test_tls_that_failed_is_told_when_its_row_is_on_disk() -> None:
    """The layers that open TLS wait, and speak before the end; without a session that notes anything, at once."""
    world = World([barrier("tls_failed"), Note(0, {"name": "flow"}), Cut("tls")])
    world.talk.secured(False, "no", then=lambda: world.done.append("layers"))
    assert world.done == ["tls_failed first"]
    world.thens.pop()()
    assert world.done[1:] == ["layers", "flow", "cut"]
    world = World()
    world.talk.secured(False, "no", then=lambda: world.done.append("layers"))
    assert world.done == ["layers", "cut"]


def test_what_is_said_behind_starttls_is_told_when_its_row_is_on_disk() -> None:
    """An injection ends the session; more of it changes nothing."""
    start = StartTls("x", b"proceed", b"failure")
    world = World([start], [barrier("injection"), Cut("injection")])
    world.talk.receive(UP, b"starttls")
    for _ in range(2):
        world.talk.receive(UP, b"injected")
        world.over = True
    assert world.done == [start, "injection first"]
    world.thens.pop()()
    assert world.done[2:] == ["cut"]


def test_what_waited_behind_a_row_and_was_never_sent_is_not_called_delivered() -> None:
    """A released message stood behind the row when the link was aborted: it is sent elsewhere."""
    world = World([barrier(), Send(DOWN, b"released"), Came("h1", True)])
    world.talk.receive(UP, b"x")
    world.talk.end()
    assert world.done == ["malformed first", ("f00", Came("h1", False)), "cut"]


def test_what_was_sent_before_a_row_and_is_doubtful_since_is_not_sent_again() -> None:
    """That its session has ended is told behind the row of that; when the link is aborted meanwhile it stays said."""
    world = World([Send(DOWN, b"released"), Came("h1", True)], [barrier(), Came("h1", None), Cut("malformed")])
    world.talk.receive(UP, b"x")
    world.talk.receive(UP, b"x")
    world.talk.end()
    assert [news for news in world.done if type(news) is tuple and type(news[1]) is Came] == [
        ("f00", Came("h1", True)), ("f00", Came("h1", None))]


def test_a_connection_that_is_broken_off_has_its_last_rows() -> None:
    """TLS that is broken cannot go on: nobody is spoken to, and what the session leaves behind is told."""
    world = World([], [Send(UP, b"bye"), Came("h1", False), Note(0, {"name": "flow"}), Cut("x")])
    world.talk.broken(UP)
    assert [type(given) for given in world.inputs] == [Closed, Killed]
    assert world.done == [("f00", Came("h1", False)), "flow", "cut"]
    world.talk.broken(UP)
    assert world.done[3:] == []


def test_rows_of_trouble_that_wait_already_are_waited_for_together() -> None:
    """A peer who makes a row of trouble with each unit must not put a commit of the disk between all of them."""
    flood: list[Effect] = []
    for number in range(100):
        flood += [barrier(f"t{number}"), Send(DOWN, b"%d" % number)]
    world = World(flood, list(flood))
    world.talk.receive(UP, b"x")
    assert world.done == [*(f"t{number}" for number in range(99)), "t99 first"]
    world.talk.receive(UP, b"x")
    world.done.clear()
    world.thens.pop()()
    assert world.done == [
        *(("down", b"%d" % number) for number in range(100)), *(f"t{number}" for number in range(99)), "t99 first"]
    world.done.clear()
    world.thens.pop()()
    assert world.done == [("down", b"%d" % number) for number in range(100)]


def test_rows_that_wait_behind_a_row_of_trouble_count_as_bytes_that_wait() -> None:
    """Rows have no bytes of their peer: without a bound of their number a session would grow as fast as it is sent
    to."""
    world = World([barrier()], [barrier("more")] * 1000)
    world.talk.receive(UP, b"x")
    assert not world.talk.held(UP, 10_000)
    world.talk.receive(UP, b"x")
    assert world.talk.held(UP, 10_000)
    world.thens.pop()()
    assert world.done[-1] == "more first"


def test_what_ends_a_session_while_layers_are_told_loses_no_row() -> None:
    """The layers of a failed TLS close the connection when they are told: what stood behind the row is noted still."""
    world = World([barrier("tls_failed"), Came("h1", False), Note(0, {"name": "flow"}), Cut("tls")])
    world.talk.secured(False, "no", then=world.talk.lost)
    world.over = True
    world.thens.pop()()
    assert world.done[1:] == [("f00", Came("h1", False)), "flow", "cut"]
