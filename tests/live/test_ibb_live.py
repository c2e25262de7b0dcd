"""Files in band (XEP-0047), offered by SI, between two slixmpp clients over a real Prosody, through the gateway."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import shutil
import socket
import struct
import threading
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.live.peers import ROOT, GatewayChild, Prosody, Servers, now
from tests.live.test_xmpp_live import BODY, Client, online, slixmpp
from tests.ports import free_port

pytestmark = pytest.mark.live

POLICY = {
    "enforce": True,
    "files": [{"when": {"file.name": "stream*"}, "mode": "stream"}, {"when": {"file.name": "*"}, "mode": "spool"}],
    "rules": [
        {"name": "virus", "when": {"event": "file", "finding.rule": "core.eicar"}, "then": "block",
         "notify": "This is a virus, reference {reference}."},
        {"name": "name", "when": {"event": "file", "file.name": "*.scr"}, "then": "block"},
        {"name": "waits", "when": {"file.state": "transferred", "file.name": "hold *"}, "then": "hold"},
    ],
}
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""In two halves: nothing may take this file for one."""


def zipped(name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


IBB, SI = "http://jabber.org/protocol/ibb", "http://jabber.org/protocol/si"
FORM = (
    "<feature xmlns='http://jabber.org/protocol/feature-neg'><x xmlns='jabber:x:data' type='{}'>"
    f"<field var='stream-method'>{{}}<value>{IBB}</value>{{}}</field></x></feature>"
)
ROWS = b"".join(b"row %d: carrots, onions, carrots\n" % row for row in range(9000))
HARMLESS = {"notes.txt": b"nothing to see here\n", "garden.csv": ROWS, "garden.zip": zipped("garden.csv", ROWS)}
VIRUSES = {
    "virus.txt": EICAR,
    "nested.zip": zipped("inner.zip", zipped("virus.txt", EICAR)),
    "holiday.jpg": zipped("virus.com", EICAR),
    "long.zip": zipped("virus.txt", b" " * 200_000 + EICAR, zipfile.ZIP_STORED),
}


class Tunnel:
    """A port of 127.0.0.1 whose connections go to `target` by a SOCKS5 listener; ended with the `with` block."""

    def __init__(self, socks: int, target: int) -> None:
        self.socks, self.target = socks, target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._sockets = [self._listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
        for sock in self._sockets:
            sock.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.socks), 10)
                self._sockets += [client, server]
                server.sendall(b"\5\1\0")
                assert server.recv(2) == b"\5\0"
                server.sendall(b"\5\1\0\3\x09localhost" + struct.pack(">H", self.target))
                assert server.recv(10)[:2] == b"\5\0"
            except OSError:
                return
            server.settimeout(None)
            for source, sink in ((client, server), (server, client)):
                self._threads.append(threading.Thread(target=_relay, args=(source, sink)))
                self._threads[-1].start()


def _relay(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


@dataclass
class Site:
    """A gateway before Prosody: how its clients reach it."""

    gateway: GatewayChild
    reverse: int
    tunnel: int

    def way_in(self, route: str) -> tuple[str, int]:
        """(how a client of `test_xmpp_live` signs on, its port)."""
        return "starttls" if route == "starttls" else "plain", self.tunnel if route == "socks5" else self.reverse


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody, servers: Servers) -> Iterator[Site]:
    """One gateway with a reverse and a SOCKS5 listener."""
    folder = tmp_path_factory.mktemp("ibb")
    reverse, socks = free_port(), free_port()
    listeners: list[dict[str, Any]] = [
        {"mode": "reverse", "address": f"127.0.0.1:{reverse}", "upstream": f"localhost:{prosody.port}"},
        {"mode": "socks5", "address": f"127.0.0.1:{socks}", "destinations": {"allow": ["127.0.0.0/8", "::1"]}},
    ]
    shutil.copytree(ROOT / "signatures" / "core", folder / "signatures" / "core")
    gateway = GatewayChild(folder, listeners, policy=POLICY, tls={"upstream_ca": str(servers.ca_file)})
    with Tunnel(socks, prosody.port) as tunnel:
        yield Site(gateway, reverse, tunnel.port)
    assert gateway.stop() == 0, gateway.child.text()


@dataclass
class Reader:
    """What a client was sent in band, and when its streams ended."""

    client: Client
    content: bytes = b""
    offered: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.client.register_plugin("xep_0047", {"auto_accept": True})
        self.client.register_handler(slixmpp.xmlstream.handler.Callback(
            "offers", slixmpp.xmlstream.matcher.MatchXPath(f"{{jabber:client}}iq/{{{SI}}}si"), self._offer))
        self.client.add_event_handler("ibb_stream_start", lambda _: self.opened.set())
        self.client.add_event_handler("ibb_stream_data", self._data)
        self.client.add_event_handler("ibb_stream_end", lambda _: self.ended.set())

    def _offer(self, request: Any) -> None:
        """Accept what is offered. (slixmpp's own plugin for SI never runs its handler; the stanzas are short.)"""
        if request["type"] == "set":
            self.offered.set()
            form = FORM.format("submit", "", "")
            self.client.send_raw(f"<iq type='result' id='{request['id']}' to='{request['from']}'><si xmlns='{SI}'>"
                                 f"{form}</si></iq>")

    def _data(self, stream: Any) -> None:
        self.content += stream.recv_queue.get_nowait()


@asynccontextmanager
async def pair(site: Site, route: str) -> AsyncIterator[tuple[Client, Reader]]:
    """alice, who sends, and bob, who takes what is offered to him."""
    mode, port = site.way_in(route)
    async with AsyncExitStack() as stack:
        alice = await stack.enter_async_context(online("alice", mode, port, site.gateway.authority))
        bob = await stack.enter_async_context(online("bob", mode, port, site.gateway.authority))
        alice.register_plugin("xep_0047")
        yield alice, Reader(bob)


_numbers = itertools.count(1)


async def send(alice: Client, bob: Reader, name: str, content: bytes, *, by_messages: bool = False) -> str | None:
    """Offer a file and send it; the condition of the error that ended it, None: the receiver took it to its end."""
    sid, to = f"s{next(_numbers)}", bob.client.boundjid
    try:
        offer = alice.make_iq_set(ito=to)
        offer.append(ElementTree.fromstring(
            f"<si xmlns='{SI}' id='{sid}' profile='{SI}/profile/file-transfer'>"
            f"<file xmlns='{SI}/profile/file-transfer' name='{name}' size='{len(content)}'/>"
            + FORM.format("form", "<option>", "</option>") + "</si>"))
        await offer.send(timeout=15)
        stream = await alice.plugin["xep_0047"].open_stream(
            to, sid=sid, block_size=4096, use_messages=by_messages, timeout=15)
        await stream.sendall(content, timeout=15)
        answer = await stream.close(timeout=30)
    except slixmpp.exceptions.IqError as error:
        return str(error.iq["error"]["condition"])
    return str(answer["error"]["condition"]) if answer["type"] == "error" else None


async def chat(alice: Client, bob: Reader) -> None:
    """Words still pass, both ways."""
    for one, two in ((alice, bob.client), (bob.client, alice)):
        words = f"still here {next(_numbers)}"
        one.send_raw(f"<message to='{two.boundjid.full}' type='chat'><body>{words}</body></message>")
        await two.wait(lambda stanza, words=words: stanza.findtext(BODY) == words)  # type: ignore[misc]


ROUTES = ["reverse", "socks5", "starttls"]


@pytest.mark.parametrize("mode", ["spool", "stream"])
@pytest.mark.parametrize("route", ROUTES)
def test_harmless_files_arrive_byte_identical(site: Site, route: str, mode: str) -> None:
    """Offered, opened, sent, closed: the same bytes, answered as if nobody stood between; rows on both legs say so."""
    before = now()

    async def scenario() -> None:
        async with pair(site, route) as (alice, bob):
            for name, content in HARMLESS.items():
                for by_messages in (False, True):
                    bob.content = b""
                    bob.ended.clear()
                    assert await send(alice, bob, f"{mode} {name}", content, by_messages=by_messages) is None
                    async with asyncio.timeout(15):
                        await bob.ended.wait()
                    assert bob.content == content
            await chat(alice, bob)

    asyncio.run(scenario())
    for name, content in HARMLESS.items():
        for way in ("up", "down"):
            row = site.gateway.wait_row(
                "file", after=before, state="transferred", way=way, name=f"{mode} {name}", protocol="xmpp", mode=mode)
            assert (row["size"], row["complete"], row["method"]) == (len(content), True, "si")
            assert row["sender"].startswith("alice@localhost")


@pytest.mark.parametrize("mode", ["spool", "stream"])
@pytest.mark.parametrize("route", ROUTES)
def test_viruses_are_refused_and_the_session_goes_on(site: Site, route: str, mode: str) -> None:
    """Plain, in a zip in a zip, in an archive with another name, at the end of a long one: the sender's close gets an
    error, both are told by a reference or a close, the receiver never has the file; then both go on talking."""
    told: list[tuple[str, str]] = []
    before = now()

    async def scenario() -> None:
        async with pair(site, route) as (alice, bob):
            for name, content in VIRUSES.items():
                bob.content = b""
                bob.ended.clear()
                assert await send(alice, bob, f"{mode} {name}", content) == "not-acceptable"
                notice = await alice.wait(lambda stanza: stanza.get("type") == "headline")
                told.append((name, notice.findtext(BODY) or ""))
                async with asyncio.timeout(15):
                    await bob.ended.wait()
                assert EICAR not in bob.content
                # Of a stream all but a tail of 64 KiB may have left, base64 and tags included.
                assert len(bob.content) <= (0 if mode == "spool" else max(0, len(content) - 45_000))
            await chat(alice, bob)

    asyncio.run(scenario())
    for name, text in told:
        reference = text.partition("eference ")[2][:9]
        row = site.gateway.wait_row("verdict", after=before, reference=reference)
        assert (row["rule"], row["did"], row["protocol"]) == ("virus", "block", "xmpp")
        row = site.gateway.wait_row(
            "file", after=before, state="transferred", way="up", name=f"{mode} {name}", mode=mode)
        assert row["complete"] is True


def test_a_held_file_passes_when_it_is_sent_again_after_its_release(site: Site) -> None:
    """Its sender reads that it waits; a reviewer has the very bytes; after his word the same file goes through, on both
    legs, and another one of that name waits."""
    before = now()
    content = HARMLESS["garden.csv"]

    async def scenario() -> None:
        async with pair(site, "reverse") as (alice, bob):
            assert await send(alice, bob, "hold garden.csv", content) == "not-acceptable"
            notice = await alice.wait(lambda stanza: stanza.get("type") == "headline")
            row = await asyncio.to_thread(
                site.gateway.wait_row, "verdict", after=before, did="hold", rule="waits", about="file")
            assert f"waits for review. Reference {row['reference']}" in (notice.findtext(BODY) or "")
            assert bob.content == b""
            out = site.gateway.folder / "garden.csv"
            for words in (("export", row["held"], str(out)), ("release", row["reference"])):
                done = await asyncio.to_thread(site.gateway.inspector, "quarantine", *words)
                assert done.returncode == 0, done.stderr
            assert out.read_bytes() == content
            bob.ended.clear()
            assert await send(alice, bob, "hold garden.csv", content) is None
            async with asyncio.timeout(15):
                await bob.ended.wait()
            assert bob.content == content
            await asyncio.to_thread(site.gateway.wait_row, "review", after=before, hold=row["held"], step="delivered")
            assert await send(alice, bob, "hold garden.csv", content + b"more") == "not-acceptable"
            await chat(alice, bob)

    asyncio.run(scenario())


def test_a_file_that_comes_from_outside(site: Site, prosody: Prosody, servers: Servers) -> None:
    """The sender is past the gateway: his file is held on its way to our user, who reads why it did not arrive."""
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            carol = await stack.enter_async_context(online("carol", "plain", prosody.port, servers.ca_file))
            bob = Reader(await stack.enter_async_context(online("bob", "plain", site.reverse, site.gateway.authority)))
            carol.register_plugin("xep_0047")
            for mode in ("spool", "stream"):
                assert await send(carol, bob, f"{mode} notes.txt", HARMLESS["notes.txt"]) is None
                assert bob.content == HARMLESS["notes.txt"]
                bob.content = b""
                assert await send(carol, bob, f"{mode} nested.zip", VIRUSES["nested.zip"]) == "not-acceptable"
                notice = await bob.client.wait(lambda stanza: stanza.get("type") == "headline")
                assert "This is a virus" in (notice.findtext(BODY) or "")
                assert bob.content == b""
            await chat(carol, bob)

    asyncio.run(scenario())


def test_a_refused_name_is_refused_before_anything_is_sent(site: Site) -> None:
    """The offer gets forbidden, and its stream is not opened either, whoever tries."""
    async def scenario() -> None:
        async with pair(site, "reverse") as (alice, bob):
            assert await send(alice, bob, "saver.scr", b"whatever") == "forbidden"
            assert not bob.offered.is_set()
            with pytest.raises(slixmpp.exceptions.IqError) as refused:
                await alice.plugin["xep_0047"].open_stream(
                    bob.client.boundjid, sid=f"s{next(_numbers) - 1}", timeout=15)
            assert refused.value.iq["error"]["condition"] == "not-acceptable"
            assert not bob.opened.is_set()
            await chat(alice, bob)

    asyncio.run(scenario())
