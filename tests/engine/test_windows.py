"""One thing in several pieces is found in the piece that completes it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from inspector.engine import windows
from inspector.engine.windows import key_of, words
from inspector.engine.world import World
from inspector.model import (
    DOWN,
    UP,
    Action,
    Address,
    Effect,
    Finding,
    Frame,
    Kept,
    Killed,
    Limits,
    Message,
    Note,
    Rules,
    Scan,
    ScanFailed,
    Scanned,
    Send,
    Text,
    Verdict,
    WakeAt,
    Woke,
)
from inspector.scan.normalise import forms
from tests.engine.toy import FLOW, ToyPolicy, ToyScanner, toy_kit, toy_session
from tests.playbook import START, Play, down, sent_down, sent_up, up


class Findings(ToyPolicy):
    """Any finding blocks."""

    def decide(self, event, context, way, at, findings):  # type: ignore[no-untyped-def]
        if findings:
            return Verdict(Action.BLOCK, "found", findings=findings)
        return super().decide(event, context, way, at, findings)


def play(limits: Limits | None = None, world: World | None = None, port: int = 1111, user: str = "ann") -> Play:
    kit = toy_kit(Findings(), limits=limits)
    session, own = toy_session(kit, flow=msgspec.structs.replace(FLOW, client=Address("10.0.0.1", port), id=f"f{port}"))
    p = Play(session, world or own)
    p >> up(b"HELLO x\n") << sent_up(b"HELLO x\n")
    p >> down(f"ME {user}\n".encode())
    p.last = [e for e in p.last if not isinstance(e, Note)]
    p << sent_down(f"ME {user}\n".encode())
    return p


def said(p: Play, text: str, at: float = START, to: str = "bob") -> list[dict[str, Any]]:
    """Say something; the findings of its verdict, none when it was delivered."""
    line = f"SAY {to} {text}\n".encode()
    p.last = []
    p >> up(line, at)
    if Send(0, line) in p.last:  # type: ignore[arg-type]
        return []
    rows = [e.row for e in p.last if isinstance(e, Note) and e.row["event"] == "verdict"]
    p.last = []
    p >> Kept(p.durable, at)
    found: list[dict[str, Any]] = rows[0]["findings"]
    return found


def test_the_piece_that_completes_it_is_refused_and_names_the_others() -> None:
    """Three pieces; the first two were harmless."""
    p = play()
    assert said(p, "se", START) == []
    assert said(p, "c", START + 1) == []
    found = said(p, "ret:", START + 2)
    assert [f["rule"] for f in found] == ["toy.secret"]
    assert f"{START:.3f}, {START + 1:.3f}" in found[0]["detail"]
    assert found[0]["spans"] == []


def test_what_is_whole_in_one_piece_is_told_once() -> None:
    """A finding inside the piece is its own; what was whole before the border is not told again."""
    p = play()
    assert said(p, "x1") == []
    assert len(said(p, "secret:")) == 1
    assert said(p, "and 1") == []


def test_a_refused_piece_is_not_remembered() -> None:
    """It never reached its reader: it completes nothing."""
    p = play()
    assert said(p, "sec") == []
    assert said(p, "ret:") != []
    assert said(p, "x1") == []
    assert said(p, "ret:") == [], "sec x1 ret: is no secret"


def test_conversations_and_writers_are_kept_apart() -> None:
    """Pieces to different people are no one thing."""
    p = play()
    assert said(p, "sec", to="bob") == []
    assert said(p, "ret:", to="carol") == []


def test_pieces_of_two_sessions_of_one_writer_are_one_thing() -> None:
    """Signing on anew between the pieces hides nothing."""
    first = play()
    assert said(first, "sec") == []
    second = play(world=first.world, port=2222)
    assert said(second, "ret:") != []


def test_pieces_from_two_devices_of_one_account_are_one_thing() -> None:
    """An XMPP user's name has the device in it; who he is has not."""
    first = play(user="Ann@a.example/phone")
    assert said(first, "sec") == []
    second = play(world=first.world, port=2222, user="ann@a.example/desk")
    assert said(second, "ret:") != []
    third = play(world=first.world, port=3333, user="eve@a.example/desk")
    assert said(third, "ret:") == []


def test_who_writes_to_us_is_one_whatever_device_he_is_at() -> None:
    """Coming down, too; in a room those are other people."""
    session = play().session

    def writer(sender: str, *, in_room: bool = False) -> str:
        return session._writer(Message(sender=sender, in_room=in_room), DOWN)

    assert writer("bob@b.example/one") == writer("Bob@b.example/two") == "bob@b.example"
    assert writer("room@b.example/bob", in_room=True) != writer("room@b.example/carol", in_room=True)


def test_a_piece_is_remembered_by_a_short_name() -> None:
    """An id on the wire may be as long as a stanza: 20,000 windows of 8 such would be all memory."""
    assert len(windows.piece(Message(id="x" * 100_000), START, "sec").name) == 128
    assert windows.piece(Message(id="m1"), START, "sec").name == "m1"
    assert windows.piece(Message(), START, "sec").name == f"{START:.3f}"


@pytest.mark.parametrize(("limits", "gap"), [
    (Limits(window_seconds=5), 6.0), (Limits(window_messages=1), 0.0), (Limits(window_bytes=2), 0.0),
    (Limits(window_piece_chars=2), 0.0),
])
def test_the_window_is_bounded(limits: Limits, gap: float) -> None:
    """By time, number, size, and by what counts as a piece."""
    p = play(limits)
    assert said(p, "s") == []
    assert said(p, "ec") == []
    assert said(p, "ret:", START + gap) == []


def test_letters_alone_complete_nothing() -> None:
    """Only a piece with digits, `:` or `/` (or letters that may stand for them) is looked at behind the others."""
    p = play()
    assert said(p, "sec") == []
    assert said(p, "ret") == []
    other = play()
    assert said(other, "sec") == []
    assert said(other, "ret\N{FULLWIDTH COLON}") != []


class Words(ToyScanner):
    """Finds a word in any of the texts."""

    def __init__(self, word: str) -> None:
        self.word = word

    def quick(self, texts: Sequence[Text]) -> tuple[Finding, ...] | None:
        places = [(n, text.plain.find(self.word)) for n, text in enumerate(texts) if self.word in text.plain]
        spans = tuple((n, at, at + len(self.word)) for n, at in places)
        return (Finding("yara", "toy.word", "high", spans=spans),) if spans else ()


def looking_for(word: str, limits: Limits | None = None) -> Play:
    p = play(limits)
    p.session.kit.rules = Rules(2, p.session.kit.rules.policy, Words(word))
    return p


def test_small_talk_between_the_pieces_hides_nothing() -> None:
    """Pieces that tell of a number or link are also joined without the words between them; the event names them."""
    p = looking_for("12345:")
    assert said(p, "12", START) == []
    assert said(p, "hello there", START + 1) == []
    assert said(p, "34", START + 2) == []
    found = said(p, "5:", START + 3)
    assert found[0]["detail"].endswith(f"begun in {START:.3f}, {START + 2:.3f}")


class Whole(Words):
    """Finds a word that no digit stands in front of."""

    def quick(self, texts: Sequence[Text]) -> tuple[Finding, ...] | None:
        glued = [text.plain.partition(self.word)[0][-1:].isdigit() for text in texts]
        return super().quick([
            Text(text.part, "") if is_glued else text for text, is_glued in zip(texts, glued, strict=True)])


def test_a_number_in_front_of_the_pieces_hides_nothing() -> None:
    """What was said before and would run on into the first piece is left out, too."""
    p = looking_for("x")
    p.session.kit.rules = Rules(2, p.session.kit.rules.policy, Whole("4000:"))
    assert said(p, "at 10", START) == []
    assert said(p, "40", START + 1) == []
    assert said(p, "0", START + 2) == []
    found = said(p, "0:", START + 3)
    assert found[0]["detail"].endswith(f"begun in {START + 1:.3f}, {START + 2:.3f}")


@pytest.mark.parametrize(("long", "found"), [("long talk ending in 12", True), ("12 is in front of long talk", False)])
def test_the_end_of_a_long_text_is_a_piece(long: str, found: bool) -> None:
    """If a number or link may go on behind it; its beginning is none."""
    p = looking_for("123:", Limits(window_piece_chars=8))
    assert said(p, long.removeprefix("long ")) == []
    assert bool(said(p, "3:")) is found


def test_the_words_of_a_message_are_its_body() -> None:
    """Another text in front of the body does not take its place."""
    assert words(Message(texts=(Text("thread", "x"), Text("body", "y"), Text("body", "z")))) == "y"
    assert words(Message(texts=(Text("xhtml", "x"),))) == "x"
    assert words(Message()) == ""


def test_copies_and_words_of_servers_have_no_window() -> None:
    """History, carbons and echoes were written before."""
    text = (Text("body", "1"),)
    assert key_of(Message(texts=text, copy="history"), "toy", UP, "ann") is None
    assert key_of(Message(texts=text, kind="server"), "toy", UP, "ann") is None
    assert key_of(Message(texts=text), "toy", UP, "ann") is not None


def test_words_of_those_whose_content_is_not_read_are_not_kept() -> None:
    """privacy.never_inspect: nothing of theirs waits in memory, either."""
    p = play()
    p.session.kit.never_inspect = frozenset({"council"})
    p.session.context.groups = frozenset({"council"})
    assert said(p, "sec") == []
    assert len(p.world.windows) == 0


class Awkward(ToyScanner):
    """Has no time for what was said before (`busy`), or fails on it (`broken`)."""

    def __init__(self, how: str) -> None:
        self.how = how

    def quick(self, texts: Sequence[Text]) -> tuple[Finding, ...] | None:
        if texts[0].part != "window":
            return None if len(texts) > 1 else ToyScanner.full(self, texts)
        if self.how == "broken":
            raise ScanFailed("the rules took too long")
        return None

    def full(self, texts: Sequence[Text]) -> tuple[Finding, ...]:
        return tuple(
            Finding("yara", "toy.secret", "high", spans=((index, at, at + 6),)) for index, text in enumerate(texts)
            if (at := text.plain.find("secret")) >= 0)


def awkward(how: str) -> Play:
    p = play()
    p.session.kit.rules = Rules(2, Findings(), Awkward(how))
    return p


def test_pieces_that_are_too_long_together_for_a_quick_scan_are_scanned_all_the_same() -> None:
    """Letters of several bytes must not hide what they complete."""
    p = awkward("busy")
    assert said(p, "sec") == []
    assert [f["rule"] for f in said(p, "ret:")] == ["toy.secret"]


def test_pieces_that_could_not_be_scanned_together_are_a_failed_scan() -> None:
    """Never clean."""
    p = awkward("broken")
    assert said(p, "sec") == []
    p.last = []
    p >> up(b"SAY bob ret:\n")
    rows = [e.row for e in p.last if isinstance(e, Note)]
    assert [row["name"] for row in rows if row["event"] == "trouble"] == ["scanner_failed"]
    assert not any(isinstance(e, Send) for e in p.last)


def test_a_piece_beside_a_long_text_is_looked_at_when_that_was_scanned() -> None:
    """A scan elsewhere is of the message alone: the pieces before it are joined to it on the answer."""
    p = awkward("busy")
    assert said(p, "sec") == []
    event = Message(recipients=("bob",), conversation="bob", texts=(Text("body", "ret:"), Text("subject", "x" * 9000)))
    frame = Frame(UP, START, b"two texts\n", "toy.SAY", (event,))
    out: list[Effect] = []
    p.session._take(frame, p.world, out)
    scan, = [e for e in out if isinstance(e, Scan)]
    out = p.session.step(Scanned(scan.id, START), p.world)
    rows = [e.row for e in out if isinstance(e, Note) and e.row["event"] == "verdict"]
    assert [row["did"] for row in rows] == ["block"]


def test_what_may_be_read_as_a_digit_a_colon_or_a_slash_is_telling() -> None:
    """Every character of Unicode, as the scanner's own forms have it; a letter among other letters is none."""
    signs = frozenset("0123456789:/")
    missed = []
    for code in (*range(0x80, 0x3400), *range(0xA000, 0xAC00), *range(0xF900, 0x1F200)):
        letter = chr(code)
        if letter.isascii() or 0xD800 <= code < 0xE000:
            continue
        shown = [made.decode("utf-8", "replace") for _, made in forms(letter)]
        if any(not signs.isdisjoint(one) for one in shown) and not windows.telling(letter):
            missed.append(letter)
    assert missed == []


@pytest.mark.parametrize(("text", "is_telling"), [
    ("Schöne Grüße", False), ("привет, как дела", False), ("знаю", False), ("спроси Зою", False), ("З", True),
    ("З З З", True), ("ok З.", True), ("З.и так", True), ("٣", True), ("①", True), ("hier：", True), ("http∶∕∕x", True),
    ("👍🏽 ja", False), ("héllo 4", True), ("", False), ("abc", False),
])
def test_letters_beyond_ascii_are_no_digits(text: str, is_telling: bool) -> None:
    """Who writes German or Russian is not looked at as one who writes numbers."""
    assert windows.telling(text) is is_telling


class Elsewhere:
    """The other workers, as a session sees them; what it tells them is written down."""

    def __init__(self, *accounts: str) -> None:
        self.accounts = set(accounts)
        self.told: list[tuple[str, ...]] = []
        self.late = False
        """They have not told all yet."""
        self.comes: Callable[[int], None] | None = None
        """What is told to us while something is announced, given its window."""

    def signed_on(self, account: str, at: float) -> None:
        self.told.append(("on", account))

    def signed_off(self, account: str, at: float) -> None:
        self.told.append(("off", account))

    def waits(self, account: str, at: float) -> bool:
        return self.late

    def begun(self, account: str, key: int, at: float) -> None:
        self.told.append(("begun", account))

    def announce(self, account: str, key: int, piece: windows.Piece) -> None:
        self.told.append(("announced", account, piece.text))
        if self.comes is not None:
            self.comes(key)

    def delivered(self, account: str, key: int, piece: windows.Piece) -> None:
        self.told.append(("delivered", account, piece.text))

    def refused(self, account: str, key: int, piece: windows.Piece) -> None:
        self.told.append(("refused", account, piece.text))


def beside(neighbours: Elsewhere, *, late: bool = False) -> Play:
    """A session in a worker that has others beside it."""
    world = World(Limits())
    world.neighbours = neighbours
    neighbours.late = late
    if not late:
        return play(world=world, user="ann@a.example/phone")
    session, _ = toy_session(toy_kit(Findings()))
    return Play(session, world)


def test_an_account_that_is_here_alone_is_told_to_nobody() -> None:
    """Other workers know that it is here, and nothing of what it writes."""
    neighbours = Elsewhere("eve@a.example")
    p = beside(neighbours)
    assert said(p, "sec") == []
    assert said(p, "x1") == []
    p.session.step(Killed(START + 1, "enough"), p.world)
    assert neighbours.told == [("on", "ann@a.example"), ("begun", "ann@a.example"), ("off", "ann@a.example")]


def test_what_an_account_writes_is_told_where_else_it_is() -> None:
    """Before it is looked at, if it may complete something; when it is delivered; and that it was refused."""
    neighbours = Elsewhere("ann@a.example")
    p = beside(neighbours)
    assert said(p, "sec") == []
    assert said(p, "ret:") != []
    assert neighbours.told[1:] == [
        ("begun", "ann@a.example"), ("delivered", "ann@a.example", "sec"), ("announced", "ann@a.example", "ret:"),
        ("refused", "ann@a.example", "ret:")]


def test_a_piece_that_is_told_while_the_next_is_announced_is_looked_at() -> None:
    """Two pieces that two workers look at at once: one of them sees the other."""
    neighbours = Elsewhere("ann@a.example")
    p = beside(neighbours)

    def comes(key: int) -> None:
        window = deque([windows.Piece(START - 1, "sec", "from elsewhere")])
        p.world.windows.put(key, window, START + 600)

    neighbours.comes = comes
    found = said(p, "ret:")
    assert found[0]["detail"].endswith("begun in from elsewhere")


def test_a_piece_that_came_later_elsewhere_stands_behind() -> None:
    """It was looked at, and delivered, a moment before: what it goes on from had not been read yet."""
    neighbours = Elsewhere("ann@a.example")
    p = beside(neighbours)
    p.session.kit.rules = Rules(2, p.session.kit.rules.policy, Words("s3cret:"))
    assert said(p, "s", START) == []

    def comes(key: int) -> None:
        window = p.world.windows.get(key, START)
        assert window is not None
        for after, text in ((0.3, "t:"), (0.4, " and more")):
            windows.remember(window, windows.Piece(START + after, text, f"m{after}"), Limits())

    neighbours.comes = comes
    found = said(p, "3cre", START + 0.2)
    assert found[0]["detail"].endswith(f"begun in {START:.3f}, m0.3")


def test_a_sign_on_waits_for_what_was_written_elsewhere() -> None:
    """Nothing of the user's leaves before; then all does, in order. The wait is looked at again and again."""
    neighbours = Elsewhere()
    p = beside(neighbours, late=True)
    p >> up(b"HELLO x\n") << sent_up(b"HELLO x\n")
    p >> down(b"ME ann@a.example/desk\n")
    assert [e for e in p.last if isinstance(e, Send)] == []
    woken = [e.at for e in p.last if isinstance(e, WakeAt)]
    p.last = []
    p >> up(b"SAY bob ret:\n", START + 0.001)
    assert not any(isinstance(e, Send) for e in p.last)
    out = p.session.step(Woke(woken[-1]), p.world)
    again = [e.at for e in out if isinstance(e, WakeAt)]
    assert again
    assert again[0] > woken[-1]
    neighbours.late = False
    out = p.session.step(Woke(again[0]), p.world)
    assert [e for e in out if isinstance(e, Send)] == [
        Send(DOWN, b"ME ann@a.example/desk\n"), Send(UP, b"SAY bob ret:\n")]
    assert [told for told in neighbours.told if told[0] == "on"] == [("on", "ann@a.example")]


def test_a_session_that_ends_while_it_waits_is_one_less() -> None:
    """It was counted when it began to wait."""
    neighbours = Elsewhere()
    p = beside(neighbours, late=True)
    p >> up(b"HELLO x\n") << sent_up(b"HELLO x\n")
    p >> down(b"ME ann@a.example/desk\n")
    p.last = []
    p.session.step(Killed(START + 1, "enough"), p.world)
    assert neighbours.told == [("on", "ann@a.example"), ("off", "ann@a.example")]


def test_pieces_stand_in_the_order_of_their_times() -> None:
    """One that was told late stands where it belongs; one that is taken back leaves once."""
    limits = Limits(window_messages=3)
    window: windows.Window = deque()
    pieces = [windows.Piece(START + at, str(at), "x") for at in (1, 3, 2, 2)]
    for piece in pieces[:3]:
        windows.remember(window, piece, limits)
    assert [piece.text for piece in window] == ["1", "2", "3"]
    windows.remember(window, pieces[3], limits)
    assert [piece.text for piece in window] == ["2", "2", "3"]
    windows.forget(window, pieces[2])
    assert [piece.text for piece in window] == ["2", "3"]
    windows.forget(window, pieces[0])
    assert [piece.text for piece in window] == ["2", "3"]
