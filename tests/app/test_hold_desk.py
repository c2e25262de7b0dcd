"""The hold desk: who gets what when, who may look, and what a crash leaves for whom."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inspector.app.errors import UserError
from inspector.app.hold_desk import HoldDesk, Rules
from inspector.engine.covers import SEALED, bare
from inspector.model import DOWN, Arrived, Cover, Limits, Place, Released, Told
from inspector.store.holds import HoldError, HoldStore
from tests.store.test_holds import held

ALICE = "alice@example.net"


class Floor:
    """Sessions, and what they were given."""

    def __init__(self) -> None:
        self.sessions: dict[str, tuple[str, str, Place]] = {}
        self.posted: list[tuple[str, Released | Told]] = []
        self.covers: list[Cover] = []

    def sign_on(self, flow: str, user: str = ALICE, identity: Any = "authenticated", client: str = "10.0.0.5",
                protocol: str = "xmpp") -> Arrived:
        """A session begins."""
        self.sessions[flow] = (protocol, user, Place(flow, identity, client, float(len(self.sessions))))
        return Arrived(protocol, user, identity, client)

    def post(self, flow: str, given: Released | Told) -> None:
        self.posted.append((flow, given))

    def cover(self, cover: Cover) -> None:
        self.covers.append(cover)

    async def sessions_of(self, protocol: str, user: str) -> list[Place]:
        found = [place for its, whose, place in self.sessions.values() if (its, whose) == (protocol, bare(user))]
        return sorted(found, key=lambda place: -place.since)

    def given(self) -> list[tuple[str, str]]:
        """(flow, hold) of what was released into sessions."""
        return [(flow, one.held.id) for flow, one in self.posted if isinstance(one, Released)]

    def told(self) -> list[tuple[str, str]]:
        """(flow, text) of what people were told."""
        return [(flow, one.notice.text) for flow, one in self.posted if isinstance(one, Told)]


class Desk(HoldDesk):
    """A desk with its own clock, floor and log."""

    def __init__(self, folder: Path, rules: Rules, **limits: Any) -> None:
        self.now = 1000.0
        self.rows: list[dict[str, Any]] = []
        self.writes = True
        self.sentences: list[str] = []
        self.room = Floor()
        bounds = Limits(**{"settle_seconds": 0, **limits})
        super().__init__(
            HoldStore(folder, lambda: bounds), self.room, self.row, limits=lambda: bounds, rules=lambda: rules,
            tell=self.sentences.append, clock=lambda: self.now)

    def row(self, row: dict[str, Any], done: Callable[[bool], None] | None) -> None:
        if self.writes:
            self.rows.append(row)
        if done is not None:
            done(self.writes)

    def steps(self, hold: str = "h1") -> list[str]:
        """What the log says of an item."""
        return [row["step"] for row in self.rows if row["hold"] == hold]

    async def calm(self) -> None:
        """Until nothing is under way."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def state(self, hold: str = "h1") -> str:
        await self.calm()
        return self.store.find(hold)[0].state

    async def do(self, command: str, ident: str = "h1", by: str = "rita", **more: Any) -> Any:
        return await self.ask(f"hold.{command}", {"id": ident, **more}, by)


@asynccontextmanager
async def desk(folder: Path, rules: Rules | None = None, **limits: Any) -> AsyncIterator[Desk]:
    """A desk that runs."""
    made = Desk(folder, rules or Rules(), **limits)
    made.open()
    await made.start()
    assert made._timer is not None
    made._timer.cancel()
    try:
        yield made
    finally:
        await made.stop()


def run(work: Coroutine[Any, Any, None]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await work
    asyncio.run(bounded())


async def sent(it: Desk, flow: str = "f1", hold: str = "h1", worked: bool = True) -> None:
    """What a session does with what it was given."""
    await it.calm()
    assert await it.deliver(hold, flow)
    it.came(hold, flow, worked)
    await it.calm()


def test_kept_released_delivered(tmp_path: Path) -> None:
    """The whole way: into the session of its user, once; each step is a row with who and why."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            assert await it.keep(held(), -1) is None
            it.room.sign_on("f1")
            release = asyncio.create_task(it.do("release", note="asked her"))
            while not it.room.posted:
                await asyncio.sleep(0)
            ((flow, given),) = it.room.posted
            assert flow == "f1" and given == Released(1000.0, held())
            await sent(it)
            said = await release
            assert (said["state"], said["here"]) == ("delivered", True)
            assert it.steps() == ["held", "released", "delivering", "delivered"]
            row = next(row for row in it.rows if row["step"] == "released")
            assert (row["by"], row["note"], row["reference"], row["flow"]) == ("rita", "asked her", "K7QM-2F9X", "f1")
            assert len({row["id"] for row in it.rows}) == 4
            assert it.rows[-1]["session"] == "f1" and it.rows[-1]["user"] == ALICE
            with pytest.raises(UserError, match=r"h1 was released already \(delivered\)"):
                await it.do("release")
            assert not await it.deliver("h1", "f1")
            assert not (it._live or it._for or it._runs or it._delivering or it._turns)
    run(work())


def test_two_releases_at_a_time(tmp_path: Path) -> None:
    """One wins, the other is told; the item is sent once."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            both = await asyncio.gather(*(it.do("release", by=by) for by in ("rita", "rob")), return_exceptions=True)
            assert [type(one) for one in both if isinstance(one, Exception)] == [UserError]
            it.arrived("f9", it.room.sign_on("f9"))
            await it.calm()
            assert it.room.given() == [("f9", "h1")] and it.steps().count("released") == 1
    run(work())


def test_it_waits_for_its_user_also_over_a_restart(tmp_path: Path) -> None:
    """Queued, and given at the next sign-on of that account, on that protocol, whatever the resource; not to others."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(user=f"{ALICE}/phone"), -1)
            said = await it.do("release")
            assert (said["state"], said["here"]) == ("released", False)
        async with desk(tmp_path / "q") as it:
            for flow, more in (("x1", {"user": "bob@example.net"}), ("x2", {"protocol": "irc"}),
                               ("x3", {"identity": "claimed"})):
                it.arrived(flow, it.room.sign_on(flow, **more))
            await it.calm()
            assert it.room.posted == []
            it.arrived("f2", it.room.sign_on("f2", f"{ALICE}/desk"))
            await it.calm()
            assert it.room.given() == [("f2", "h1")]
            await sent(it, "f2")
            assert await it.state() == "delivered"
    run(work())


def test_a_mere_claim_needs_the_same_address(tmp_path: Path) -> None:
    """Who only says a name gets what that name wrote from his own address; an authenticated one does not get it
    elsewhere."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(user="alice", identity="claimed", protocol="irc"), -1)
            await it.do("release")
            for flow, more in (("x1", {"identity": "claimed"}), ("x2", {"identity": "authenticated"})):
                it.arrived(flow, it.room.sign_on(flow, "alice", client="10.9.9.9", protocol="irc", **more))
            await it.calm()
            assert it.room.posted == []
            it.arrived("f2", it.room.sign_on("f2", "alice", "claimed", protocol="irc"))
            await it.calm()
            assert it.room.given() == [("f2", "h1")]
    run(work())


def test_a_session_gets_one_at_a_time_in_order(tmp_path: Path) -> None:
    """Thousands that wait for one user are never all in memory; what cannot be sent waits for the next sign-on."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            for number in range(4):
                await it.keep(held(f"h{number}"), -1)
                await it.do("release", f"h{number}")
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert it.room.given() == [("f1", "h0")]
            await sent(it, "f1", "h0")
            assert it.room.given()[1:] == [("f1", "h1")]
            it.came("h1", "f1", False)
            await it.calm()
            assert it.room.given()[2:] == [("f1", "h2")]
            await sent(it, "f1", "h2", worked=False)
            assert await it.state("h2") == "released" and it.steps("h2")[-1] == "released"
            await it.do("deny", "h1")
            await sent(it, "f1", "h3")
            it.arrived("f2", it.room.sign_on("f2"))
            await it.calm()
            assert it.room.given()[4:] == [("f2", "h2")]
            await sent(it, "f2", "h2")
            assert it._runs == {} and it._live == {}
    run(work())


def test_an_ended_session_hands_back_what_it_had_not_sent(tmp_path: Path) -> None:
    """Another living session of the user gets it."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            it.room.sign_on("f1")
            it.room.sign_on("f2")
            await it.keep(held(), -1)
            release = asyncio.create_task(it.do("release"))
            while not it.room.posted:
                await asyncio.sleep(0)
            assert it.room.given() == [("f2", "h1")]
            del it.room.sessions["f2"]
            it.ended("f2")
            await it.calm()
            assert it.room.given()[1:] == [("f1", "h1")]
            await sent(it)
            assert (await release)["state"] == "delivered"
    run(work())


def test_a_late_word_of_another_session_has_no_weight(tmp_path: Path) -> None:
    """It had been given to a session that went away; while another one sends it, that one's end takes nothing back."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            await it.do("release")
            it.arrived("f1", it.room.sign_on("f1"))
            it.arrived("f2", it.room.sign_on("f2"))
            await it.calm()
            assert sorted(it.room.given()) == [("f1", "h1"), ("f2", "h1")]
            assert await it.deliver("h1", "f2") and not await it.deliver("h1", "f1")
            it.came("h1", "f1", False)
            it.came("h1", "f1", True)
            it.ended("f1")
            assert await it.state() == "delivering"
            it.came("h1", "f2", True)
            assert await it.state() == "delivered" and it._runs == {}
    run(work())


@pytest.mark.parametrize(("named", "state"), [(False, "uncertain"), (True, "released")])
def test_a_session_that_dies_while_it_sends(tmp_path: Path, named: bool, state: str) -> None:
    """Nobody knows whether it was sent: the reviewer is asked, or it is sent again under the same id."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(named=named), -1)
            await it.do("release")
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert await it.deliver("h1", "f1")
            del it.room.sessions["f1"]
            it.ended("f1")
            assert await it.state() == state and it.steps()[-1] == state
            if not named:
                with pytest.raises(UserError, match="may have been delivered already: --again sends it all the same"):
                    await it.do("release")
                await it.do("release", again=True)
            it.arrived("f3", it.room.sign_on("f3"))
            await it.calm()
            assert it.room.given()[1:] == [("f3", "h1")]
            await sent(it, "f3")
    run(work())


@pytest.mark.parametrize(("named", "state"), [(False, "uncertain"), (True, "released")])
def test_what_is_found_in_delivering_at_the_start(tmp_path: Path, named: bool, state: str) -> None:
    """Guarantee 3: at most once, except where its reader knows it by its id."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(named=named), -1)
            await it.do("release")
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert await it.deliver("h1", "f1")
        async with desk(tmp_path / "q") as it:
            assert await it.state() == state and it.steps() == [state]
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert it.room.given() == ([("f1", "h1")] if named else [])
    run(work())


def test_news_of_one_item_keep_their_order(tmp_path: Path) -> None:
    """That it was not sent, or is not waited for, comes while it is still being written: nothing stays behind."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            keep = asyncio.create_task(it.keep(held(), -1))
            await asyncio.sleep(0)
            it.forget("h1")
            assert await keep is None
            await it.calm()
            assert it.store.items() == [] and it.steps() == ["held", "erased"]
            await it.keep(held(), -1)
            await it.do("release")
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            deliver = asyncio.create_task(it.deliver("h1", "f1"))
            await asyncio.sleep(0)
            it.came("h1", "f1", False)
            assert await deliver
            assert await it.state() == "released"
    run(work())


def test_denied(tmp_path: Path) -> None:
    """Its sender is told where he is; it is delivered to nobody, released or not; a second time says no."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            it.room.sign_on("f1")
            await it.keep(held(), -1)
            assert (await it.do("deny", note="no"))["state"] == "denied"
            assert it.room.told() == [("f1", "Your message was not released. Reference K7QM-2F9X.")]
            with pytest.raises(UserError, match="h1 was denied already"):
                await it.do("deny")
            with pytest.raises(UserError, match="h1 was denied already"):
                await it.do("release")
            await it.keep(held("h2", user="carol@example.net"), -1)
            await it.do("release", "h2")
            await it.do("deny", "h2")
            assert it.room.covers[-1].until == 0.0 and it.covers() == []
            it.arrived("f2", it.room.sign_on("f2", "carol@example.net"))
            await it.calm()
            assert it.room.given() == [] and not await it.deliver("h2", "f2")
            assert len(it.room.told()) == 1, "who is not signed on cannot be told"
    run(work())


def test_a_denied_message_that_came_down_is_told_to_a_sender_of_ours_only(tmp_path: Path) -> None:
    """Its reader is told nothing; a sender behind the gateway is, when he is surely that one."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            it.room.sign_on("f1")
            it.room.sign_on("f2", "mallory@example.net", "claimed")
            it.room.sign_on("f3", "dan@example.net")
            for number, sender in enumerate(("mallory@example.net/x", "dan@example.net/y", "zoe@example.org")):
                await it.keep(held(f"h{number}", way=DOWN, sender=sender), -1)
                await it.do("deny", f"h{number}")
            assert [flow for flow, _ in it.room.told()] == ["f3"]
    run(work())


def test_a_release_covers_what_follows(tmp_path: Path) -> None:
    """Ten minutes from the release, and again from the moment when it is sent; without resources; over a restart."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(sender="Alice@Example.net/phone", recipients=("Bob@example.net/x",), digest="d",
                               conversation="bob@example.net"), -1)
            await it.do("release")
            (cover,) = it.room.covers
            assert cover == Cover(
                hold="h1", reference="K7QM-2F9X", protocol="xmpp", sender=ALICE, digest="d",
                recipients=("bob@example.net",), conversation="bob@example.net", until=1600.0)
            it.now = 5000.0
            assert it.covers() == []
            it.arrived("f1", it.room.sign_on("f1"))
            await sent(it)
            assert it.room.covers[-1].until == 5600.0 and it.covers() == [it.room.covers[-1]]
        made = Desk(tmp_path / "q", Rules())
        made.now = 5100.0
        made.open()
        await made.start()
        assert [cover.hold for cover in made.room.covers] == ["h1"]
        await made.stop()
    run(work())


def test_what_could_not_be_read_covers_nothing(tmp_path: Path) -> None:
    """An encrypted message, a file that was not judged: all others of that sender would look the same."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            unread: tuple[dict[str, Any], ...] = (
                {"texts": (), "digest": "of nothing"}, {"texts": (("body", ""),), "digest": "x"},
                {"about": "file", "raw": b"", "digest": ""})
            for number, more in enumerate(unread):
                await it.keep(held(f"h{number}", **more), -1)
                await it.do("release", f"h{number}")
            it.arrived("f1", it.room.sign_on("f1"))
            await sent(it, "f1", "h0")
            assert it.room.covers == [] and it.covers() == []
        async with desk(tmp_path / "q") as it:
            assert it.room.covers == []
            await it.keep(held("h9", texts=(), digest=f"{SEALED}aa"), -1)
            await it.do("release", "h9")
            assert [each.digest for each in it.covers()] == [f"{SEALED}aa"], "ciphertext that is known again"
    run(work())


def test_a_cover_of_what_comes_down_names_its_reader(tmp_path: Path) -> None:
    """He need not stand among the recipients (a room)."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(way=DOWN, sender="bob@example.net", recipients=(), digest="d"), -1)
            await it.do("release")
            assert it.room.covers[0].recipients == (ALICE,)
    run(work())


def _file(folder: Path, data: bytes) -> int:
    (folder / "content").write_bytes(data)
    return os.open(folder / "content", os.O_RDONLY)


def test_a_file_is_sent_again_by_its_sender(tmp_path: Path) -> None:
    """After the release he is told, now or at his next sign-on; it is delivered when it came."""
    async def work() -> None:
        async with desk(tmp_path / "q", cover_file_seconds=500) as it:
            descriptor = _file(tmp_path, b"content")
            about: dict[str, Any] = {"about": "file", "kind": "file", "raw": b"", "texts": (), "file_name": "a.docx"}
            assert await it.keep(held(**about), descriptor) is None
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
            said = await it.do("release")
            assert (said["state"], said["sendable"]) == ("released", False)
            it.arrived("f1", it.room.sign_on("f1"))
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert it.room.posted == [(
                "f1", Told(1000.0, it.room.posted[0][1].notice))]  # type: ignore[union-attr]
            assert it.room.told()[0][1].startswith("The file a.docx was released; please send it again.")
            assert it.room.covers[0].until == 1500.0 and it.store.items()[0].expires == 1500.0
            it.came("h1", "f7", True)
            assert await it.state() == "delivered" and it.steps() == ["held", "released", "delivered"]
    run(work())


def test_a_file_on_a_connection_of_its_own_is_its_senders(tmp_path: Path) -> None:
    """That connection has no user; who offered it in another session from the same address is told."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            about: dict[str, Any] = {"about": "file", "raw": b"", "user": None, "identity": "unknown",
                                     "sender": f"{ALICE}/phone", "file_name": "a.docx"}
            it.room.sign_on("x1", client="10.9.9.9")
            it.room.sign_on("f1")
            await it.keep(held("h1", **about), -1)
            await it.keep(held("h2", **about), -1)
            said = await it.do("release", "h1")
            assert said["here"] and said["user"] == f"{ALICE}/phone"
            await it.do("deny", "h2")
            assert [(flow, text.partition(".docx ")[2][:16]) for flow, text in it.room.told()] == [
                ("f1", "was released; pl"), ("f1", "was not released")]
            await it.keep(held("h3", way=DOWN, **about), -1)
            assert not (await it.do("release", "h3"))["here"]
    run(work())


def test_no_room_and_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """hold_full and store_failed, counted; the descriptor is closed whatever comes."""
    async def work() -> None:
        async with desk(tmp_path / "q", hold_items=1, hold_queue_bytes=5000) as it:
            assert await it.keep(held("h0", raw=bytes(6000)), -1) == "hold_full"
            assert await it.keep(held("h1"), -1) is None
            descriptor = _file(tmp_path, b"content")
            assert await it.keep(held("h2", about="file"), descriptor) == "hold_full"
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(descriptor)
            monkeypatch.setattr(it.store, "limits", Limits)
            monkeypatch.setattr(os, "fsync", _full)
            assert await it.keep(held("h3"), -1) == "store_failed"
            assert it.sentences == ["hold store: no space left on device"]
            assert (it.counters.kept, it.counters.full, it.counters.store_failed) == (1, 2, 1)
            assert [item.id for item in it.store.items()] == ["h1"] and it._waiting == 0
    run(work())


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_log_that_does_not_write_stops_reviewers(tmp_path: Path) -> None:
    """Nothing is shown, exported, released, denied or sent that the log does not know of."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held("h1"), -1)
            await it.keep(held("h2"), -1)
            await it.do("release", "h2")
            it.writes = False
            for command in ("show", "export", "release", "deny"):
                with pytest.raises(UserError, match="the event log does not write"):
                    await it.do(command)
            assert await it.state() == "held" and not await it.deliver("h2", "f1")
            with pytest.raises(UserError, match="the event log does not write"):
                await it.do("deny", "h2")
            assert await it.state("h2") == "released"
            it.writes = True
            it.arrived("f1", it.room.sign_on("f1"))
            await sent(it, "f1", "h2")
    run(work())


def test_show_and_list(tmp_path: Path) -> None:
    """A look at content is a row with who looked; a list is not one and has no content."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            (line,) = await it.ask("holds", {}, "vera")
            assert "texts" not in line and line["state"] == "held"
            assert await it.ask("holds", {"state": "denied"}, "vera") == []
            with pytest.raises(UserError, match="no such state"):
                await it.ask("holds", {"state": "gone"}, "vera")
            assert it.steps() == ["held"]
            said = await it.do("show", "k7qm 2f9x".replace(" ", ""))
            assert said["held"]["texts"] == (("body", held().texts[0][1]),) and "raw" not in said["held"]
            assert json.dumps(said) and it.steps() == ["held", "shown"] and it.rows[-1]["by"] == "rita"
            for wrong in (None, "", 7, "nothing"):
                with pytest.raises(UserError):
                    await it.do("show", wrong)  # type: ignore[arg-type]
            with pytest.raises(UserError, match="a note is text"):
                await it.do("deny", note="x" * 5000)
            await it.keep(held("h2"), -1)
            with pytest.raises(UserError, match="2 items have the reference K7QM-2F9X: h1, h2"):
                await it.do("show", "K7QM-2F9X")
    run(work())


def test_export(tmp_path: Path) -> None:
    """A message as one JSON object with its raw form, a file as its bytes, piece by piece; to who asked, and only
    once."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            data = os.urandom(700_000)
            await it.keep(held("h1"), -1)
            await it.keep(held("h2", about="file", raw=b""), _file(tmp_path, data))
            said = await it.do("export")
            piece = await it.ask("hold.piece", {"ticket": said["ticket"], "n": 0}, "rita")
            assert piece["last"]
            whole = json.loads(base64.b64decode(piece["data"]))
            assert whole["texts"] == [["body", held().texts[0][1]]] and whole["way"] == "up"
            assert base64.b64decode(whole["raw"]) == held().raw
            with pytest.raises(UserError, match="this export is over"):
                await it.ask("hold.piece", {"ticket": said["ticket"], "n": 0}, "rita")
            ticket = (await it.do("export", "h2"))["ticket"]
            got, number = b"", 0
            while True:
                piece = await it.ask("hold.piece", {"ticket": ticket, "n": number}, "rita")
                got, number = got + base64.b64decode(piece["data"]), number + 1
                if piece["last"]:
                    break
            assert got == data and it.steps("h2") == ["held", "exported"]
            ticket = (await it.do("export", "h2"))["ticket"]
            for request in ({"ticket": ticket, "n": -1}, {"ticket": ticket, "n": "0"}, {"ticket": [], "n": 0}, {}):
                with pytest.raises(UserError, match="this export is over"):
                    await it.ask("hold.piece", request, "rita")
            with pytest.raises(UserError, match="this export is over"):
                await it.ask("hold.piece", {"ticket": ticket, "n": 0}, "rob")
            it.now += 1000
            with pytest.raises(UserError, match="this export is over"):
                await it.ask("hold.piece", {"ticket": ticket, "n": 0}, "rita")
    run(work())


def test_four_eyes(tmp_path: Path) -> None:
    """The first wish is noted, the second person carries it out; the same one cannot, nor anybody too late."""
    async def work() -> None:
        async with desk(tmp_path / "q", Rules(four_eyes=frozenset({"show", "release"})), four_eyes_seconds=60) as it:
            await it.keep(held(), -1)
            with pytest.raises(UserError, match="a second person must ask for the same within 1 minutes"):
                await it.do("show")
            with pytest.raises(UserError, match="somebody other than rita"):
                await it.do("show")
            with pytest.raises(UserError, match="a second person"):
                await it.do("release", by="rob")
            assert (await it.do("show", by="rob"))["item"]["id"] == "h1"
            assert it.steps() == ["held", "show_wished", "release_wished", "shown"]
            with pytest.raises(UserError, match="a second person"):
                await it.do("show", by="rob")
            it.now += 61
            with pytest.raises(UserError, match="a second person"):
                await it.do("release")
            it.now += 59
            assert (await it.do("release", by="rob"))["state"] == "released"
            assert [row["by"] for row in it.rows if row["step"] == "release_wished"] == ["rob", "rita"]
            with pytest.raises(UserError, match="a second person"):
                await it.do("export", by="rita")
            assert it._wishes
            assert (await it.do("deny", by="rita"))["state"] == "denied"
    run(work())


@pytest.mark.parametrize("rule", ["deny", "delete"])
def test_nothing_expires_in_silence(tmp_path: Path, rule: Any) -> None:
    """What nobody decided ends by the rule, with a row; what was released and not fetched too; then it is erased."""
    async def work() -> None:
        async with desk(tmp_path / "q", Rules(on_expiry=rule), hold_seconds=100) as it:
            it.room.sign_on("f1")
            await it.keep(held("h1"), -1)
            await it.keep(held("h2", user="carol@example.net"), -1)
            await it.do("release", "h2")
            it.now += 99
            await it.look()
            assert [item.state for item in it.store.items()] == ["held", "released"]
            it.now += 11
            await it.look()
            ended = "expired" if rule == "deny" else "erased"
            assert [item.state for item in it.store.items()] == [ended, ended]
            assert it.states == {ended: 2}
            assert it.steps("h1")[:2] == ["held", "expired"] and it.steps("h2")[2] == "expired"
            reasons = [row["reason"] for row in it.rows if row["step"] == "expired"]
            assert sorted(reasons) == ["nobody decided in time", "released, and nobody came for it"]
            assert [flow for flow, _ in it.room.told()] == (["f1"] if rule == "deny" else [])
            assert it._live == {}
            it.now += 111
            await it.look()
            assert it.steps("h1") == ["held", "expired", "erased"]
            it.now += 111
            await it.look()
            assert it.store.items() == []
    run(work())


def test_a_clock_that_jumps_ends_nothing_that_waits(tmp_path: Path) -> None:
    """While the clock cannot be believed nothing expires, and the administrator reads it once; one that is set back is
    looked at again, and what is due then expires."""
    async def work() -> None:
        async with desk(tmp_path / "q", hold_seconds=100) as it:
            believed, asked = False, []

            def settled(last: float | None) -> bool:
                asked.append(last)
                return believed

            it._settled = settled
            await it.keep(held("h1"), -1)
            it.now += 1e9
            await it.look()
            it.now += 1e6
            await it.look()
            assert await it.state("h1") == "held"
            assert asked == [1000.0, 1000.0]
            assert it.sentences == [
                "the clock was set, or nothing was held for long: nothing that is held expires for a day"]
            believed = True
            it.now = 1050.0
            await it.look()
            assert await it.state("h1") == "held"
            assert len(asked) == 3
            it.now = 1111.0
            await it.look()
            assert await it.state("h1") == "expired"
    run(work())


def test_erase_and_rotate(tmp_path: Path) -> None:
    """By an operator, with a row; what is being sent at this moment is not erased under its session's hands."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            for number in (1, 2):
                await it.keep(held(f"h{number}"), -1)
                await it.do("release", f"h{number}")
            assert await it.ask("hold.rotate", {}, "olga") == {"items": 2}
            assert it.rows[-1]["step"] == "rotated" and it.rows[-1]["by"] == "olga"
            await it.do("erase", "h1", by="olga", note="court order")
            assert it.steps("h1")[-1] == "erased" and "h1" not in it._live
            with pytest.raises(UserError, match="h1 was erased already"):
                await it.do("erase", "h1")
            with pytest.raises(UserError, match="h1 was erased"):
                await it.do("release", "h1")
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert await it.deliver("h2", "f1")
            with pytest.raises(UserError, match="being delivered"):
                await it.do("erase", "h2")
            with pytest.raises(UserError, match="unknown command"):
                await it.do("explode", "h2")
    run(work())


def test_a_damaged_item_is_told(tmp_path: Path) -> None:
    """To the reviewer who asks for it, and when it cannot be delivered: uncertain, with a row; never a crash."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held("h1"), -1)
            await it.keep(held("h2"), -1)
            await it.do("release", "h2")
            for path in (tmp_path / "q").glob("*.item"):
                path.write_bytes(b"IMQF1\nnonsense")
            for command in ("show", "release", "export"):
                with pytest.raises(UserError, match="h1 is damaged"):
                    await it.do(command)
            it.arrived("f1", it.room.sign_on("f1"))
            assert await it.state("h2") == "uncertain" and it.room.posted == []
            assert it.rows[-1]["step"] == "uncertain" and "damaged" in it.rows[-1]["reason"]
            assert (await it.do("deny"))["state"] == "denied"
        async with desk(tmp_path / "q") as it:
            assert it.states == {"denied": 1, "uncertain": 1}
    run(work())


def test_someone_whom_nobody_knows(tmp_path: Path) -> None:
    """A message of a session without a user waits, and is given to nobody."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(user=None, identity="unknown"), -1)
            assert (await it.do("release"))["here"] is False
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert it.room.posted == []
            await it.do("deny")
    run(work())


def test_rows_of_every_step_are_in_the_shape_of_the_log(tmp_path: Path) -> None:
    """docs/events.md knows every field, and the line is one of the schema's."""
    from inspector.store.lines import render, unknown

    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            await it.do("show")
            await it.do("release", note="x")
            await it.ask("hold.rotate", {}, "olga")
            await it.do("erase")
            for row in it.rows:
                assert not unknown(row)
                assert msgspec.json.decode(render(row, "gw"))["step"] == row["step"]
    run(work())


def test_what_a_held_message_says_is_in_no_row(tmp_path: Path) -> None:
    """Rows tell who, when and why; the content stays in the store."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            await it.do("show")
            await it.do("deny")
            assert "horses" not in repr(it.rows)
    run(work())




def test_status_and_metrics(tmp_path: Path) -> None:
    """How many wait in which state, and what could not be held: plain numbers, without names."""
    from inspector.drivers.metrics import Metrics

    async def work() -> None:
        async with desk(tmp_path / "q", hold_items=2) as it:
            for number in range(3):
                await it.keep(held(f"h{number}"), -1)
            await it.do("release", "h0")
            await it.look()
            said = it.status()
            assert said["states"] == {"held": 1, "released": 1} and said["unsent"] == 1
            assert (said["kept"], said["full"], said["released"]) == (2, 1, 1) and said["bytes"] > 100
            page = Metrics()
            page.add(it.source)
            text = page.render().decode()
            for line in ('inspector_held{action="held"} 1', 'inspector_held{action="uncertain"} 0',
                         "inspector_holds_full_total 1", f"inspector_held_bytes {said['bytes']}"):
                assert line in text.splitlines(), line
            assert "alice" not in text
    run(work())


def test_what_a_session_could_not_send_goes_to_another_one(tmp_path: Path) -> None:
    """Each of his sessions is tried once; then it waits for the next sign-on."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            it.room.sign_on("f1")
            it.room.sign_on("f2")
            release = asyncio.create_task(it.do("release"))
            while not it.room.posted:
                await asyncio.sleep(0)
            assert it.room.given() == [("f2", "h1")]
            await sent(it, "f2", worked=False)
            assert (await release)["state"] == "released"
            assert it.room.given() == [("f2", "h1"), ("f1", "h1")]
            await sent(it, "f1", worked=False)
            assert len(it.room.given()) == 2
            assert await it.state() == "released"
            it.arrived("f3", it.room.sign_on("f3"))
            await sent(it, "f3")
            assert await it.state() == "delivered"
            assert not it._tried
    run(work())


def test_what_a_session_never_began_to_send_goes_to_another_one(tmp_path: Path) -> None:
    """It had ended when the item came."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            it.room.sign_on("f1")
            it.room.sign_on("f2")
            release = asyncio.create_task(it.do("release"))
            while not it.room.posted:
                await asyncio.sleep(0)
            del it.room.sessions["f2"]
            it.came("h1", "f2", False)
            await it.calm()
            await sent(it, "f1")
            assert (await release)["state"] == "delivered"
    run(work())


def test_a_session_that_ends_while_it_asks_leaves_nothing_in_between(tmp_path: Path) -> None:
    """The desk is writing that it is being sent when its session ends: nobody knows whether it heard of it."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(named=False), -1)
            it.room.sign_on("f1")
            release = asyncio.create_task(it.do("release"))
            while not it.room.posted:
                await asyncio.sleep(0)
            slow, go = threading.Event(), threading.Event()
            move = it.store.move

            def waits(*values: Any) -> bool:
                slow.set()
                assert go.wait(10)
                return move(*values)
            it.store.move = waits  # type: ignore[method-assign, assignment]
            asked = asyncio.create_task(it.deliver("h1", "f1"))
            await asyncio.to_thread(slow.wait, 10)
            del it.room.sessions["f1"]
            it.ended("f1")
            await asyncio.sleep(0)
            go.set()
            await asked
            assert await it.state() == "uncertain"
            assert not (it._delivering or it._runs)
            await release
    run(work())


def test_a_session_that_is_over_cannot_take_an_item(tmp_path: Path) -> None:
    """What it asks comes behind its end (they travel on two ways): the item is given to the next one."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            it.room.sign_on("f1")
            release = asyncio.create_task(it.do("release"))
            while not it.room.posted:
                await asyncio.sleep(0)
            del it.room.sessions["f1"]
            it.ended("f1")
            await it.calm()
            assert not await it.deliver("h1", "f1")
            assert await it.state() == "released"
            await release
    run(work())


@pytest.mark.parametrize(("worked", "state"), [(True, "delivered"), (False, "released")])
def test_news_that_the_store_did_not_take_is_told_again(tmp_path: Path, worked: bool, state: str) -> None:
    """It was sent, or not, and the disk fails: nothing is sent twice for it, and nothing stays between the two."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            it.room.sign_on("f1")
            release = asyncio.create_task(it.do("release"))
            while not it.room.posted:
                await asyncio.sleep(0)
            assert await it.deliver("h1", "f1")
            move = it.store.move

            def fails(*_: Any) -> bool:
                raise HoldError("hold store: the disk is full")
            it.store.move = fails  # type: ignore[method-assign, assignment]
            it.came("h1", "f1", worked)
            await release
            del it.room.sessions["f1"]
            it.ended("f1")
            await it.look()
            assert await it.state() == "delivering"
            assert len(it.sentences) >= 2
            it.store.move = move  # type: ignore[method-assign]
            await it.look()
            assert await it.state() == state
            assert not (it._delivering or it._unwritten or it._runs)
            assert it.steps().count("delivering") == 1
    run(work())


def test_what_a_reviewer_has_decided_is_not_forgotten(tmp_path: Path) -> None:
    """Its session says that nobody waits for it, in the same moment."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            for number in (1, 2):
                await it.keep(held(f"h{number}"), -1)
            await it.do("release", "h1")
            for number in (1, 2):
                it.forget(f"h{number}")
            assert await it.state("h1") == "released"
            assert it.store.find("h2") == []
    run(work())


def test_a_delivery_that_the_store_never_took_leaves_nothing_between_the_states(tmp_path: Path) -> None:
    """The disk fails while a session asks whether it may send: the item is still released there, and once the store
    works it goes to the next session that is its user's."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            it.room.sign_on("f1")
            release = asyncio.create_task(it.do("release"))
            while not it.room.posted:
                await asyncio.sleep(0)
            move = it.store.move

            def fails(*_: Any) -> bool:
                raise HoldError("hold store: the disk is full")
            it.store.move = fails  # type: ignore[method-assign, assignment]
            assert not await it.deliver("h1", "f1")
            it.store.move = move  # type: ignore[method-assign]
            await it.look()
            await release
            assert await it.state() == "released"
            assert not (it._delivering or it._unwritten)
            it.arrived("f2", it.room.sign_on("f2"))
            await it.calm()
            assert it.room.given() == [("f1", "h1"), ("f2", "h1")]
            await sent(it, "f2")
            assert await it.state() == "delivered"
    run(work())


@pytest.mark.parametrize("command", ["release", "deny"])
def test_a_decision_without_its_row_is_taken_back_when_the_store_works_again(tmp_path: Path, command: str) -> None:
    """One full disk takes neither the row nor the way back: nothing stays released, or denied, that the log does not
    know of, and the reviewer can ask for the same again."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            it.room.sign_on("f1")
            move, calls = it.store.move, 0

            def fails(*values: Any) -> bool:
                nonlocal calls
                calls += 1
                if calls > 1:
                    raise HoldError("hold store: the disk is full")
                return move(*values)
            it.store.move = fails  # type: ignore[method-assign, assignment]
            it.writes = False
            with pytest.raises(UserError, match="the event log does not write"):
                await it.do(command)
            await it.look()
            assert it.sentences
            it.store.move = move  # type: ignore[method-assign]
            it.writes = True
            await it.look()
            assert await it.state() == "held"
            assert not (it.room.given() or it.room.told() or it._live)
            assert (await it.do("deny"))["state"] == "denied"
    run(work())


@pytest.mark.parametrize("writes", [False, True])
def test_a_denial_comes_from_the_state_that_the_item_has_when_its_turn_comes(tmp_path: Path, writes: bool) -> None:
    """The item was released when the denial was asked for, and is uncertain when it is its turn: a denial that has no
    row leaves it uncertain, and nothing is sent a second time."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            await it.do("release")
            entered, go_on = asyncio.Event(), asyncio.Event()
            turn = it._turn

            @asynccontextmanager
            async def late(hold: str) -> AsyncIterator[None]:
                entered.set()
                await go_on.wait()
                async with turn(hold):
                    yield
            it._turn = late  # type: ignore[method-assign]
            denying = asyncio.ensure_future(it.do("deny"))
            await entered.wait()
            it._turn = turn  # type: ignore[method-assign]
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
            assert await it.deliver("h1", "f1")
            it.ended("f1")
            assert await it.state() == "uncertain"
            it.writes = writes
            go_on.set()
            if writes:
                assert (await denying)["state"] == "denied"
            else:
                with pytest.raises(UserError, match="does not write"):
                    await denying
            it.writes = True
            it.arrived("f2", it.room.sign_on("f2"))
            assert await it.state() == ("denied" if writes else "uncertain")
            assert it.room.given() == [("f1", "h1")]
    run(work())


def test_what_was_erased_is_in_no_export(tmp_path: Path) -> None:
    """Nobody fetches it any more, and nothing of it stays in memory; one that nobody goes on with is over, too."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            for hold in ("h1", "h2"):
                await it.keep(held(hold), -1)
            ticket = (await it.do("export"))["ticket"]
            await it.do("export", "h2")
            await it.do("erase")
            with pytest.raises(UserError, match="this export is over"):
                await it.ask("hold.piece", {"ticket": ticket, "n": 0}, "rita")
            assert [hold for hold, *_ in it._exports.values()] == ["h2"]
            it.now += 1000
            await it.look()
            assert not it._exports
    run(work())


def test_an_item_is_not_shown_while_it_is_erased(tmp_path: Path) -> None:
    """What is done with one item is done in the order in which it was asked for, a look too."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            await it.keep(held(), -1)
            answers: list[Callable[[bool], None]] = []
            row = it.row

            def later(said: dict[str, Any], done: Callable[[bool], None] | None) -> None:
                if said["step"] == "shown" and done is not None:
                    answers.append(done)
                    done = None
                row(said, done)
            it._put = later
            showing = asyncio.ensure_future(it.do("show"))
            while not answers:
                await asyncio.sleep(0.001)
            erasing = asyncio.ensure_future(it.do("erase"))
            while len(it._turns["h1"][0]._waiters or ()) == 0:
                await asyncio.sleep(0.001)
            answers[0](True)
            assert (await showing)["held"]["texts"]
            assert (await erasing)["state"] == "erased"
            assert it.steps() == ["held", "shown", "erased"]
    run(work())


def test_what_could_not_be_undone_is_undone_at_the_stop(tmp_path: Path) -> None:
    """Neither log nor store took that a release is none: its reviewer is told so, and the last thing that the desk does
    is to take it back."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        log.verdict()
        move, calls = it.store.move, 0

        def fails(*values: Any) -> bool:
            nonlocal calls
            calls += 1
            if calls > 1:
                raise HoldError("hold store: the disk is full")
            return move(*values)
        it.store.move = fails  # type: ignore[method-assign, assignment]
        it.writes = False
        with pytest.raises(UserError, match="neither does the hold store: what becomes of h1 is known when they do"):
            await it.do("release")
        it.store.move = move  # type: ignore[method-assign]
        it.writes = True
        await it.stop()
        it = await mortal(tmp_path / "q", log)
        it.arrived("f1", it.room.sign_on("f1"))
        assert await it.state() == "held" and not it.room.given()
        await it.stop()
    run(work())


def test_what_could_not_be_stored_is_remembered_by_nobody(tmp_path: Path) -> None:
    """However many messages come while the disk is full."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            def full(step: str) -> None:
                raise OSError(28, "No space left on device")
            it.store._before = full
            for number in range(5):
                assert await it.keep(held(f"h{number}"), -1) == "store_failed"
            assert not it._unproved and not it._passing
    run(work())


# -- the end of a session right behind what was sent in it


async def settling(it: Desk, named: bool = False) -> None:
    """Something was sent a moment ago in the session f1."""
    await it.keep(held(named=named), -1)
    await it.do("release")
    it.arrived("f1", it.room.sign_on("f1"))
    await it.calm()
    assert await it.deliver("h1", "f1")
    it.came("h1", "f1", True)


def test_what_was_sent_is_delivered_when_its_session_goes_on(tmp_path: Path) -> None:
    """Nothing that comes after limits.settle_seconds makes it doubtful; what is to follow does not wait for it."""
    async def work() -> None:
        async with desk(tmp_path / "q", settle_seconds=0.05) as it:
            await it.keep(held("h2"), -1)
            await settling(it)
            assert await it.state() == "delivered"
            await it.do("release", "h2")
            assert it.room.given() == [("f1", "h1"), ("f1", "h2")]
            while it._settling:
                await asyncio.sleep(0.001)
            assert await it.state() == "delivered"
            it.came("h1", "f1", None)
            it.ended("f1")
            assert (await it.state(), it.steps()[-1]) == ("delivered", "delivered")
    run(work())


@pytest.mark.parametrize("end", ["said", "gone"])
@pytest.mark.parametrize("named", [False, True])
def test_a_session_that_ends_behind_what_was_sent_leaves_doubt(tmp_path: Path, named: bool, end: str) -> None:
    """Nobody knows whether it was read: the reviewer is told so, and nothing is sent again by itself. It does not
    matter whether a peer has said goodbye or the connection is gone."""
    async def work() -> None:
        async with desk(tmp_path / "q", settle_seconds=30) as it:
            await settling(it, named)
            if end == "said":
                it.came("h1", "f1", None)
            else:
                it.ended("f1")
            assert await it.state() == "uncertain"
            assert it.steps()[-2:] == ["delivered", "uncertain"]
            assert "its session ended in the moment in which it was sent" in it.rows[-1]["reason"]
            assert not (it._settling or it._delivering)
            it.ended("f1")
            it.came("h1", "f1", True)
            assert await it.state() == "uncertain"
            it.arrived("f2", it.room.sign_on("f2"))
            await it.calm()
            assert it.room.given()[1:] == []
    run(work())


def test_what_is_sure_to_have_been_read_is_delivered_at_once(tmp_path: Path) -> None:
    """Said twice: no end of its session makes it doubtful. News of another session have no weight."""
    async def work() -> None:
        async with desk(tmp_path / "q", settle_seconds=30) as it:
            await settling(it)
            it.came("h1", "f2", None)
            it.came("h1", "f1", True)
            it.came("h1", "f1", None)
            it.ended("f1")
            assert await it.state() == "delivered" and not it._settling
    run(work())


@pytest.mark.parametrize("sent", [True, False])
def test_the_leg_that_a_release_covers_does_not_stop_the_wait(tmp_path: Path, sent: bool) -> None:
    """The reader's session tells that it let the message pass, in the half second after the writer's has sent it: it is
    delivered, and the wait goes on."""
    async def work() -> None:
        async with desk(tmp_path / "q", settle_seconds=0.05) as it:
            await settling(it)
            it.came("h1", "f2", sent)
            await it.calm()
            assert it._settling
            while it._settling:
                await asyncio.sleep(0.001)
            assert await it.state() == "delivered"
    run(work())


def test_a_reviewer_reads_that_nobody_knows(tmp_path: Path) -> None:
    """His command ends when the session does."""
    async def work() -> None:
        async with desk(tmp_path / "q", settle_seconds=30) as it:
            await it.keep(held(), -1)
            it.room.sign_on("f1")
            release = asyncio.ensure_future(it.do("release"))
            while not it.room.given():
                await asyncio.sleep(0.001)
            assert await it.deliver("h1", "f1")
            it.came("h1", "f1", True)
            it.came("h1", "f1", None)
            assert (await release)["state"] == "uncertain"
    run(work())


# -- what the death of a worker leaves


def test_what_has_begun_is_done_to_its_end_though_its_worker_dies(tmp_path: Path) -> None:
    """Its call is cancelled while the store writes: what is stored is known to be without a verdict, and reviewed by
    nobody; what may be sent is known to be on its way, and comes back when its session's end is told."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            it._logged = lambda idents: (set(), 0.0)
            written, end = threading.Event(), threading.Event()

            def slow(step: str) -> None:
                if step == "sync folder":
                    written.set()
                    end.wait(10)
            it.store._before = slow
            keeping = asyncio.ensure_future(it.keep(held(), -1))
            await asyncio.to_thread(written.wait, 10)
            keeping.cancel()
            end.set()
            with pytest.raises(asyncio.CancelledError):
                await keeping
            assert await it.state() == "held"
            with pytest.raises(UserError, match="h1 is being held at this moment"):
                await it.do("show")
            it._unproved.clear()
            it.room.sign_on("f1")
            release = asyncio.ensure_future(it.do("release"))
            while not it.room.given():
                await asyncio.sleep(0.001)
            giving = asyncio.ensure_future(it.deliver("h1", "f1"))
            await asyncio.sleep(0)
            giving.cancel()
            it.ended("f1")
            assert await it.state() == "uncertain"
            assert (await release)["state"] == "uncertain"
    run(work())


# -- what a power cut leaves


class Log:
    """What is on the log's disk, whatever becomes of those who write there."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.since: float | None = 0.0
        self.readable = True

    def known(self, idents: Any) -> tuple[set[str], float | None] | None:
        if not self.readable:
            return None
        return {row["id"] for row in self.rows} & set(idents), self.since

    def verdict(self, hold: str = "h1") -> None:
        """The session's row of what it holds."""
        self.rows.append({"id": hold[1:], "event": "verdict", "hold": None, "step": None})

    def steps(self, hold: str | None = "h1") -> list[str]:
        return [row["step"] for row in self.rows if row["event"] == "review" and row["hold"] == hold]


class Mortal(Desk):
    """A desk with a log on a disk of its own; `dark`: it is too late for what it writes now."""

    def __init__(self, folder: Path, log: Log, rules: Rules | None = None, **limits: Any) -> None:
        super().__init__(folder, rules or Rules(), **limits)
        self.log, self.dark = log, False
        self._logged = log.known
        self.written = log.rows

    def row(self, row: dict[str, Any], done: Callable[[bool], None] | None) -> None:
        if self.dark:
            return
        if self.writes:
            self.log.rows.append(row)
        if done is not None:
            done(self.writes)

    async def cut(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do something, and lose power when it is done and no row of it is written."""
        before = len(self.store.owed())
        self.dark = True
        task = asyncio.ensure_future(work)
        async with asyncio.timeout(10):
            while len(self.store.owed()) == before:
                await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await self.die()

    async def die(self) -> None:
        for one in list(self._tasks):
            one.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._pool.shutdown()
        self.store.close()


async def mortal(folder: Path, log: Log, rules: Rules | None = None, **limits: Any) -> Mortal:
    """One that has begun."""
    made = Mortal(folder, log, rules, **limits)
    made.open()
    await made.start()
    assert made._timer is not None
    made._timer.cancel()
    return made


@pytest.mark.parametrize("act", ["release", "deny", "erase", "rotate", "deliver", "delivered", "returned", "expire"])
def test_no_power_cut_leaves_an_act_without_its_row(tmp_path: Path, act: str) -> None:
    """What was done with an item and has no row when the power goes has it after the next start, once, with who did it
    and why; before anything else is done with it."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        log.verdict()
        it.now = 5000.0
        if act in ("deliver", "delivered", "returned"):
            await it.do("release")
            it.arrived("f1", it.room.sign_on("f1"))
            await it.calm()
        if act in ("delivered", "returned"):
            assert await it.deliver("h1", "f1")
        before = log.steps(None if act == "rotate" else "h1")
        await it.look()
        if act == "expire":
            it.now = 10.0 ** 9

        async def came() -> None:
            await it._record("h1", "f1", act == "delivered")
        await it.cut({
            "rotate": lambda: it.ask("hold.rotate", {}, "rita"), "deliver": lambda: it.deliver("h1", "f1"),
            "delivered": came, "returned": came, "expire": it.look,
        }.get(act, lambda: it.do(act, note="because"))())
        said = {"release": "released", "deny": "denied", "erase": "erased", "rotate": "rotated",
                "deliver": "delivering", "expire": "expired", "returned": "released"}.get(act, act)
        assert log.steps(None if act == "rotate" else "h1") == before
        it = await mortal(tmp_path / "q", log)
        steps = log.steps(None if act == "rotate" else "h1")
        assert steps[:len(before) + 1] == [*before, said]
        assert steps[len(before) + 1:] == (["uncertain"] if act == "deliver" else [])
        row = next(row for row in log.rows[::-1] if row["step"] == said)
        if act in ("release", "deny", "erase"):
            assert (row["by"], row["note"], row["reference"]) == ("rita", "because", "K7QM-2F9X")
        await it.stop()
        count = len(log.rows)
        it = await mortal(tmp_path / "q", log)
        assert (len(log.rows), it.store.owed()) == (count, [])
        await it.stop()
    run(work())


def test_a_row_that_came_to_the_log_is_not_written_again(tmp_path: Path) -> None:
    """The power goes when row and act are on disk, and the store does not know yet that the row is."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        log.verdict()
        await it.do("release")
        assert [owed.row["step"] for owed in it.store.owed()] == ["held", "released"]
        await it.die()
        it = await mortal(tmp_path / "q", log)
        assert log.steps() == ["held", "released"]
        await it.look()
        assert it.store.owed() == [] and await it.state() == "released"
        it.arrived("f1", it.room.sign_on("f1"))
        await sent(it)
        assert log.steps() == ["held", "released", "delivering", "delivered"]
        await it.stop()
    run(work())


def test_nothing_is_sent_whose_release_is_not_in_the_log(tmp_path: Path) -> None:
    """Not after a restart either, as long as the log does not write; it covers nothing before."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        log.verdict()
        await it.cut(it.do("release"))
        it = Mortal(tmp_path / "q", log)
        it.writes = False
        it.open()
        await it.start()
        it.arrived("f1", it.room.sign_on("f1"))
        await it.calm()
        assert not await it.deliver("h1", "f1") and not it.room.covers
        assert (await it.state(), log.steps()) == ("released", ["held"])
        it.writes = True
        await it.look()
        assert log.steps() == ["held", "released"]
        it.arrived("f1", it.room.sign_on("f1"))
        await sent(it)
        assert log.steps() == ["held", "released", "delivering", "delivered"]
        await it.stop()
    run(work())


@pytest.mark.parametrize("crash", [True, False])
def test_what_has_no_verdict_is_erased_unreviewed(tmp_path: Path, crash: bool) -> None:
    """Its session, or the whole gateway, ended between content and verdict: it was undecided. No reviewer gets at it;
    when its verdict can come no more it is erased, with a row that says why, once."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        await it.keep(held("h2"), -1)
        log.verdict("h2")
        if crash:
            await it.look()
            for _ in range(2):
                await it.die()
                it = await mortal(tmp_path / "q", log)
                await it.look()
        for command in ("show", "export", "release", "deny", "erase"):
            with pytest.raises(UserError, match="h1 is being held at this moment"):
                await it.do(command)
        assert (await it.do("show", "h2"))["item"]["state"] == "held"
        await it.look()
        assert await it.state() == "held"
        it._unproved = {hold: (0.0, t) for hold, (_, t) in it._unproved.items()}
        log.readable = False
        await it.look()
        assert await it.state() == "held"
        log.readable = True
        await it.look()
        await it.calm()
        assert {item.id: item.state for item in it.store.items()} == {"h1": "erased", "h2": "held"}
        assert log.steps() == ["held", "erased"]
        assert "delivered to nobody" in log.rows[-1]["reason"]
        assert it.counters.forgotten == 1
        await it.stop()
        it = await mortal(tmp_path / "q", log)
        await it.look()
        assert log.steps() == ["held", "erased"] and await it.state("h2") == "held"
        await it.stop()
    run(work())


def test_nobody_reviews_before_the_desk_knows_what_a_crash_left_out(tmp_path: Path) -> None:
    """The control socket answers as soon as the gateway runs; until it is known which items have a verdict, none is
    shown or released."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        await it.die()
        it = Mortal(tmp_path / "q", log)
        it.open()
        starting = asyncio.ensure_future(it.start())
        asked = 0
        while not starting.done():
            with pytest.raises(UserError, match=r"has not started yet|is being held at this moment"):
                await it.do("release")
            asked += 1
            await asyncio.sleep(0)
        assert asked
        await starting
        with pytest.raises(UserError, match="is being held at this moment"):
            await it.do("release")
        await it.stop()
    run(work())


def test_nobody_reviews_what_is_being_stored(tmp_path: Path) -> None:
    """An item can be found as soon as its transaction is done, which is before the desk hears of it."""
    async def work() -> None:
        async with desk(tmp_path / "q") as it:
            it._logged = lambda idents: (set(), 0.0)
            stored, go_on = threading.Event(), threading.Event()
            keep = it.store.keep

            def slow(*args: Any) -> Any:
                gone = keep(*args)
                stored.set()
                go_on.wait(10)
                return gone
            it.store.keep = slow  # type: ignore[method-assign, assignment]
            keeping = asyncio.ensure_future(it.keep(held(), -1))
            await asyncio.to_thread(stored.wait, 10)
            for command in ("show", "release", "deny"):
                with pytest.raises(UserError, match="h1 is being held at this moment"):
                    await it.do(command)
            go_on.set()
            assert await keeping is None
    run(work())


def test_a_log_that_is_newer_than_an_item_says_nothing_about_it(tmp_path: Path) -> None:
    """The event store was moved away while the gateway stood still: nothing that waits is erased for it."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        await it.die()
        log.rows.clear()
        log.since = 5000.0
        it = await mortal(tmp_path / "q", log)
        it._unproved = {hold: (0.0, t) for hold, (_, t) in it._unproved.items()}
        await it.look()
        assert await it.state() == "held" and (await it.do("show"))["item"]["id"] == "h1"
        await it.stop()
    run(work())


def test_a_verdict_that_comes_while_one_looks_is_enough(tmp_path: Path) -> None:
    """A reviewer need not wait for the next look at the log."""
    async def work() -> None:
        log = Log()
        it = await mortal(tmp_path / "q", log)
        await it.keep(held(), -1)
        log.verdict()
        assert (await it.do("release"))["state"] == "released"
        await it.stop()
        assert not it._unproved
    run(work())
