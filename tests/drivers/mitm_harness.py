"""A gateway with a scripted session, and peers to put around it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from inspector.drivers.mitm_server import Gateway, GatewaySettings, Judges, ListenerSettings, MakeSession, TlsSettings
from inspector.engine.world import Paths, World
from inspector.model import Chunk, Closed, Cut, Effect, Finish, Flow, Input, Killed, Limits, Note, Send, Spec, Way

Step = Callable[["Script", Input], "list[Effect] | None"]
Peer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Script:
    """A session that relays, unless its `on` says otherwise (None: relay)."""

    def __init__(self, flow: Flow, protocols: frozenset[str], named_im: bool, on: Step | None = None) -> None:
        self.flow = flow
        self.protocols = protocols
        self.named_im = named_im
        self.on = on
        self.over = False
        self.inputs: list[Input] = []
        self.waiting = [0, 0]
        self.paths: Paths | None = None

    def queued(self, way: Way) -> int:
        return self.waiting[way]

    def step(self, given: Input, world: Any) -> list[Effect]:
        self.inputs.append(given)
        if self.on is not None:
            answer = self.on(self, given)
            if answer is not None:
                return answer
        if isinstance(given, Chunk):
            return [Send(given.way, given.data)]
        if isinstance(given, Closed):
            return [Finish(given.way)]
        if isinstance(given, Killed):
            return [Cut(given.reason)]
        return []


class Running:
    """A started gateway and what it made."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.sessions: list[Script] = []
        self.notes: list[Note] = []
        self.sentences: list[str] = []

    @property
    def port(self) -> int:
        return self.gateway.addresses[0][2]

    async def connect(self, index: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        _, host, port = self.gateway.addresses[index]
        return await asyncio.open_connection(host, port)

    def names(self) -> list[str]:
        """Names of the troubles and proposals noted."""
        return [str(note.row.get("name")) for note in self.notes]


async def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    """Wait until the condition holds; fail after `seconds`."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def serving(peer: Peer, host: str = "127.0.0.1", ssl: Any = None) -> AsyncIterator[tuple[str, int]]:
    """A server that runs `peer` for each connection; gives its (host, port)."""
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await peer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(run, host, 0, ssl=ssl)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says everything back in upper case; "bye" and its end after the client's."""
    while data := await reader.read(65536):
        writer.write(data.upper())
        await writer.drain()
    writer.write(b"bye")
    await writer.drain()


@asynccontextmanager
async def running(
    folder: Path,
    *listeners: ListenerSettings,
    on: Step | None = None,
    tls: TlsSettings | None = None,
    limits: Limits | None = None,
    specs: Sequence[Spec] = (),
    stock_io: bool = False,
    own_ports: frozenset[int] = frozenset(),
    world: World | None = None,
    judges: Judges | None = None,
    sessions: MakeSession | None = None,
) -> AsyncIterator[Running]:
    """A gateway with scripted sessions, or those that `sessions` makes."""
    run: Running

    def make(flow: Flow, protocols: frozenset[str], named_im: bool, paths: Paths | None) -> Script:
        run.sessions.append(Script(flow, protocols, named_im, on))
        run.sessions[-1].paths = paths
        return run.sessions[-1]

    def note(note: Note, done: Callable[[bool], None] | None) -> None:
        run.notes.append(note)
        if done is not None:
            done(True)

    def log(sentence: str) -> None:
        run.sentences.append(sentence)

    settings = GatewaySettings(
        listeners, tls or TlsSettings(folder / "ca"), folder / "spool", limits or Limits(), stock_io=stock_io,
        own_ports=own_ports)
    run = Running(Gateway(settings, sessions or make, world, specs, note, log, judges))
    await run.gateway.start()
    try:
        yield run
    finally:
        await run.gateway.stop()
