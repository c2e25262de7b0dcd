"""`make demo`: real messages through the real gateway, as the clients and the event log see them.

A tiny IRC server, two bare IRC clients and `inspector run` as a process of its own, all on loopback, with a policy and
a pack written for the occasion: one message passes, one is masked, one is refused, one waits until a reviewer releases
it, and the conversation goes on.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

POLICY = """\
enforce: true
rules:
  - name: mask card numbers
    when: {event: message, finding.rule: dlp.card_number}
    then: redact
  - name: unannounced projects stay inside
    when: {event: message, finding.pack: demo}
    then: block
    notify: "Blocked by company policy, reference {reference}."
  - name: contracts wait for a reviewer
    when: {event: message, text: "(?i)contract"}
    then: hold
"""
PACK = """\
name: demo
version: 1.0.0
description: Names of projects that are not announced yet
license: Apache-2.0
content:
  - {file: projects.csv, kind: indicators}
"""
PROJECTS = """\
kind,value,severity,description,reference
phrase,project nightjar,high,An unannounced project,demo
"""
SAID = (
    ("a message that passes", "Lunch at noon?"),
    ("one that is masked", "My card is 4111 1111 1111 1111, thanks!"),
    ("one that is refused", "Have you heard of Project Nightjar?"),
    ("one that waits, and is released", "The contract is in your drawer."),
    ("and the conversation goes on", "See you at noon then."),
)
PATIENCE = 45.0
"""Seconds for the whole demo."""


class Server(asyncio.Protocol):
    """As little of an IRC server as two people need: registration, PING, PRIVMSG (RFC 2812)."""

    def __init__(self, people: dict[str, Server]) -> None:
        self.people = people
        self.nick = ""
        self.rest = b""
        self.transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        for line in lines:
            self.line(line.decode(errors="replace").rstrip("\r"))

    def line(self, line: str) -> None:
        """One line of a client."""
        verb, _, rest = line.partition(" ")
        if verb == "NICK":
            self.nick = rest.lstrip(":")
            self.people[self.nick] = self
        elif verb == "USER":
            self.say(f":irc.demo 001 {self.nick} :Welcome")
        elif verb == "PING":
            self.say(f":irc.demo PONG irc.demo {rest}")
        elif verb == "PRIVMSG":
            target, _, text = rest.partition(" ")
            if target in self.people:
                self.people[target].say(f":{self.nick}!{self.nick}@demo PRIVMSG {target} {text}")

    def say(self, line: str) -> None:
        """One line to this client."""
        self.transport.write(line.encode() + b"\r\n")


class Person:
    """A bare IRC client: no more than a socket."""

    def __init__(self, nick: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.nick = nick
        self.reader = reader
        self.writer = writer

    @classmethod
    async def join(cls, nick: str, port: int) -> Person:
        """Connect and register."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        person = cls(nick, reader, writer)
        person.send(f"NICK {nick}", f"USER {nick} 0 * :{nick}")
        await person.line(" 001 ")
        return person

    def send(self, *lines: str) -> None:
        """Lines to the server."""
        self.writer.write("".join(f"{line}\r\n" for line in lines).encode())

    async def line(self, *marks: str) -> str:
        """The next line with one of the marks in it. Raises ConnectionError when the connection ends."""
        while True:
            raw = await self.reader.readline()
            if not raw:
                raise ConnectionError(f"{self.nick}'s connection ended")
            line = raw.decode(errors="replace").rstrip()
            if any(mark in line for mark in marks):
                return line


def free_port() -> int:
    """A TCP port of loopback that is free now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def write_files(folder: Path, port: int, upstream: int) -> Path:
    """The configuration and what it names; its path."""
    pack = folder / "signatures" / "demo"
    pack.mkdir(parents=True)
    (pack / "pack.yaml").write_text(PACK)
    (pack / "projects.csv").write_text(PROJECTS)
    (folder / "policy.yaml").write_text(POLICY)
    config = folder / "inspector.yaml"
    config.write_text(
        "listeners:\n"
        f'  - {{mode: reverse, address: "127.0.0.1:{port}", upstream: "127.0.0.1:{upstream}"}}\n'
        "policy: policy.yaml\nsignatures: signatures\narchive: full\n"
        f'metrics: "127.0.0.1:{free_port()}"\n'
    )
    return config


def command(*arguments: str) -> list[str]:
    """`inspector` with the Python that runs this."""
    program = "import sys; from inspector.app.cli import main; sys.exit(main())"
    return [sys.executable, "-c", program, *arguments]


async def listening(port: int, gateway: subprocess.Popen[bytes]) -> None:
    """Returns when the gateway takes connections. Raises RuntimeError when it has ended instead."""
    while gateway.poll() is None:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.05)
            continue
        writer.close()
        return
    raise RuntimeError(f"the gateway ended with exit code {gateway.returncode}")


def text(line: str) -> str:
    """What a person reads of a PRIVMSG, NOTICE or FAIL line."""
    return line.partition(" :")[2]


async def talk(port: int, config: Path) -> list[dict[str, str]]:
    """Alice says five things to Bob; what each of them saw of each."""
    alice, bob = await Person.join("alice", port), await Person.join("bob", port)
    seen = []
    for title, said in SAID:
        alice.send(f"PRIVMSG bob :{said}")
        heard: dict[str, str] = {"title": title, "alice says": said}
        if "refused" in title:
            heard["alice reads"] = text(await alice.line("NOTICE", "FAIL"))
            heard["bob reads"] = "(nothing)"
        elif "waits" in title:
            heard["alice reads"] = text(await alice.line("NOTICE", "FAIL"))
            reference = heard["alice reads"].rpartition("eference ")[2].rstrip(".")
            heard["a reviewer"] = f"inspector quarantine release {reference}"
            await asyncio.to_thread(
                subprocess.run, command("quarantine", "release", reference, "-c", str(config)), capture_output=True,
                check=True)
            heard["bob reads"] = text(await bob.line("PRIVMSG"))
        else:
            heard["bob reads"] = text(await bob.line("PRIVMSG"))
        seen.append(heard)
    for person in (alice, bob):
        person.send("QUIT :done")
        person.writer.close()
    return seen


def logged(config: Path) -> list[dict[str, Any]]:
    """The verdict events of the log with the texts of their messages, first to last."""
    told = subprocess.run(command("events", "-c", str(config), "--format", "jsonl"), capture_output=True, check=True)
    events = [json.loads(line) for line in told.stdout.decode().splitlines()]
    texts = {event["id"]: event.get("text") for event in events if event["event"] == "message"}
    # The log sees each message twice: on alice's leg (up) and, unless it was refused, on bob's (down).
    return [
        {**event, "text": texts.get(event["message"])}
        for event in events if event["event"] == "verdict" and event["way"] == "up"
    ]


async def run(folder: Path) -> tuple[list[dict[str, str]], list[dict[str, Any]]]:
    """The conversation through a gateway in `folder`: what was seen, what was logged."""
    loop = asyncio.get_running_loop()
    people: dict[str, Server] = {}
    server = await loop.create_server(lambda: Server(people), "127.0.0.1", 0)
    port = free_port()
    config = write_files(folder, port, server.sockets[0].getsockname()[1])
    with (folder / "gateway.log").open("wb") as log:
        gateway = subprocess.Popen(command("run", "-c", str(config)), stdout=log, stderr=log, env=os.environ)
    try:
        async with asyncio.timeout(PATIENCE):
            await listening(port, gateway)
            seen = await talk(port, config)
    finally:
        gateway.terminate()
        try:
            await asyncio.to_thread(gateway.wait, 10)
        except subprocess.TimeoutExpired:
            gateway.kill()
            gateway.wait()
        server.close()
    return seen, logged(config)


def show(seen: list[dict[str, str]], events: list[dict[str, Any]]) -> str:
    """What was said, what was read, and what the log says of it."""
    lines = []
    for heard, event in zip(seen, events, strict=True):
        lines.append(f"{heard['title']}:")
        waited = "a reviewer" in heard
        order = ("alice says", "alice reads", "a reviewer", "bob reads") if waited else (
            "alice says", "bob reads", "alice reads")
        for who in order:
            if who in heard:
                lines.append(f"  {who:12} {heard[who]}")
        rule = f", rule {event['rule']!r}" if event["rule"] else ""
        told = f", reference {event['reference']}" if event["reference"] else ""
        lines.append(f"  {'the log':12} {event['action']}{rule}{told}")
        lines.append(f"  {'':12} from {event['sender']} to {', '.join(event['recipients'])} over {event['protocol']}")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """The demo; 0 when everything went as told."""
    folder = Path(tempfile.mkdtemp(prefix="inspector-demo-"))
    print("Two people on an IRC server, the gateway between them.\n", flush=True)
    try:
        seen, events = asyncio.run(run(folder))
    except (OSError, RuntimeError, TimeoutError, subprocess.CalledProcessError) as error:
        print(f"The demo could not be played: {error or 'it took too long'}.", file=sys.stderr)
        log = folder / "gateway.log"
        if log.exists():
            print(log.read_text(errors="replace")[-2000:], file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(show(seen, events), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
