"""Any order of files, chat, answers and endings: nothing undecided leaves, nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.model import (
    DOWN,
    UP,
    Chunk,
    Closed,
    Cut,
    Discard,
    Effect,
    FileMode,
    FileReport,
    Finding,
    Finish,
    Input,
    Judge,
    Judged,
    Kept,
    Limits,
    Note,
    Send,
    Spool,
    Unspool,
    Unspooled,
    WakeAt,
    Woke,
)
from tests.engine.toyfiles import file_session

LIMITS = Limits(file_tail_bytes=30, file_over_bytes=40, files_open=3)

lines = st.one_of(
    st.builds("FILE {} n{} {}".format, st.sampled_from("ab"), st.integers(0, 3), st.sampled_from(["", "5", "30"])),
    st.builds("IN {} n{} {}".format, st.sampled_from("cd"), st.integers(0, 3), st.sampled_from(["", "5", "30"])),
    st.builds("FILE {} bad{}".format, st.sampled_from("ab"), st.integers(0, 3)),
    st.builds("PART {} secret{}".format, st.sampled_from("abcd"), st.integers(0, 999)),
    st.builds("LAST {} secret{}".format, st.sampled_from("abcd"), st.integers(0, 999)),
    st.builds("{} {}".format, st.sampled_from(["CLOSE", "SHORT"]), st.sampled_from("abcd")),
    st.sampled_from(["SAY bob hi", "SAY bob block", "SAY bob long words"]),
)
steps = st.one_of(
    st.tuples(st.sampled_from(["up", "down"]), lines),
    st.tuples(st.sampled_from(["answer"]), st.integers(0, 7)),
    st.tuples(st.sampled_from(["wake", "close up", "close down"]), st.just("")),
)


class World:
    """What a driver does, in any order."""

    def __init__(self, mode: FileMode) -> None:
        self.session, self.world, _ = file_session(mode, limits=LIMITS)
        self.at = 1_000_000.0
        self.questions: list[Effect] = []
        self.files: dict[str, list[bytes]] = {}
        self.decided: set[str] = set()
        self.sent = {UP: b"", DOWN: b""}
        self.spooled: dict[str, bytes] = {}
        self.over = False
        self.wake = 0.0

    def give(self, given: Input) -> None:
        if self.over:
            return
        for effect in self.session.step(given, self.world):
            if isinstance(effect, Spool):
                assert effect.file in self.files or effect.file not in self.spooled, "spooled after it was discarded"
                self.files.setdefault(effect.file, []).append(effect.raw)
                self.spooled[effect.file] = self.spooled.get(effect.file, b"") + effect.raw
            elif isinstance(effect, Discard):
                self.files.pop(effect.file, None)
            elif isinstance(effect, Judge | Unspool) or (isinstance(effect, Note) and effect.durable):
                self.questions.append(effect)
            elif isinstance(effect, Send):
                self.sent[effect.way] += effect.data
            elif isinstance(effect, WakeAt):
                self.wake = effect.at
            elif isinstance(effect, Cut):
                self.over = True
            else:
                assert isinstance(effect, Note | Finish) or type(effect).__name__ in ("Scan", "Tell")

    def answer(self, which: int) -> None:
        if not self.questions:
            return
        asked = self.questions.pop(which % len(self.questions))
        if isinstance(asked, Judge):
            assert asked.file in self.spooled, "a file is judged that was never spooled"
            bad = (Finding("yara", "core.eicar", "high"),) if which % 2 else ()
            self.decided.add(asked.file)
            report = FileReport(size=1, sha256="a", sha1="b", md5="c", findings=bad)
            self.give(Judged(asked.file, self.at, report if which < 6 else None, "dead" if which >= 6 else None))
        elif isinstance(asked, Unspool):
            assert asked.file in self.decided, "a file is asked back before it was decided"
            if asked.file not in self.files:
                return  # the session has ended meanwhile
            records = [r for r in self.files[asked.file] if r]
            data = records.pop(0) if records else b""
            self.files[asked.file] = records
            self.give(Unspooled(asked.file, self.at, data, not records))
        elif isinstance(asked, Note):
            self.give(Kept(asked.id, self.at, True))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(["spool", "stream"]), st.lists(steps, max_size=40))
def test_any_order_of_things(mode: FileMode, play: list[tuple[str, object]]) -> None:
    """No exception; in spool mode no content is sent before its verdict; at the end no file is left in the spool."""
    world = World(mode)
    for kind, what in play:
        world.at += 1.0
        if kind in ("up", "down"):
            way = UP if kind == "up" else DOWN
            before = world.sent[UP] + world.sent[DOWN]
            world.give(Chunk(way, world.at, f"{what}\n".encode()))
            if mode == "spool":
                news = (world.sent[UP] + world.sent[DOWN])[len(before):]
                assert b"secret" not in news or world.decided, "content left undecided"
        elif kind == "answer":
            world.answer(int(str(what)))
        elif kind == "wake":
            world.at = max(world.at, world.wake)
            world.give(Woke(world.at))
        else:
            world.give(Closed(UP if kind == "close up" else DOWN, world.at))
    for _ in _until_quiet(world):
        pass
    world.give(Closed(UP, world.at))
    world.give(Closed(DOWN, world.at))
    for _ in _until_quiet(world):
        pass
    if not world.session.over:
        world.at += 3600.0
        world.give(Woke(world.at))
        for _ in _until_quiet(world):
            pass
    assert world.session.over
    assert not world.files, "a file is left in the spool"


def _until_quiet(world: World) -> Iterator[int]:
    for number in range(500):
        if not world.questions:
            return
        world.answer(number % 8)
        yield number
    raise AssertionError("questions without end")
