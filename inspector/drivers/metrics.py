"""Metrics for Prometheus: the text exposition format 0.0.4, and the small HTTP server that hands it out.

Nothing is counted for the sake of metrics in the path of a message: the engine, the driver and the store keep plain
ints on slotted objects, and a source given to `Metrics.add` reads them when somebody asks. Labels are protocol, action,
rule (a rule of the policy, or the name of an oddity or a trouble) and listener; never users, hosts or texts.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ . The server: HTTP/1.1, GET and HEAD of /metrics,
one request a connection, 8 KiB and 5 seconds for a request, 16 connections at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from inspector.drivers.judges import Workers
from inspector.drivers.leases import Leases
from inspector.drivers.spool import Spool
from inspector.engine.world import Tally
from inspector.store.sqlite import Writer

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
REQUEST_BYTES = 8192
REQUEST_SECONDS = 5.0
CONNECTIONS = 16
LABELS = ("protocol", "action", "rule", "listener")
"""The only ones there are."""

Labels = tuple[str | None, ...]
"""Values of LABELS, in that order, from the left; None: without that label."""


class Family(NamedTuple):
    """One metric with all its samples."""

    name: str
    type: Literal["counter", "gauge"]
    help: str
    samples: Iterable[tuple[Labels, float]]


Source = Callable[[], Iterable[Family]]


class Metrics:
    """All sources; `render` asks each of them."""

    def __init__(self) -> None:
        self._sources: list[Source] = []

    def add(self, source: Source) -> None:
        """Ask this one too, each time."""
        self._sources.append(source)

    def render(self) -> bytes:
        """The page."""
        lines: list[str] = []
        for source in self._sources:
            for family in source():
                lines.append(f"# HELP {family.name} {_help(family.help)}")
                lines.append(f"# TYPE {family.name} {family.type}")
                lines.extend(f"{family.name}{_labels(labels)} {_number(value)}" for labels, value in family.samples)
        return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _labels(values: Labels) -> str:
    pairs = [f'{name}="{_value(value)}"' for name, value in zip(LABELS, values, strict=False) if value is not None]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _value(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def one(name: str, type: Literal["counter", "gauge"], help: str, value: float) -> Family:
    """A metric without labels."""
    return Family(name, type, help, (((), value),))


# ---------------------------------------------------------------------------------------------------- the sources


def of_tallies(tallies: Callable[[], Mapping[str, Tally]]) -> Source:
    """What the sessions of each protocol did (World.tallies)."""
    def source() -> Iterator[Family]:
        now = dict(tallies())
        yield Family("inspector_flows_total", "counter", "Sessions in which the protocol was recognised.",
                     [((name,), tally.sessions) for name, tally in now.items()])
        yield Family("inspector_messages_total", "counter", "Messages judged.",
                     [((name,), tally.messages) for name, tally in now.items()])
        yield Family("inspector_events_passed_total", "counter", "Events that no rule had anything to say of.",
                     [((name,), tally.passed) for name, tally in now.items()])
        yield Family("inspector_verdicts_total", "counter", "What was done where a rule had a say.",
                     [((name, action), count)
                      for name, tally in now.items() for action, count in tally.actions.items()])
        yield Family("inspector_rule_matches_total", "counter",
                     "Matches of each rule, by the action it asks for; rules on trial as \"shadow\".",
                     [((name, action, rule), count)
                      for name, tally in now.items() for (rule, action), count in tally.rules.items()])
        yield Family("inspector_troubles_total", "counter", "What could not be inspected, and what was done.",
                     [((name, action, trouble), count)
                      for name, tally in now.items() for (trouble, action), count in tally.troubles.items()])
        yield Family("inspector_oddities_total", "counter", "Strange but survivable traffic, by name.",
                     [((name, None, oddity), count)
                      for name, tally in now.items() for oddity, count in tally.oddities.items()])
    return source


def of_store(writer: Writer) -> Source:
    """The event store."""
    def source() -> Iterator[Family]:
        counters = writer.counters
        yield one("inspector_store_up", "gauge", "1: the last commit succeeded.", writer.healthy)
        yield one("inspector_store_waiting_rows", "gauge", "Rows not yet on disk.", writer.waiting)
        for name, help in (
            ("rows", "Rows on disk."), ("commits", "Commits."), ("durable", "Rows on disk that a message waited for."),
            ("failed", "Rows that a message waited for and that were not written in time (store_failed)."),
            ("lost", "Rows that nothing waited for and that were left out: the queue was full."),
            ("refused", "Rows that are no event: a fault of ours."),
            ("failures", "Commits that failed and were tried again."),
        ):
            yield one(f"inspector_store_{name}_total", "counter", help, getattr(counters, name))
    return source


def of_counters(prefix: str, counters: object) -> Source:
    """Every slot of an object of plain ints, as `<prefix>_<slot>_total`."""
    names: tuple[str, ...] = tuple(sorted(getattr(type(counters), "__slots__", ())))

    def source() -> Iterator[Family]:
        for name in names:
            yield one(f"{prefix}_{name}_total", "counter", f"{name.replace('_', ' ').capitalize()}.",
                      getattr(counters, name))
    return source


def of_files(spool: Spool, leases: Leases, workers: Workers) -> Source:
    """Files under way: in the spool, waiting to be judged; and the ports leased to side connections."""
    def source() -> Iterator[Family]:
        yield one("inspector_spool_files", "gauge", "Files in the spool.", spool.files)
        yield one("inspector_spool_bytes", "gauge", "Bytes in the spool.", spool.bytes)
        yield one("inspector_spool_written_bytes_total", "counter", "Bytes written to the spool.", spool.total)
        yield one("inspector_spool_refused_total", "counter", "Files for which there was no room.", spool.refused)
        yield one("inspector_spool_swept_total", "counter", "Files that a crash left and the start deleted.",
                  spool.swept)
        yield one("inspector_files_waiting", "gauge", "Files that wait for a process to judge them.", workers.waiting)
        yield one("inspector_file_workers", "gauge", "Processes that judge files.", workers.alive)
        yield one("inspector_leases", "gauge", "Ports leased to side connections.", leases.in_use)
        for name, help in (
            ("used", "Connections that came for a lease."),
            ("exhausted", "Side connections for which no port was free."),
            ("unclaimed", "Connections to leased ports that nobody expected."),
            ("refused", "Leases that led where nothing may lead."),
        ):
            yield one(f"inspector_leases_{name}_total", "counter", help, getattr(leases, name))
    return source


def of_sessions(sessions: Callable[[], Iterable[Any]]) -> Source:
    """Living sessions by protocol and listener; each has `protocol` and `listener`."""
    def source() -> Iterator[Family]:
        counted: dict[Labels, int] = {}
        for session in sessions():
            labels = (session.protocol or "unknown", None, None, session.listener or "")
            counted[labels] = counted.get(labels, 0) + 1
        yield Family("inspector_sessions", "gauge", "Living sessions.", counted.items())
    return source


class Reloads:
    """What became of the reloads: plain ints for `of_reloads` and status."""

    __slots__ = ("accepted", "last_refused", "refused", "version")

    def __init__(self) -> None:
        self.accepted = 0
        self.refused = 0
        self.last_refused = False
        """The rules on disk are not those in force."""
        self.version = 0
        """Number of the rule set in force."""


def of_reloads(reloads: Reloads) -> Source:
    """Reloads, and whether the rules on disk are those in force."""
    def source() -> Iterator[Family]:
        yield Family("inspector_reloads_total", "counter", "Reloads, by what became of them.",
                     [((None, "accepted"), reloads.accepted), ((None, "refused"), reloads.refused)])
        yield one("inspector_reload_refused", "gauge", "1: the last reload had faults, the rules before it stay.",
                  reloads.last_refused)
        yield one("inspector_rules_version", "gauge", "Number of the rule set in force.", reloads.version)
    return source


# ----------------------------------------------------------------------------------------------------- the server


class MetricsServer:
    """Serves a page of metrics. `before` is waited for before each page is made, for what has to be asked of others."""

    def __init__(self, metrics: Metrics, before: Callable[[], Awaitable[None]] | None = None) -> None:
        self.metrics = metrics
        self._before = before
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str, port: int) -> int:
        """Listen; the port that was bound (for port 0). Raises OSError with the address in its text."""
        try:
            self._server = await asyncio.start_server(self._serve, host, port, limit=REQUEST_BYTES, backlog=CONNECTIONS)
        except OSError as fault:
            why = fault.strerror or str(fault)
            raise OSError(fault.errno, f"metrics: cannot listen on {host}:{port}: {why}") from fault
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and end what is being served."""
        if self._server is None:
            return
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) <= CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    request = await reader.readuntil(b"\r\n\r\n")
                    if self._before is not None:
                        await self._before()
                    writer.write(self._answer(request))
                    await writer.drain()
        except asyncio.LimitOverrunError:
            writer.write(_response("431 Request Header Fields Too Large", b"", head=False))
        except (asyncio.IncompleteReadError, TimeoutError, OSError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    def _answer(self, request: bytes) -> bytes:
        method, _, rest = request.partition(b"\r\n")[0].partition(b" ")
        target = rest.partition(b" ")[0].partition(b"?")[0]
        if method not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", b"only GET\n", head=False, more="Allow: GET, HEAD\r\n")
        head = method == b"HEAD"
        if target == b"/metrics":
            return _response("200 OK", self.metrics.render(), head=head)
        return _response("404 Not Found", b"the page is /metrics\n", head=head)


def _response(status: str, body: bytes, *, head: bool, more: str = "") -> bytes:
    top = (
        f"HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {len(body)}\r\n"
        f"X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\n{more}Connection: close\r\n\r\n"
    )
    return top.encode() + (b"" if head else body)
