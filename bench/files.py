"""Files: a large one by each transfer (memory, throughput, chat meanwhile), and many small ones a second."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bench import file_rules, realistic_rules
from bench.figures import spread, table
from bench.file_ends import METHODS
from bench.gateways import Gateway
from bench.processes import HOUSE, TICK, Process, cpu_seconds, family, free_port, inspector, python

CHATS = 20
QUIET = 1.5
"""Seconds of chat alone, in front of a transfer and behind it."""
MEANWHILE = 1.5
"""Seconds of transfers, at least, that chat goes on beside."""
SMALL = {"documents, pictures, archives, programs of 20 KiB": 0, "random bytes, 64 KiB": 64 << 10}
"""Sizes of small files; 0: what bench.file_rules makes."""
CONNECTIONS = 8


@dataclass
class Relay(Gateway):
    """HAProxy in tcp mode, one thread: a port for each port of the far ends."""

    ends: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def command(self, folder: Path) -> list[str]:
        self.ports = {name: free_port() for name in self.ends}
        config = folder / "haproxy.cfg"
        config.write_text(
            "global\n    nbthread 1\ndefaults\n    mode tcp\n    timeout connect 5s\n    timeout client 1h\n"
            "    timeout server 1h\n"
            f"listen chat\n    bind 127.0.0.1:{self.port}\n    server reflector 127.0.0.1:{self.upstream}\n" + "".join(
                f"listen {name}\n    bind 127.0.0.1:{self.ports[name]}\n    server end 127.0.0.1:{port}\n"
                for name, port in self.ends.items()))
        return ["haproxy", "-db", "-f", str(config)]


@dataclass
class Taker(Gateway):
    """The gateway, all files taken in one mode: chat and uploads by reverse listeners, the rest by SOCKS5."""

    ends: dict[str, int] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    mode: str = "spool"
    rules: int = 1000
    file_rules: int = 1000
    socks: int = 0

    def command(self, folder: Path) -> list[str]:
        self.socks = free_port()
        self.ports = {**self.ends, "http": free_port()}
        signatures = folder / "signatures"
        signatures.mkdir(exist_ok=True)
        realistic_rules.write_pack(signatures, self.rules)
        if self.file_rules:
            file_rules.write_pack(signatures, self.file_rules)
        policy = {
            "enforce": True, "inside": ["127.0.0.0/8", "::1/128"],
            "files": [{"when": {"direction": "internal"}, "mode": self.mode}],
            "rules": [{"name": "harmful", "when": {"finding.severity": "critical"}, "then": "block"}],
        }
        (folder / "policy.yaml").write_text(yaml.safe_dump(policy))
        config: dict[str, Any] = {
            "listeners": [
                {"mode": "reverse", "address": f"127.0.0.1:{self.port}", "upstream": f"127.0.0.1:{self.upstream}"},
                {"mode": "socks5", "address": f"127.0.0.1:{self.socks}", "destinations": {"allow": ["127.0.0.0/8"]}},
                {"mode": "reverse", "address": f"127.0.0.1:{self.ports['http']}", "protocols": ["http_upload"],
                 "upstream": f"127.0.0.1:{self.ends['http']}"},
            ],
            "policy": "policy.yaml", "signatures": "signatures", "metrics": f"127.0.0.1:{free_port()}",
        }
        (folder / "inspector.yaml").write_text(yaml.safe_dump(config))
        return inspector("run", "-c", str(folder / "inspector.yaml"))

    def environment(self) -> dict[str, str]:
        return {"INSPECTOR_LOOP": "uvloop"}


class Watch(threading.Thread):
    """Resident bytes of one process, read every 20 ms: how far they rise above the beginning."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid = pid
        self.over = threading.Event()
        self.first = self.most = self.read()

    def read(self) -> int:
        """Resident bytes that are no mapped files: what is the process's own."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        return 0

    def run(self) -> None:
        while not self.over.wait(0.02):
            self.most = max(self.most, self.read())

    def stop(self) -> float:
        """MiB of growth."""
        self.over.set()
        self.join()
        return (max(self.most, self.read()) - self.first) / (1 << 20)


class Chats:
    """Quiet sessions through a gateway."""

    def __init__(self, port: int, log: Path) -> None:
        command = python("-m", "bench.latency", str(port), str(CHATS))
        self.process = Process("chats", command, log, talk=True)
        self.process.line()

    def say(self, word: str) -> None:
        """What comes from now on is "quiet", or "meanwhile"."""
        assert self.process.child.stdin
        self.process.child.stdin.write(f"{word}\n".encode())
        self.process.child.stdin.flush()

    def p99(self) -> tuple[float, float]:
        """(quiet, meanwhile), ms."""
        self.say("stop")
        found = json.loads(self.process.line())
        return 1000 * float(found["quiet"]["p99"]), 1000 * float(found["meanwhile"]["p99"])


def spent(pid: int) -> float:
    """CPU seconds of a process tree, with those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return cpu_seconds(family(pid)) + (int(fields[13]) + int(fields[14])) / TICK


def transfer(gateway: Relay | Taker, method: str, size: int) -> float:
    """Seconds of one transfer. Raises RuntimeError."""
    ports = [gateway.ports[method]]
    if method == "dcc":
        ports.append(gateway.ports["dcc_content"])
    socks = gateway.socks if isinstance(gateway, Taker) and method != "http" else 0
    command = python("-m", "bench.file_ends", method, ",".join(map(str, ports)), str(socks), str(size))
    done = subprocess.run(command, cwd=HOUSE, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return float(done.stdout)


@dataclass
class Figures:
    """Of one transfer through one gateway, round by round."""

    seconds: list[float] = field(default_factory=list)
    growth: list[float] = field(default_factory=list)
    quiet: list[float] = field(default_factory=list)
    meanwhile: list[float] = field(default_factory=list)


def ends(size: int, folder: Path) -> tuple[Process, dict[str, int]]:
    process = Process("ends", python("-m", "bench.file_ends", "server", str(size)), folder / "ends.log", talk=True)
    ports: dict[str, int] = json.loads(process.line())
    return process, ports


def large(folder: Path, rounds: int, size: int, only: set[str], file_rule_count: int) -> None:
    """One large file by each transfer; the relay and both modes in turn."""
    server, ports = ends(size, folder)
    reflector = Process("reflector", python("-m", "bench.reflector", "xmpp"), folder / "reflector.log", talk=True)
    upstream = int(reflector.line())
    gateways: dict[str, Relay | Taker] = {
        "relay": Relay("relay", ends=ports),
        "spool": Taker("spool", ends=ports, mode="spool", file_rules=file_rule_count),
        "stream": Taker("stream", ends=ports, mode="stream", file_rules=file_rule_count),
    }
    found: dict[tuple[str, str], Figures] = {}
    failed: dict[str, str] = {}
    methods = [method for method in METHODS if not only or method in only]
    chats: dict[str, Chats] = {}
    try:
        for name, gateway in gateways.items():
            gateway.start(folder, upstream)
            chats[name] = Chats(gateway.port, folder / "chats.log")
            # What is loaded once, and grows once, is not the file's. (The sender of DCC knows one size.)
            for method in methods:
                transfer(gateway, method, size if method == "dcc" else 4 << 20)
        for number in range(rounds):
            for method in methods:
                for name, gateway in gateways.items():
                    print(f"\rround {number + 1}/{rounds}: {method} {name:20}", end="", file=sys.stderr, flush=True)
                    figures = found.setdefault((method, name), Figures())
                    # Quiet in front of it and behind it: what others do on the machine is in both. One transfer of the
                    # relay is over before a hundred messages have gone: as many as it takes to see a 99th percentile.
                    chats[name].say("quiet")
                    time.sleep(QUIET)
                    watch = Watch(gateway.pid)
                    watch.start()
                    chats[name].say("meanwhile")
                    spent_seconds: list[float] = []
                    try:
                        while sum(spent_seconds) < MEANWHILE:
                            spent_seconds.append(transfer(gateway, method, size))
                        figures.seconds.append(statistics.median(spent_seconds))
                    except (RuntimeError, subprocess.TimeoutExpired) as error:
                        failed[f"{method}, {name}"] = str(error)
                    chats[name].say("quiet")
                    figures.growth.append(watch.stop())
                    time.sleep(QUIET)
                    quiet, meanwhile = chats[name].p99()
                    figures.quiet.append(quiet)
                    figures.meanwhile.append(meanwhile)
    finally:
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
        for each in chats.values():
            each.process.stop()
        for gateway in gateways.values():
            gateway.stop()
        for process in (server, reflector):
            process.stop()
    rows = []
    for (method, name), figures in found.items():
        if f"{method}, {name}" in failed:
            continue
        base = found[method, "relay"]
        rate = [size / (1 << 20) / seconds for seconds in figures.seconds]
        slower = [mine / theirs for mine, theirs in zip(figures.seconds, base.seconds, strict=False)]
        worse = [after / before for after, before in zip(figures.meanwhile, figures.quiet, strict=True)]
        beside = [mine / theirs for mine, theirs in zip(figures.meanwhile, base.meanwhile, strict=False)]
        rows.append([
            f"{method}, {name}", spread(rate, 0), spread(slower, 1), spread(figures.growth, 1),
            spread(figures.quiet, 1), spread(figures.meanwhile, 1), spread(worse, 1), spread(beside, 1),
        ])
    print(table([
        "transfer", "MiB/s", "× the relay's time", "MiB grown", "chat p99 quiet, ms", "meanwhile, ms", "× quiet",
        "× beside the relay",
    ], rows))
    for name, why in failed.items():
        print(f"\nnot measured: {name}: {why}")


def many(folder: Path, rounds: int, seconds: float, file_rule_count: int) -> None:
    """Small uploads as fast as they go, load and far end on the same cores."""
    server, ports = ends(0, folder)
    reflector = Process("reflector", python("-m", "bench.reflector", "xmpp"), folder / "reflector.log", talk=True)
    gateway = Taker("small", ends=ports, mode="spool", file_rules=file_rule_count)
    rows = []
    try:
        gateway.start(folder, int(reflector.line()))
        for name, size in SMALL.items():
            rates, costs, waits, own = [], [], [], []
            for number in range(rounds):
                print(f"\rround {number + 1}/{rounds}: {name}", end="", file=sys.stderr, flush=True)
                command = python("-m", "bench.file_ends", "small", str(gateway.ports["http"]), str(CONNECTIONS),
                                 str(seconds), str(size))
                load = Process("load", command, folder / "load.log", talk=True)
                try:
                    load.line()
                    before, mine = spent(gateway.pid), cpu_seconds([gateway.pid])
                    seen = json.loads(load.line())
                    after, later = spent(gateway.pid), cpu_seconds([gateway.pid])
                finally:
                    load.stop()
                if seen["failed"] or not seen["files"]:
                    print(f"\nnot measured: {name}: {seen['failed'] or 'no file came through'}")
                    break
                rates.append(seen["files"] / seen["wall"])
                costs.append(1000 * (after - before) / seen["files"])
                own.append(1000 * (later - mine) / seen["files"])
                waits.append(1000 * seen["p99"])
            if rates:
                # The worker's loop is one thread; the file workers have what is left of the two cores.
                least = min(2000 / statistics.median(costs), 1000 / statistics.median(own))
                rows.append([name, spread(rates, 0), spread(costs, 2), spread(own, 2), f"{least:,.0f}",
                             spread(waits, 0)])
    finally:
        print("\r" + " " * 60 + "\r", end="", file=sys.stderr, flush=True)
        gateway.stop()
        for process in (server, reflector):
            process.stop()
    print(table([
        "files of", "a second", "ms CPU a file", "of them the worker's", "a second on two cores of its own", "p99, ms",
    ], rows))


def run(folder: Path, rounds: int, seconds: float, size: int, only: set[str], file_rule_count: int) -> None:
    """Prints both tables."""
    if not only or only & set(METHODS):
        print(f"A file of {size >> 20} MiB by each transfer, {rounds} rounds; the relay is HAProxy. "
              f"Spool and stream with {file_rule_count} file rules and 1,000 message rules, clamd off; {CHATS} chats "
              "go on meanwhile. Median (least-greatest).\n")
        large(folder, rounds, size, only, file_rule_count)
    if not only or "small" in only:
        print(f"\nSmall files uploaded over HTTP on {CONNECTIONS} connections, spooled, judged with {file_rule_count} "
              "file rules, clamd off; load and far end run on the same cores.\n")
        many(folder, rounds, seconds, file_rule_count)
