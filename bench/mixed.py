"""The mixed soak: everything at once through one gateway with two workers, and nothing may grow or be unaccounted for.

XMPP (plain, STARTTLS, WebSocket), IRC and OSCAR chat of sessions that stay and of sessions that come and go; some are
cut in their middle, some never say a word, dribble, do not read, or send bytes of no protocol. Messages pass, are
masked, refused and held; a reviewer releases and denies; files go in-band and over HTTP. Meanwhile the rules are
reloaded, good ones and bad ones, workers are killed, all are restarted in turn, and retention removes rows.

In the first half both workers are killed in turn and rolling restarts go round. In the second half only the second
seat's worker is killed, so that what one worker's memory does over a longer life can be seen beside it.

At the end every message is accounted for (bench/mixed_ends.py), every session that the gateway ended has its row, every
line of the logs above info has its counter, the log verifies, and no file, process or open descriptor is left.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import json
import os
import random
import signal
import sqlite3
import ssl
import statistics
import struct
import subprocess
import sys
import time
import traceback
import urllib.request
from collections import Counter
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench import file_ends, realistic_rules
from bench.figures import table
from bench.gateways import certificates
from bench.mixed_ends import HARMFUL, KINDS, NUMBER, Client, Gone, Ledger, Servers, Session, Starttls, Stream, Xmpp, put
from bench.mixed_watch import PLACE
from bench.processes import HOUSE, Process, cpu_seconds, family, free_port, inspector
from bench.steady import quantile
from bench.watched import ask as ask_watcher
from inspector.app.control import ask
from inspector.app.errors import UserError

WEIGHTS = {"pass": 84, "mask": 6, "refuse": 7, "hold": 3}
"""Shares of the kinds of messages."""
SIDE_BYTES = 100_000
"""Of a file that goes over a connection of its own."""
FLAT = {"own": 0.10, "blocks": 0.06}
"""Growth over the last half that is called flat, of the mean there, by a straight line through all looks: of a
process's own memory, of Python's blocks in it. Tables with a bound fill for that long (names of hosts, releases that
wait for their writers), and what malloc keeps finds its size: at three times this load both end after 200 s
(docs/measurements.md). The faults that this has found grew by 11 to 37 %."""
WARM = 60
"""Seconds in which a process that has just started may grow: tables fill."""
MIB = 1 << 20
RULE = """
rule tulips
{
    meta:
        id = "mixed.tulips"
        severity = "critical"
        description = "A file of the bench"
        scope = "file"
    strings:
        $a = "HARMFUL"
    condition:
        $a
}
"""
QUIET_SECONDS = 90.0


@dataclass
class Plan:
    """How long, how much, how often. Times in seconds."""

    seconds: float = 1200.0
    steady: int = 5
    """Sessions of each protocol that stay."""
    rate: float = 120.0
    """Messages a second of those that stay, together."""
    visitors: float = 2.0
    """Sessions a second that come and go."""
    odd: float = 0.7
    """Strange ones a second."""
    files: float = 2.0
    """Files a second."""
    look: float = 10.0
    reload: float = 25.0
    kill: float = 70.0
    restart: float = 180.0
    rules: int = 1000
    megabytes: float = 6.0
    """Of the event log that retention leaves."""
    patience: float = 20.0
    """The limits that end who is slow or silent, where they are longer."""
    hold: float = 150.0
    """limits.hold_seconds."""
    seed: int = 4
    ports: tuple[int, ...] = ()
    """For the gateway's listeners and its metrics; not given: any that are free."""


@dataclass
class Look:
    """One process at one time."""

    at: float
    pss: float
    """MiB."""
    own: float
    files: int
    threads: int
    tasks: int = 0
    blocks: int = 0
    heap: float = 0.0
    """MiB that malloc has given out; the small objects of Python (blocks) are not in it."""
    free: float = 0.0
    """MiB that malloc keeps for later."""
    gap: float = 0.0
    gap_cpu: float = 0.0
    tables: dict[str, int] = field(default_factory=dict)


@dataclass
class Outcome:
    """What was seen, and what should not have been."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Rows:
    """The event log as it grows, read beside the gateway: retention removes what is old."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last = 0
        self.seen: Counter[str] = Counter()
        self.numbers: dict[str, int] = {}
        """Id of a message -> its number."""
        self.verdicts: dict[int, tuple[str, str, str | None]] = {}
        """Number -> (what was done, reference, hold)."""
        self.references: set[str] = set()
        self.steps: dict[str, list[str]] = {}
        """Hold -> steps."""
        self.ends: dict[tuple[Any, Any], list[tuple[float, str]]] = {}
        """Client's address and port -> (time, why) of sessions that ended."""
        self.given: dict[str, tuple[float, str]] = {}
        """Hold -> when it was delivered, and in which flow."""
        self.flows: dict[str, tuple[float, tuple[Any, Any]]] = {}
        """Flow -> when it ended, and its client."""
        self.troubles: Counter[str] = Counter()

    def read(self) -> None:
        """What is new."""
        with contextlib.closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as base:
            found = base.execute("SELECT n, line FROM events WHERE n > ? ORDER BY n", (self.last,)).fetchall()
        with self.path.with_name("rows.jsonl").open("ab") as file:
            for number, line in found:
                self.last = number
                if line:
                    self._take(json.loads(line))
                    file.write((line if isinstance(line, bytes) else line.encode()) + b"\n")

    def _take(self, row: dict[str, Any]) -> None:
        event = row["event"]
        self.seen[event] += 1
        if event == "message" and (found := NUMBER.search((row["text"] or "").encode())):
            self.numbers[row["id"]] = int(found[1])
        elif event == "verdict":
            self.references.add(row["reference"])
            number = self.numbers.pop(row["message"], None)
            if number is not None:
                self.verdicts[number] = (row["did"], row["reference"], row["held"])
        elif event == "review" and row["hold"]:
            self.references.add(row["reference"])
            self.steps.setdefault(row["hold"], []).append(row["step"])
            if row["step"] == "delivered":
                self.given[row["hold"]] = seconds(row["t"]), row["session"]
        elif event == "flow" or (event == "trouble" and row["name"] == "session_lost"):
            client = row["client"] or {}
            why = row["reason"] or "" if event == "flow" else "session_lost"
            place = client.get("ip"), client.get("port")
            self.ends.setdefault(place, []).append((seconds(row["t"]), why))
            self.flows[row["flow"]] = seconds(row["t"]), place
        if event == "trouble":
            self.troubles[row["name"]] += row.get("count") or 1


def seconds(text: str) -> float:
    """RFC 3339 as seconds since the epoch."""
    return datetime.datetime.fromisoformat(text).timestamp()


class Mixed:
    """One run."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.folder, self.plan = folder, plan
        self.ledger = Ledger()
        self.dice = random.Random(plan.seed)
        self.out = Outcome()
        self.counts = self.out.counts
        self.series: dict[str, list[Look]] = {}
        """Process -> its looks."""
        self.sides = file_ends.Ends(SIDE_BYTES)
        self.broken: list[tuple[float, float, str]] = []
        """Begin, end and outcome of transfers that did not go as they should."""
        self.killed: list[tuple[float, int]] = []
        """(time, process) of workers that we killed."""
        self.restarts: list[tuple[float, float]] = []
        """Begin and end of rolling restarts."""
        self.ports: dict[str, int] = {}
        self.over = asyncio.Event()
        self.began = 0.0
        self.tasks: set[asyncio.Task[None]] = set()
        self.crowd: set[Client] = set()
        self.version = 0

    # -- the gateway

    def write_policy(self, bad: bool = False) -> None:
        """The policy, each time another one."""
        self.version += 1
        rules: list[dict[str, Any]] = [
            {"name": f"never {self.version}", "when": {"event": "message", "text": f"never said {self.version}"},
             "then": "block"},
            {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact"},
            {"name": "refused", "when": {"event": "message", "text": "wombat parade"}, "then": "block"},
            {"name": "waits", "when": {"event": "message", "text": "platypus parade"}, "then": "hold"},
            {"name": "harmful", "when": {"event": "file", "finding.rule": "mixed.tulips"}, "then": "block"},
        ]
        if bad:
            rules[0]["then"] = "blok"
        (self.folder / "policy.yaml").write_text(yaml.safe_dump({"enforce": True, "rules": rules}, sort_keys=False))

    def write_pack(self, bad: bool = False) -> None:
        """The bench's own pack, each time another version."""
        pack = self.folder / "signatures" / "mixed"
        pack.mkdir(parents=True, exist_ok=True)
        rule = RULE.replace("HARMFUL", HARMFUL.decode())
        (pack / "rules.yar").write_text(rule.replace("condition", "conditio") if bad else rule)
        (pack / "pack.yaml").write_text(
            f"name: mixed\nversion: {self.version}\ndescription: A file of the bench\nlicense: Apache-2.0\n"
            "content:\n  - {file: rules.yar, kind: yara}\n")

    def start(self, servers: Servers, authority: str) -> None:
        """The gateway, as an administrator starts it, with a watcher in each process."""
        plan = self.plan
        self.write_policy()
        self.write_pack()
        if plan.rules:
            realistic_rules.write_pack(self.folder / "signatures", plan.rules)
        free = list(plan.ports) or [free_port() for _ in range(len(servers.ports) + 2)]
        self.ports = dict(zip([*servers.ports, "socks"], free, strict=False))
        listeners: list[dict[str, Any]] = [
            {"mode": "reverse", "address": f"127.0.0.1:{self.ports[kind]}", "upstream": f"127.0.0.1:{port}"}
            for kind, port in servers.ports.items()
        ]
        for listener, kind in zip(listeners, servers.ports, strict=True):
            if kind == "upload":
                listener["protocols"] = ["http_upload"]
        listeners.append({"mode": "socks5", "address": f"127.0.0.1:{self.ports['socks']}",
                          "destinations": {"allow": ["127.0.0.0/8"]}})
        slow, self.metrics = plan.patience, free[-1]
        config = {
            "listeners": listeners, "tls": {"upstream_ca": authority}, "policy": "policy.yaml",
            "signatures": "signatures", "metrics": f"127.0.0.1:{self.metrics}", "workers": 2,
            "control": str(self.control), "retention": {"megabytes": plan.megabytes},
            "limits": {
                "silent_seconds": slow, "unit_seconds": slow, "stalled_seconds": slow, "handshake_seconds": slow / 2,
                "drain_seconds": 5, "restart_seconds": min(8.0, plan.seconds / 8), "hold_seconds": plan.hold,
                "cover_seconds": plan.hold / 2, "window_seconds": 120, "checkpoint_seconds": 5,
                # Tables that are full when the second half begins: what grows then grows without a bound.
                "leg_entries": 2000, "memory_entries": 400, "window_entries": 2000,
            },
        }
        (self.folder / "inspector.yaml").write_text(yaml.safe_dump(config))
        hooks = self.folder / "hooks"
        hooks.mkdir()
        (hooks / "sitecustomize.py").write_text(
            "import sys\nif 'inspector.app.worker' in sys.orig_argv or 'run' in sys.orig_argv:\n"
            "    from bench.mixed_watch import install\n\n    install()\n")
        self.reports = self.folder / "reports"
        self.reports.mkdir()
        self.log = self.folder / "log"
        self.gateway = Process("gateway", inspector("run", "-c", str(self.folder / "inspector.yaml")), self.log, {
            "PYTHONPATH": f"{hooks}{os.pathsep}{HOUSE}", PLACE: str(self.reports), "INSPECTOR_LOOP": "uvloop",
        })
        until = time.monotonic() + 120
        while b"clients must trust" not in self.log.read_bytes():
            if self.gateway.child.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the gateway did not start: {self.log.read_text()[-2000:]}")
            time.sleep(0.05)

    @property
    def control(self) -> Path:
        return self.folder / "c.sock"

    @property
    def state(self) -> Path:
        return self.folder / "var"

    async def say(self, command: str, seconds: float = 60.0, **more: Any) -> Any:
        """Ask the gateway. Raises UserError."""
        return await asyncio.to_thread(ask, self.control, command, seconds, **more)

    # -- clients

    def host(self) -> str:
        """An address for a client."""
        return f"127.1.{self.dice.randrange(4)}.{self.dice.randrange(2, 250)}"

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.ledger.fault(f"the bench itself: {error!r} at {where(error)}")

    async def arrive(self, kind: type[Client], user: str, host: str) -> Client | None:
        """A client that has signed on; None: it could not (the gateway is being restarted)."""
        client = kind(self.ledger, user, host, self.dice)
        try:
            await client.begin(self.ports[kind.kind])
        except (OSError, Gone):
            self.counts["could not sign on"] += 1
            return None
        self.crowd.add(client)
        return client

    def kind(self) -> str:
        return self.dice.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]

    async def stays(self, kind: type[Client], number: int) -> None:
        """A user who is always there; he comes again when he was sent away."""
        user, host = f"{kind.kind[:3]}{number}", self.host()
        pause = self.plan.steady * len(KINDS) / self.plan.rate
        while not self.over.is_set():
            client = await self.arrive(kind, user, host)
            if client is None:
                await asyncio.sleep(0.5)
                continue
            while not self.over.is_set() and not client.over.is_set():
                client.say(self.kind())
                await asyncio.sleep(self.dice.expovariate(1 / pause))
            await client.leave()
            self.crowd.discard(client)
            await asyncio.sleep(self.dice.uniform(0.1, 1))

    async def visits(self, number: int) -> None:
        """A user who comes, says something, and goes in one way or another."""
        kind = self.dice.choice(KINDS)
        client = await self.arrive(kind, f"v{kind.kind[0]}{number % 50}", self.host())
        if client is None:
            return
        for _ in range(self.dice.randrange(1, 12)):
            if client.over.is_set():
                break
            client.say(self.kind())
            await asyncio.sleep(self.dice.expovariate(2))
        how = self.dice.random()
        if how < 0.6:
            await client.leave()
        elif how < 0.85:
            await client.cut()
        else:
            await client.spoil()
        self.crowd.discard(client)

    async def is_odd(self) -> None:
        """A connection that does what no client does."""
        kind = self.dice.choice(("silent", "half", "dribble", "garbage", "deaf", "scan"))
        self.counts[f"odd {kind}"] += 1
        if kind == "deaf":
            return await self.is_deaf()
        port = self.ports[self.dice.choice(("xmpp", "starttls", "websocket", "irc", "oscar"))]
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(self.host(), 0))
            wire = Stream(reader, writer)
            try:
                if kind == "half":
                    wire.put(b"<?xml version='1.0'?><stream:stream xmlns='jabb")
                elif kind == "garbage":
                    wire.put(self.dice.randbytes(self.dice.randrange(1, 6000)))
                elif kind == "dribble":
                    for byte in b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' ":
                        wire.put(bytes((byte,)))
                        await asyncio.sleep(1)
                        if self.over.is_set():
                            break
                if kind != "scan":
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(reader.read(), 3 * self.plan.patience)
            finally:
                writer.close()

    async def is_deaf(self) -> None:
        """Somebody to whom much is said, and who does not read."""
        client = await self.arrive(self.dice.choice((Xmpp, Starttls)), f"deaf{self.dice.randrange(20)}", self.host())
        if client is None:
            return
        client.leaving = "broken"
        client.task.cancel()
        self.ledger.end(client.session, "broken")
        client.wire.write(b"<message xmlns='jabber:client' type='chat' to='amy@bench.test'><body>flood me</body>"
                          b"</message>")
        until = time.monotonic() + 2 * self.plan.patience
        while time.monotonic() < until and not self.over.is_set():
            await asyncio.sleep(0.5)
        client.drop()
        self.crowd.discard(client)

    async def sends(self) -> None:
        """A file, over HTTP or in-band, harmless or not."""
        harmful, way = self.dice.random() < 0.2, self.dice.choice(("upload", "upload", "ibb", "side"))
        began = time.time()
        if way == "side":
            way = self.dice.choice(("dcc", "oft", "bytestream"))
            self.sent(way, False, began, await asyncio.to_thread(self.side, way))
            return
        sizes = (200, 5_000, 60_000) if way == "ibb" else (200, 5_000, 60_000, 300_000)
        size = int(self.dice.choice(sizes) * self.dice.uniform(0.5, 1.5))
        content = self.dice.randbytes(size)
        if harmful:
            content = content[:size // 2] + HARMFUL + content[size // 2:]
        digest = hashlib.sha256(content).hexdigest()
        self.ledger.files[digest] = "harmful" if harmful else "harmless"
        if way == "upload":
            try:
                done = await put(self.ports["upload"], self.host(), content)
            except OSError:
                done = "ended"
        else:
            client = await self.arrive(Xmpp, f"file{self.dice.randrange(20)}", self.host())
            if client is None:
                return
            assert isinstance(client, Xmpp)
            done = await client.give(content)
            await client.leave()
            self.crowd.discard(client)
        self.sent(way, harmful, began, done)

    def sent(self, way: str, harmful: bool, began: float, done: str) -> None:
        """What became of a file."""
        self.counts[f"file {way}, {'harmful' if harmful else 'harmless'}: {done}"] += 1
        if done != ("refused" if harmful else "taken"):
            self.broken.append((began, time.time(), f"{way}, {'harmful' if harmful else 'harmless'}: {done}"))

    def side(self, way: str) -> str:
        """A file on a connection of its own, by SOCKS: taken or ended."""
        ports = [self.sides.ports[way], self.sides.ports["dcc_content"]]
        transfer = {"dcc": file_ends.dcc, "oft": file_ends.oft, "bytestream": file_ends.bytestream}[way]
        try:
            transfer(ports, self.ports["socks"], SIDE_BYTES)
        except (OSError, struct.error):
            return "ended"
        return "taken"

    async def every(self, rate: float, make: Any) -> None:
        """Begin something so often a second, by chance."""
        number = 0
        while not self.over.is_set():
            await self.nap(self.dice.expovariate(rate))
            number += 1
            if not self.over.is_set() and len(self.tasks) < 2000:
                self.spawn(make(number) if make == self.visits else make())

    # -- operators

    async def reloads(self) -> None:
        """Good rules and bad ones in turn."""
        turn = 0
        while not self.over.is_set():
            await self.nap(self.plan.reload)
            if self.over.is_set():
                return
            turn += 1
            bad = turn % 3 == 2
            self.write_policy(bad=bad and turn % 2 == 0)
            self.write_pack(bad=bad and turn % 2 == 1)
            refused = await self.refused()
            if bad and not refused:
                self.ledger.fault("bad rules were put in force")
            if bad:
                self.write_policy()
                self.write_pack()
            # A worker that dies meanwhile ends a reload: its operator says it again.
            while refused and not bad:
                self.counts["good reloads refused"] += 1
                if "the other process is gone" not in refused:
                    self.ledger.fault(f"a good reload was refused: {refused}")
                    break
                refused = await self.refused()

    async def refused(self) -> str:
        """Reload; why it was refused, if it was."""
        try:
            await self.say("reload", 200)
        except UserError as error:
            self.counts["reloads refused"] += 1
            return str(error)
        self.counts["reloads accepted"] += 1
        return ""

    async def kills(self) -> None:
        """A worker dies, without a word."""
        turn = 0
        while not self.over.is_set():
            await self.nap(self.plan.kill)
            if self.over.is_set():
                return
            turn += 1
            seat = 1 if self.late() else turn % 2
            found = [one for one in await self.say("workers") if one["state"] == "serving" and one["seat"] == seat]
            if found:
                os.kill(found[0]["pid"], signal.SIGKILL)
                self.killed.append((time.time(), found[0]["pid"]))
                self.counts["workers killed"] += 1

    async def rolls(self) -> None:
        """Rolling restarts, in the first half."""
        while not self.over.is_set():
            await self.nap(self.plan.restart)
            if self.over.is_set() or self.late():
                return
            begin = time.time()
            try:
                await self.say("restart", 300)
                self.counts["rolling restarts"] += 1
            except UserError as error:
                self.counts["rolling restarts refused"] += 1
                self.out.notes.append(f"a restart was refused: {error}")
            self.restarts.append((begin, time.time()))

    async def reviews(self) -> None:
        """Releases and denies what waits; some of it is left to expire."""
        while not self.over.is_set():
            await self.nap(1.0)
            try:
                items = await self.say("holds", state="held")
            except UserError as error:
                self.out.notes.append(f"the reviewer was told: {error}")
                continue
            chosen = [(item["id"], int(hashlib.sha256(item["id"].encode()).hexdigest(), 16) % 100) for item in items]
            decided = [(ident, "release" if share < 55 else "deny") for ident, share in chosen if share < 85]
            await asyncio.gather(*(self.review(ident, step) for ident, step in decided[:8]))

    async def review(self, ident: str, step: str) -> None:
        """Release it or deny it."""
        try:
            await self.say(f"hold.{step}", id=ident)
            self.counts[f"reviewer: {step}"] += 1
        except UserError as error:
            self.counts["reviewer told no"] += 1
            if self.counts["reviewer told no"] <= 3:
                self.out.notes.append(f"the reviewer was told: {error}")

    def late(self) -> bool:
        """Whether the second half has begun."""
        return time.monotonic() - self.began > self.plan.seconds / 2

    async def nap(self, seconds: float) -> None:
        """Sleep, at most to the end."""
        until = time.monotonic() + seconds
        while not self.over.is_set() and time.monotonic() < until:
            await asyncio.sleep(min(0.5, max(0.01, until - time.monotonic())))

    async def reads(self, rows: Rows) -> None:
        """The log, before retention removes it."""
        while not self.over.is_set():
            await self.nap(2.0)
            await asyncio.to_thread(rows.read)

    # -- looks

    async def looks(self) -> None:
        """How everything is, again and again."""
        used, at = cpu_seconds([*family(self.gateway.pid), os.getpid()]), time.monotonic()
        while not self.over.is_set():
            await self.nap(self.plan.look)
            now = cpu_seconds([*family(self.gateway.pid), os.getpid()])
            share = max(0.0, now - used) / (time.monotonic() - at)
            used, at = now, time.monotonic()
            await self.look(share)

    async def look(self, share: float) -> None:
        """One look at all processes."""
        try:
            status = await self.say("status")
        except UserError as error:
            self.ledger.fault(f"no status: {error}")
            return
        since = time.monotonic() - self.began
        told: dict[str, Any] = {}
        processes = {"supervisor": self.gateway.pid}
        for one in status["workers"]:
            if one["state"] not in ("serving", "leaving"):
                continue  # it has no watcher yet: what asks it would end it
            processes[f"worker {one['pid']} of seat {one['seat']}"] = one["pid"]
        for name, seen in zip(processes, await asyncio.gather(*(
            asyncio.to_thread(self.process, pid, since) for pid in processes.values()
        ), return_exceptions=True), strict=True):
            if isinstance(seen, Look):
                self.series.setdefault(name, []).append(seen)
                told[name] = seen
            elif not isinstance(seen, OSError | RuntimeError):  # it ended while we looked, or has only begun
                raise seen
        waits, self.ledger.waits = self.ledger.waits, []
        serving = {one["seat"]: one for one in status["workers"] if one["state"] == "serving"}
        held = sum((status["holds"] or {}).get("states", {}).values())
        workers = [told.get(f"worker {one['pid']} of seat {seat}") for seat, one in sorted(serving.items())]
        boss = told.get("supervisor")
        self.out.rows.append([
            f"{since:.0f}", f"{boss.pss:.0f}" if boss else "-",
            "/".join(f"{one.pss:.0f}" if one else "-" for one in workers),
            "/".join(f"{time.time() - one['since']:.0f}" for _, one in sorted(serving.items())),
            str(status["sessions"]), f"{boss.files}" if boss else "-",
            "/".join(str(one.files) if one else "-" for one in workers),
            "/".join(str(one.tasks) if one else "-" for one in workers),
            f"{len(waits) / self.plan.look:.0f}", f"{quantile(waits, 0.5):.0f}", f"{quantile(waits, 0.99):.0f}",
            "/".join(f"{1000 * one.gap:.0f}" if one else "-" for one in workers),
            f"{size(self.state, 'inspector.db') / MIB:.1f}", f"{size(self.state, 'inspector.db-wal') / MIB:.1f}",
            str(held), f"{size(self.state, 'quarantine') / MIB:.1f}", f"{size(self.state, 'spool') / MIB:.2f}",
            "/".join(f"{size(self.state, name) / MIB:.1f}" for name in ("rules", "cache", "in-force")), f"{share:.2f}",
        ])
        with (self.folder / "looks.jsonl").open("a") as file:
            file.write(json.dumps({
                "at": since, "status": status, "counts": dict(self.ledger.counts),
                "processes": {name: vars(one) for name, one in told.items()}}) + "\n")
        print(f"\r{since:5.0f} s: {status['sessions']} sessions, {self.ledger.counts['answered']:,} answered, "
              f"{len(self.ledger.faults)} faults  ", end="", file=sys.stderr, flush=True)

    def process(self, pid: int, since: float) -> Look:
        """One process now. Raises OSError: it is gone, RuntimeError: it does not answer."""
        noted = ask_watcher(pid, self.reports / f"{pid}.json", 3)
        more = json.loads((self.reports / f"{pid}.more").read_text())
        found = {"Pss": 0, "Anonymous": 0}
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
            name, _, value = line.partition(":")
            if name in found:
                found[name] = int(value.split()[0])
        threads = Path(f"/proc/{pid}/status").read_text().partition("Threads:")[2].split()[0]
        return Look(
            since, found["Pss"] / 1024, found["Anonymous"] / 1024, len(os.listdir(f"/proc/{pid}/fd")), int(threads),
            gap=noted["gap"], gap_cpu=noted["gap_cpu"], **more)

    # -- the run

    async def run(self) -> Outcome:
        """All of it."""
        plan = self.plan
        # Operators and transfers by blocking sockets wait beside each other.
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(48))
        authority, certificate, key = certificates(self.folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        servers = Servers(self.ledger, context)
        await servers.start()
        pids: list[int] = []
        try:
            await asyncio.to_thread(self.start, servers, authority)
            Starttls.trust = ssl.create_default_context(cafile=str(self.state / "ca" / "authority.pem"))
            rows = Rows(self.state / "inspector.db")
            self.began = time.monotonic()
            fresh = await self.rest()
            self.began = time.monotonic()
            keepers = [self.reloads(), self.kills(), self.rolls(), self.reviews(), self.looks(), self.reads(rows)]
            people = [self.stays(kind, number) for kind in KINDS for number in range(plan.steady)]
            often = [self.every(plan.visitors, self.visits), self.every(plan.odd, self.is_odd),
                     self.every(plan.files, self.sends)]
            for work in (*people, *often):
                self.spawn(work)
            keeping = [asyncio.ensure_future(work) for work in keepers]
            for one in keeping:
                one.add_done_callback(self._done)
            await asyncio.sleep(plan.seconds)
            self.over.set()
            await asyncio.gather(*keeping, return_exceptions=True)
            until = time.monotonic() + QUIET_SECONDS
            while self.tasks and time.monotonic() < until:
                await asyncio.sleep(0.1)
            if self.tasks:
                self.ledger.fault(f"{len(self.tasks)} tasks of the bench did not end: {list(self.tasks)[:3]}")
            for task in list(self.tasks):
                task.cancel()
            ended = await self.rest()
            self.compare(fresh, ended)
            self.leftovers("before the gateway stops")
            await asyncio.sleep(1)
            await asyncio.to_thread(rows.read)
            counters = await asyncio.to_thread(self.page)
            pids = family(self.gateway.pid)
            self.account(rows)
            self.grown()
            await asyncio.to_thread(self.stop, pids)
            self.logs(counters)
        finally:
            self.over.set()
            for task in list(self.tasks):
                task.cancel()
            await asyncio.to_thread(self.gateway.stop)
            servers.stop()
        self.out.faults += self.ledger.faults
        self.out.counts.update(self.ledger.counts)
        return self.out

    async def rest(self) -> dict[str, Look]:
        """The serving workers and the supervisor when nobody is there any more."""
        until = time.monotonic() + QUIET_SECONDS
        while True:
            status = await self.say("status")
            calm = status["sessions"] == 0 and all(one["state"] == "serving" for one in status["workers"])
            if calm and len(status["workers"]) == 2 and not status["files"]["waiting"]:
                break
            if time.monotonic() > until:
                self.ledger.fault(f"{status['sessions']} sessions did not end, workers: {status['workers']}")
                break
            await asyncio.sleep(0.3)
        processes = {f"seat {one['seat']}": one["pid"] for one in status["workers"]} | {"supervisor": self.gateway.pid}
        since = time.monotonic() - self.began
        for name in processes:
            await asyncio.to_thread(self.process, processes[name], since)
        await asyncio.sleep(2)
        return {name: await asyncio.to_thread(self.process, pid, since) for name, pid in processes.items()}

    def compare(self, fresh: dict[str, Look], ended: dict[str, Look]) -> None:
        """What is open when nobody is there: as at the beginning."""
        for name, after in ended.items():
            before = fresh[name]
            self.out.notes.append(
                f"{name} with nobody there, first and last: {before.files} and {after.files} open files, "
                f"{before.threads} and {after.threads} threads, {before.tasks} and {after.tasks} tasks, "
                f"{before.pss:.1f} and {after.pss:.1f} MiB PSS, tables {after.tables}")
            # A scanner thread, a judge, a connection to the store and an operator's may be there or not.
            if after.files > before.files + 6:
                self.out.faults.append(f"{name}: {before.files} open files at the beginning, {after.files} at the end")
            if after.tasks > before.tasks + 4:
                self.out.faults.append(f"{name}: {before.tasks} tasks at the beginning, {after.tasks} at the end")
            if after.threads > before.threads + 40:
                self.out.faults.append(f"{name}: {before.threads} threads at first, {after.threads} at the end")

    def leftovers(self, when: str) -> None:
        """Files that nobody needs any more."""
        spool = self.state / "spool"
        files = [path for path in spool.rglob("*") if path.is_file()] if spool.exists() else []
        if files:
            self.out.faults.append(f"{len(files)} files left in the spool {when}: {[path.name for path in files[:3]]}")

    def stop(self, pids: list[int]) -> None:
        """SIGTERM: it ends by itself, and nothing of it is left; then the log is verified."""
        self.gateway.child.send_signal(signal.SIGTERM)
        try:
            code = self.gateway.child.wait(60)
            if code:
                self.out.faults.append(f"the gateway ended with {code}")
        except subprocess.TimeoutExpired:
            self.out.faults.append("the gateway did not end within a minute")
            return
        time.sleep(0.5)
        for pid in pids:
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                if "inspector" in command:
                    self.out.faults.append(f"process {pid} is left: {command}")
        self.leftovers("after the end")
        done = subprocess.run(inspector("verify", "-c", str(self.folder / "inspector.yaml")), capture_output=True,
                              text=True, check=False, timeout=120)
        if done.returncode:
            self.out.faults.append(f"inspector verify: {(done.stdout + done.stderr)[-1500:]}")
        self.out.notes.append("inspector verify: " + " ".join(done.stdout.split())[:400])

    # -- what it comes to

    def account(self, rows: Rows) -> None:
        """Every message and every session."""
        ledger, counts = self.ledger, self.counts
        for number, session in ledger.refused.items():
            if ledger.came[number]:
                ledger.fault(f"no{number}x was to be refused and came ({session.kind})")
            self.explain(number, session, rows, "block")
        judged = {hold for _, _, hold in rows.verdicts.values() if hold}
        alone = sum("delivering" in steps for hold, steps in rows.steps.items() if hold not in judged)
        for number, session in ledger.held.items():
            verdict, times = rows.verdicts.get(number), ledger.came[number]
            steps = [step for step in rows.steps.get(verdict[2] or "", []) if step != "erased"] if verdict else []
            if times > 1:
                ledger.fault(f"no{number}x was held and came {times} times: {steps}")
            if times == 1 and verdict is None and alone:
                # Its worker died between the content and the verdict's row: only the reviewer's rows tell of it.
                alone -= 1
                counts["held when its worker died, and released"] += 1
            elif times and "delivering" not in steps:
                ledger.fault(f"no{number}x came without having been released ({session.kind}): {verdict} {steps}")
            if steps and steps[-1] == "delivered" and not times:
                self.not_come(number, verdict[2] or "" if verdict else "", rows)
            if steps:
                counts[f"held, in the end {steps[-1]}"] += 1
            self.explain(number, session, rows, "hold")
        for reference in ledger.told - rows.references:
            ledger.fault(f"a client was told of {reference}, of which there is no row")
        for session in ledger.sessions:
            self.ending(session, rows)
        for start, end, what in self.broken:
            if not self.excused(start, end):
                ledger.fault(f"a file ({what}) within {end - start:.1f} s, and nobody had killed or restarted anything")
        for name, count in rows.troubles.items():
            counts[f"trouble {name}"] = count
        counts["rows"] = sum(rows.seen.values())
        if len(self.killed) != rows.troubles["worker_died"]:
            ledger.fault(f"{len(self.killed)} workers were killed, {rows.troubles['worker_died']} rows say so")

    def not_come(self, number: int, hold: str, rows: Rows) -> None:
        """What was written to a server may be lost with its connection; otherwise it must have come."""
        at, flow = rows.given[hold]
        end, place = rows.flows.get(flow, (0.0, ("", 0)))
        found = [one for one in self.ledger.sessions if tuple(one.client) == place and one.began < at < one.ended + 30]
        last = found[-1] if found else None
        told = (f"no{number}x was delivered {end - at:.2f} s before its flow ended, and did not come: "
                f"{last and (last.kind, last.user, last.how, round(last.ended - at, 2))}")
        self.out.notes.append(told)
        self.counts["delivered, not come"] += 1
        if last is None or last.ended > at + 1.0:
            self.ledger.fault(told)

    def explain(self, number: int, session: Session, rows: Rows, did: str) -> None:
        """What was to be refused or held has its row, and its writer was told, where his session lived."""
        verdict, how = rows.verdicts.get(number), session.how
        if how == "polite" and any(at - 25 < session.ended < at + 1 for at, _ in self.killed):
            # It had said goodbye; whether the worker died before or after its last words is not known.
            how = "while a worker died"
        if verdict is None:
            self.counts[f"no verdict ({did}), session ended ({how})"] += 1
            if how == "polite":
                self.ledger.fault(f"no{number}x ({session.kind}): no verdict, and its session ended politely")
            return
        self.counts[f"verdict {verdict[0]} where {did} is meant"] += 1
        # A session that ends while its message is being stored takes it along: refused, as its row says.
        if verdict[0] != did and (verdict[0] != "block" or how == "polite"):
            self.ledger.fault(f"no{number}x ({session.kind}): {verdict[0]} instead of {did}")
        if number in self.ledger.inbound:
            return
        if verdict[1] not in self.ledger.told:
            self.counts[f"{did}: writer not told, session ended ({how})"] += 1
            if how == "polite":
                self.ledger.fault(f"no{number}x ({session.kind}): {did}, and its writer was not told of {verdict[1]}")

    def ending(self, session: Session, rows: Rows) -> None:
        """A session that has ended has a row; one that the gateway ended, a reason."""
        found = [why for at, why in rows.ends.get(session.client, ()) if at > session.began - 1]
        if not found:
            young = session.ended - session.signed_on < 1.0
            self.counts[f"no row of an ended session ({session.how}{', a second old' if young else ''})"] += 1
            if not young:
                self.ledger.fault(f"no row of the end of {session}")
        elif session.how == "gateway":
            self.counts[f"ended by the gateway: {found[-1] or 'no reason'}"] += 1
            if not self.excused(session.ended, session.ended):
                self.ledger.fault(f"{session} was ended ({found}), and nobody had killed or restarted anything")

    def excused(self, start: float, end: float) -> bool:
        """Whether a worker died or was relieved then, or a little before."""
        return any(start - 5 < at < end + 1 for at, _ in self.killed) or any(
            start - 40 < over and begin < end + 1 for begin, over in self.restarts)

    def grown(self) -> None:
        """Memory over the last half."""
        half, least = self.plan.seconds / 2, 6
        for name, looks in self.series.items():
            late = [one for one in looks if one.at > max(half, looks[0].at + WARM)]
            if len(late) < least or late[-1].at - late[0].at < 0.7 * (self.plan.seconds - half):
                continue
            for what in ("pss", "own", "blocks", "heap", "free", "files", "tasks", "threads"):
                values = [float(getattr(one, what)) for one in late]
                mean = statistics.fmean(values)
                slope = statistics.linear_regression([one.at for one in late], values).slope
                growth = slope * (late[-1].at - late[0].at) / max(mean, 1e-9)
                self.out.notes.append(
                    f"{name}, last half: {what} {values[0]:,.1f} -> {values[-1]:,.1f}, mean {mean:,.1f}, by a straight "
                    f"line {100 * growth:+.2f} %")
                # Not "pss": a page that one sharer leaves is counted more to those that stay.
                if growth > FLAT.get(what, 9.0) and self.plan.seconds >= 600:
                    self.out.faults.append(f"{name}: {what} grows by {100 * growth:.1f} % over the last half")

    def logs(self, counters: dict[str, float]) -> None:
        """Every line above info has its counter."""
        found: Counter[str] = Counter()
        for line in self.log.read_text(errors="replace").splitlines():
            # What it greets with goes to standard output, which may come between two lines of the log.
            words, start, rest = line.partition('{"t"')
            if words and not words.startswith("inspector: "):
                self.out.faults.append(f"the gateway said: {line[:200]}")
            if not start:
                continue
            told = json.loads(start + rest)
            if told["level"] in ("warning", "error", "critical"):
                found[kind_of(told["text"])] += 1
        for kind, count in found.items():
            self.out.notes.append(f"log: {count} × {kind}")
            if kind in COUNTED:
                counted = counters.get(COUNTED[kind], 0)
                # A refused reload has a line for each fault.
                if count != counted and not (kind == "reload refused" and count > counted > 0):
                    self.out.faults.append(f"log: {count} × {kind}, {COUNTED[kind]} says {counted:g}")
            elif kind not in HARMLESS:
                self.out.faults.append(f"log, and no counter is known for it: {count} × {kind}")
        if self.counts["reloads refused"] != counters.get(COUNTED["reload refused"], 0):
            self.out.faults.append(f"{self.counts['reloads refused']} reloads were refused, the metrics say otherwise")
        if self.counts["workers killed"] != counters.get(COUNTED["worker died"], 0):
            self.out.faults.append(f"{self.counts['workers killed']} workers were killed, the metrics say otherwise")

    def page(self) -> dict[str, float]:
        """The metrics: name with labels -> value."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


COUNTED = {
    "worker died": "inspector_worker_deaths_total", "reload refused": 'inspector_reloads_total{action="refused"}',
    "is not relieved": "inspector_worker_restarts_refused_total",
    "cannot be replaced": "inspector_worker_starts_failed_total",
}
"""Lines of the log -> their counter."""
HARMLESS = {
    "running as root", "has no sample in", "more samples are missing",
    "what somebody wrote through one worker another one does not know: it has not told them in time",
}
"""Warnings that are no errors: the bench's rules have no samples, which is told at each load; a worker that was killed
tells nothing more, and who signs on elsewhere meanwhile waits for it in vain."""


def kind_of(text: str) -> str:
    """A line of the log without what differs each time."""
    if text.startswith("worker ") and "it had" in text:
        return "worker died" if "SIGKILL" in text else f"worker died by itself: {text}"
    for known in (*COUNTED, *HARMLESS):
        if known in text:
            return known
    return text[:150]


def size(state: Path, name: str) -> int:
    """Bytes of a file, or of a folder."""
    total = 0
    place = state / name
    for path in place.rglob("*") if place.is_dir() else [place]:
        with contextlib.suppress(OSError):
            if path.is_file():
                total += path.stat().st_size
    return total


def where(error: BaseException) -> str:
    """The places of a traceback."""
    places = traceback.extract_tb(error.__traceback__)
    return " ".join(f"{Path(one.filename).name}:{one.lineno}" for one in places[-4:])


HEADS = [
    "s", "supervisor, MiB PSS", "workers, MiB PSS", "their age, s", "sessions", "files of the supervisor",
    "of the workers", "tasks of the workers", "answers a second", "p50, ms", "p99, ms", "longest gap of the loops, ms",
    "log, MiB", "its WAL", "held", "hold store, MiB", "spool, MiB", "rules kept/cached/in force, MiB", "cores used",
]


def run(folder: Path, plan: Plan) -> Outcome:
    """Run it and print what was seen."""
    import uvloop

    outcome = uvloop.run(Mixed(folder, plan).run())
    print("\r" + " " * 78 + "\r", end="", file=sys.stderr, flush=True)
    step = max(1, len(outcome.rows) // 24)
    print(table(HEADS, outcome.rows[::step]))
    print("\n" + "\n".join(f"- {name}: {count:,}" for name, count in sorted(outcome.counts.items()) if count))
    print("\n" + "\n".join(f"- {note}" for note in outcome.notes))
    print(f"\nfaults: {len(outcome.faults)}" + "".join(f"\n- {fault}" for fault in outcome.faults[:100]))
    return outcome


def main() -> None:
    """`python -m bench.mixed FOLDER PLAN`: a plan as JSON, the outcome as one line of JSON."""
    import uvloop

    plan = json.loads(sys.argv[2])
    outcome = uvloop.run(Mixed(Path(sys.argv[1]), Plan(**plan)).run())
    print(json.dumps({"faults": outcome.faults, "notes": outcome.notes, "counts": outcome.counts}), flush=True)


if __name__ == "__main__":
    main()
