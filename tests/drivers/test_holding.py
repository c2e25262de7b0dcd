"""What the driver does for what waits for a reviewer: out of sessions, and into them."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from inspector.drivers.mitm_server import ListenerSettings
from inspector.drivers.spool import Spool as Disk
from inspector.engine.world import World as SharedWorld
from inspector.model import (
    DOWN,
    UP,
    Arrived,
    Came,
    Chunk,
    Cover,
    Deliver,
    Discard,
    Effect,
    Held,
    Hold,
    Input,
    Kept,
    Killed,
    Limits,
    Note,
    Notice,
    Place,
    Released,
    Send,
    Spool,
    Told,
    Unhold,
)
from tests.drivers.mitm_harness import Script, echo, running, serving, until
from tests.drivers.test_mitm_layer import FLOW, World, filing
from tests.store.test_holds import held


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    spool = Disk(tmp_path / "spool", Limits)
    spool.start()
    return spool


def test_a_message_is_stored_and_what_became_of_items_is_told() -> None:
    """Hold and Deliver are answered by a step of their own, the others need no answer."""
    others: list[Effect] = [Unhold("h2"), Came("h3", True), Arrived("xmpp", "alice", "authenticated", "10.0.0.5")]
    world = World([Hold(3, held()), Deliver(4, "h4"), Deliver(5, "denied"), *others])
    world.talk.receive(UP, b"x")
    assert world.inputs[1:] == [Kept(3, 100.0), Kept(4, 100.0), Kept(5, 100.0, False)]
    assert world.done == [
        ("h1", -1), (FLOW.id, Deliver(4, "h4")), (FLOW.id, Deliver(5, "denied")), *((FLOW.id, one) for one in others)]


def test_the_content_of_a_file_goes_along_and_outlives_the_spool(disk: Disk) -> None:
    """The desk gets a descriptor of its own, from its begin."""
    world = filing(disk, [Spool("f", b"abc", b"<abc>"), Spool("f", b"def"), Hold(3, held(), "f"), Discard("f")])
    world.talk.receive(UP, b"x")
    [(name, content)] = world.done
    assert name == "h1" and os.pread(content, 100, 0) == b"abcdef" and disk.bytes == 0
    os.close(content)


def test_what_is_not_in_the_spool_any_more_cannot_be_held(disk: Disk) -> None:
    """store_failed, later: an answer is never given inside the step that asked."""
    limits = Limits(spool_total_bytes=3)
    disk.limits = lambda: limits
    world = filing(disk, [Spool("g", b"too long"), Hold(3, held(), "f"), Hold(4, held(), "g")])
    world.talk.receive(UP, b"x")
    assert world.done == [] and len(world.inputs) == 1
    for timer in world.timers:
        timer.call()
    assert [one for one in world.inputs if isinstance(one, Kept)] == [
        Kept(3, 100.0, False, "store_failed"), Kept(4, 100.0, False, "store_failed")]


def test_nobody_is_left_and_what_was_held_or_released_is_told_of() -> None:
    """The last step of a session without peers: rows, Unhold and Came, nothing else."""
    world = World([], [], [Send(UP, b"bye"), Unhold("h1"), Came("h2", False), Note(0, {"name": "flow"})])
    world.talk.closed(UP)
    world.talk.closed(DOWN)
    assert world.done == [(FLOW.id, Unhold("h1")), (FLOW.id, Came("h2", False)), "flow", "cut"]


def listener(upstream: tuple[str, int]) -> ListenerSettings:
    return ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream)


class Desk:
    """A hold desk that notes what it is told."""

    def __init__(self, why: str | None = None, may: bool = True) -> None:
        self.said: list[Any] = []
        self.why = why
        self.may = may

    async def keep(self, held: Held, content: int) -> str | None:
        self.said.append(("keep", held.id, content))
        await asyncio.sleep(0)
        return self.why

    async def deliver(self, hold: str, flow: str) -> bool:
        self.said.append(("deliver", hold, flow))
        await asyncio.sleep(0)
        return self.may

    def forget(self, hold: str) -> None:
        self.said.append(("forget", hold))

    def came(self, hold: str, flow: str, sent: bool | None) -> None:
        self.said.append(("came", hold, flow, sent))

    def arrived(self, flow: str, arrived: Arrived) -> None:
        self.said.append(("arrived", flow, arrived.user))

    def ended(self, flow: str) -> None:
        self.said.append(("ended", flow))


def _kept(script: Script) -> list[Kept]:
    return [one for one in script.inputs if isinstance(one, Kept)]


@pytest.mark.parametrize("stock_io", [False, True])
@pytest.mark.parametrize(("why", "may"), [(None, True), ("hold_full", False)])
def test_a_session_and_the_desk(tmp_path: Path, stock_io: bool, why: str | None, may: bool) -> None:
    """The desk's answers reach the session; what it posts too; when the session is over it is told."""
    def on(script: Script, given: Input) -> list[Effect] | None:
        if isinstance(given, Chunk) and given.way is UP:
            return [Hold(3, held()), Unhold("h1"), Deliver(4, "h2"), Came("h2", True),
                    Arrived("irc", "alice", "claimed", "127.0.0.1")]
        return None if isinstance(given, Chunk | Killed) or type(given).__name__ == "Closed" else []

    async def work() -> None:
        async with serving(echo) as upstream, running(
                tmp_path, listener(upstream), on=on, stock_io=stock_io) as run:
            desk = run.gateway.holds = Desk(why, may)
            _, writer = await run.connect()
            writer.write(b"x")
            await until(lambda: run.sessions and len(_kept(run.sessions[0])) == 2)
            (script,) = run.sessions
            flow = script.flow.id
            assert [(one.id, one.ok, one.why) for one in _kept(script)] == [
                (3, why is None, why or ""), (4, may, "")]
            assert sorted(map(str, desk.said)) == sorted(map(str, [
                ("keep", "h1", -1), ("forget", "h1"), ("deliver", "h2", flow), ("came", "h2", flow, True),
                ("arrived", flow, "alice")]))
            desk.said.clear()
            run.gateway.post(flow, Told(0.0, Notice("hello")))
            run.gateway.post(flow, Released(0.0, held()))
            run.gateway.post("gone", Told(0.0, Notice("hello")))
            run.gateway.post("gone", Released(0.0, held()))
            await until(lambda: any(isinstance(one, Released) for one in script.inputs))
            told, released = script.inputs[-2:]
            assert isinstance(told, Told) and told.notice == Notice("hello") and told.at > 1e9
            assert isinstance(released, Released) and released.held == held() and released.at > 1e9
            assert desk.said == [("came", "h1", "gone", False)]
            writer.close()
            await until(lambda: ("ended", flow) in desk.said)
    asyncio.run(work())


def test_without_a_desk_nothing_is_held(tmp_path: Path) -> None:
    """store_failed; a file's descriptor is closed."""
    def on(script: Script, given: Input) -> list[Effect] | None:
        if isinstance(given, Chunk) and given.way is UP:
            return [Spool("f", b"abc"), Hold(3, held(), "f"), Deliver(4, "h2"), Unhold("h1")]
        return [] if isinstance(given, Kept) else None

    async def work() -> None:
        async with serving(echo) as upstream, running(tmp_path, listener(upstream), on=on) as run:
            _, writer = await run.connect()
            writer.write(b"x")
            await until(lambda: run.sessions and len(_kept(run.sessions[0])) == 2)
            assert sorted((one.id, one.ok, one.why) for one in _kept(run.sessions[0])) == [
                (3, False, "store_failed"), (4, False, "")]
            writer.close()
    asyncio.run(work())


def test_who_is_where(tmp_path: Path) -> None:
    """Sessions of a user on a protocol, whatever the resource, the newest first; covers reach the world."""
    class Context:
        def __init__(self, user: str | None, protocol: str) -> None:
            self.user, self.protocol, self.identity = user, protocol, "authenticated"

    async def work() -> None:
        world = SharedWorld(Limits())
        async with serving(echo) as upstream, running(tmp_path, listener(upstream), world=world) as run:
            contexts = [
                Context("Alice@a.net/x", "xmpp"), Context("alice@a.net/y", "xmpp"), Context("alice@a.net", "irc"),
                Context(None, "xmpp"), Context("bob@a.net", "xmpp"),
            ]
            writers = []
            for context in contexts:
                _, writer = await run.connect()
                writer.write(b"x")
                writers.append(writer)
                count = len(writers)
                await until(lambda count=count: len(run.sessions) == count)  # type: ignore[misc]
                run.sessions[-1].context = context  # type: ignore[attr-defined]
            found = await run.gateway.sessions_of("xmpp", "alice@a.net/z")
            flows = [script.flow for script in run.sessions]
            assert found == [
                Place(flow.id, "authenticated", "127.0.0.1", flow.opened) for flow in (flows[1], flows[0])]
            cover = Cover(hold="h1", reference="R", protocol="xmpp", sender="a", digest="d", until=9e12)
            run.gateway.cover(cover)
            assert world.covers
            for writer in writers:
                writer.close()
    asyncio.run(work())
