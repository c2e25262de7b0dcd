"""HTTP uploads (XEP-0363) between two slixmpp clients over a real Prosody, the HTTP leg through the gateway as well."""

from __future__ import annotations

import asyncio
import http.client
import io
import itertools
import shutil
import socket
import ssl
import struct
import threading
import zipfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from xml.sax.saxutils import quoteattr

import pytest

from tests.live.peers import ROOT, Child, GatewayChild, Servers, need, now

pytest.importorskip("slixmpp", reason="slixmpp is not installed (make test installs it)")

from tests.live.test_xmpp_live import Client, online
from tests.ports import free_port

pytestmark = pytest.mark.live

POLICY = {
    "enforce": True,
    "files": [{"when": {"file.name": "stream*"}, "mode": "stream"}, {"when": {"file.name": "*"}, "mode": "spool"}],
    "rules": [
        {"name": "virus", "when": {"event": "file", "finding.rule": "core.eicar"}, "then": "block",
         "notify": "This is a virus, reference {reference}."},
        {"name": "name", "when": {"event": "file", "file.name": "*.scr"}, "then": "block",
         "notify": "Not by that name, reference {reference}."},
    ],
}
UPLOAD = "urn:xmpp:http:upload:0"
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
"""In two halves: nothing may take this file for one."""


def zipped(name: str, content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()


VIRUSES = {
    "virus.txt": EICAR,
    "zip in zip.zip": zipped("inner.zip", zipped("virus.txt", EICAR)),
    "holiday.jpg": zipped("virus.com", EICAR),
}
GARDEN = b"".join(b"row %d: carrots, onions, carrots\n" % row for row in range(9000))
HARMLESS = {"notes é.txt": b"nothing to see here\n", "garden.csv": GARDEN, "garden.zip": zipped("garden.csv", GARDEN)}


class UploadProsody:
    """Prosody with an upload component whose slots lead to `external`, with plain HTTP and HTTPS ports."""

    def __init__(self, folder: Path, servers: Servers, external: str) -> None:
        need("prosody")
        self.port, self.http, self.https = free_port(), free_port(), free_port()
        crt, key = servers.certificate("localhost")
        for user in ("alice", "bob"):
            account = folder / "data" / "localhost" / "accounts" / f"{user}.dat"
            account.parent.mkdir(parents=True, exist_ok=True)
            account.write_text('return {\n\t["password"] = "secret";\n};\n')
        external = external.replace("HTTPS", str(self.https)).replace("HTTP", str(self.http))
        config = folder / "prosody.cfg.lua"
        config.write_text(f"""
daemonize = false
run_as_root = true
pidfile = "{folder}/prosody.pid"; data_path = "{folder}/data"; log = {{ info = "{folder}/prosody.log" }}
interfaces = {{ "127.0.0.1" }}
plugin_paths = {{ "/usr/lib/prosody/modules" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "posix"; "smacks" }}
modules_disabled = {{ "s2s" }}
authentication = "internal_plain"
c2s_require_encryption = false; allow_unencrypted_plain_auth = true
c2s_ports = {{ {self.port} }}; c2s_direct_tls_ports = {{ }}; legacy_ssl_ports = {{ }}; s2s_ports = {{}}
http_ports = {{ {self.http} }}; https_ports = {{ {self.https} }}
http_interfaces = {{ "127.0.0.1" }}; https_interfaces = {{ "127.0.0.1" }}
https_ssl = {{ key = "{key}"; certificate = "{crt}" }}
ssl = {{ key = "{key}"; certificate = "{crt}" }}
limits = {{ }}; http_default_host = "upload.localhost"
VirtualHost "localhost"
Component "upload.localhost" "http_file_share"
  http_external_url = "{external}"; http_file_share_size_limit = 10485760
""")
        self.child = Child("prosody", ["prosody", "--config", str(config)], folder)
        try:
            for port in (self.port, self.http, self.https):
                self.child.wait_port("127.0.0.1", port)
        except BaseException:
            self.child.stop()
            raise


@dataclass
class Site:
    """A gateway before a Prosody; `route` is how the HTTP leg reaches the gateway."""

    route: str
    prosody: UploadProsody
    gateway: GatewayChild
    xmpp: int
    socks: int

    def open(self, url: str, past: bool = False) -> socket.socket:
        """A connection to the host of `url`, through the gateway, or (`past`) straight to Prosody."""
        parts = urlsplit(url)
        assert parts.hostname
        assert parts.port
        if past:
            return socket.create_connection(("127.0.0.1", self.prosody.http), 15)
        if self.route == "reverse":
            return socket.create_connection((parts.hostname, parts.port), 15)
        sock = socket.create_connection(("127.0.0.1", self.socks), 15)
        name = parts.hostname.encode()
        sock.sendall(b"\5\1\0")
        assert sock.recv(2) == b"\5\0"
        sock.sendall(b"\5\1\0\3" + bytes([len(name)]) + name + struct.pack(">H", parts.port))
        answer = sock.recv(10)
        assert answer[:2] == b"\5\0", answer
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(self.gateway.authority))
            sock = context.wrap_socket(sock, server_hostname=parts.hostname)
        return sock

    def ask(
        self, method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None,
        past: bool = False,
    ) -> tuple[int, bytes]:
        """One request on a connection of its own: (status, body)."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        connection.sock = self.open(url, past)
        try:
            connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module", params=["socks5", "reverse", "unnamed", "https"])
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Site]:
    """HTTP by the SOCKS listener, by a second reverse listener to which Prosody's slots lead (also by one that is not
    said to be for uploads: the slot says it), or HTTPS by SOCKS."""
    folder = tmp_path_factory.mktemp(f"upload_{request.param}")
    xmpp, socks, second = free_port(), free_port(), free_port()
    external = {
        "socks5": "http://127.0.0.1:HTTP/", "reverse": f"http://127.0.0.1:{second}/",
        "unnamed": f"http://127.0.0.1:{second}/",
        "https": "https://localhost:HTTPS/",
    }[request.param]
    prosody = UploadProsody(folder, servers, external)
    try:
        listeners: list[dict[str, Any]] = [
            {"mode": "reverse", "address": f"127.0.0.1:{xmpp}", "upstream": f"127.0.0.1:{prosody.port}"},
            {"mode": "socks5", "address": f"127.0.0.1:{socks}", "destinations": {"allow": ["127.0.0.0/8", "::1"]}},
            {"mode": "reverse", "address": f"127.0.0.1:{second}", "upstream": f"127.0.0.1:{prosody.http}",
             "protocols": [] if request.param == "unnamed" else ["http_upload"]},
        ]
        shutil.copytree(ROOT / "signatures" / "core", folder / "gateway" / "signatures" / "core")
        gateway = GatewayChild(
            folder / "gateway", listeners, policy=POLICY, tls={"upstream_ca": str(servers.ca_file)})
        try:
            yield Site("reverse" if request.param == "unnamed" else request.param, prosody, gateway, xmpp, socks)
        finally:
            code = gateway.stop()
        assert code == 0, gateway.child.text()
    finally:
        prosody.child.stop()


@dataclass
class Slot:
    """Where a file goes, with the headers that let it in, and where it can be had."""

    put: str
    headers: dict[str, str]
    get: str


_numbers = itertools.count(1)


async def ask_slot(client: Client, name: str, size: int, kind: str = "application/octet-stream") -> Slot:
    """A slot of the upload component. (slixmpp's own plugin needs aiohttp; the stanzas are short.)"""
    ident = f"slot{next(_numbers)}"
    client.send_raw(
        f"<iq type='get' to='upload.localhost' id='{ident}'><request xmlns='{UPLOAD}' filename={quoteattr(name)} "
        f"size='{size}' content-type='{kind}'/></iq>")
    answer = await client.wait(lambda stanza: stanza.get("id") == ident and stanza.get("type") in ("result", "error"))
    slot = answer.find(f"{{{UPLOAD}}}slot")
    if slot is None:
        raise Refused("".join(element.tag for element in answer.iter()))
    put, get = slot.find(f"{{{UPLOAD}}}put"), slot.find(f"{{{UPLOAD}}}get")
    assert put is not None
    assert get is not None
    headers = {header.get("name", ""): header.text or "" for header in put}
    return Slot(put.get("url", ""), headers, get.get("url", ""))


class Refused(Exception):
    """A slot was refused: the tags of the answer."""


@pytest.mark.parametrize("mode", ["spool", "stream"])
def test_harmless_files_arrive_byte_identical(site: Site, mode: str) -> None:
    """Uploaded by one, announced in a message, downloaded by the other: the same bytes, and rows that tell so."""
    before = now()

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "plain", site.xmpp, site.gateway.authority))
            bob = await stack.enter_async_context(online("bob", "plain", site.xmpp, site.gateway.authority))
            for name, content in HARMLESS.items():
                name = name if mode == "spool" else f"stream {name}"
                slot = await ask_slot(alice, name, len(content))
                status, _ = await asyncio.to_thread(site.ask, "PUT", slot.put, content, slot.headers)
                assert status == 201
                alice.send_raw(
                    f"<message to='bob@localhost' type='chat'><body>{slot.get}</body><x xmlns='jabber:x:oob'>"
                    f"<url>{slot.get}</url></x></message>")
                assert await bob.body() == slot.get
                assert await asyncio.to_thread(site.ask, "GET", slot.get) == (200, content)

    asyncio.run(scenario())
    for name, content in HARMLESS.items():
        name = name if mode == "spool" else f"stream {name}"
        for way in ("up", "down"):
            row = site.gateway.wait_row(
                "file", after=before, state="transferred", way=way, name=name, protocol="xmpp", mode=mode)
            assert (row["size"], row["complete"]) == (len(content), True)
            assert row["sender"].startswith("alice@localhost")


@pytest.mark.parametrize("mode", ["spool", "stream"])
@pytest.mark.parametrize("name", list(VIRUSES))
def test_a_virus_is_refused_on_its_way_up(site: Site, name: str, mode: str) -> None:
    """403 with the reference, nothing at the server, and the writer is told in his conversation."""
    content = VIRUSES[name]
    name = name if mode == "spool" else f"stream {name}"

    async def scenario() -> str:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "plain", site.xmpp, site.gateway.authority))
            slot = await ask_slot(alice, name, len(content))
            status, text = await asyncio.to_thread(site.ask, "PUT", slot.put, content, slot.headers)
            assert status == 403
            status, _ = await asyncio.to_thread(site.ask, "GET", slot.get, past=True)
            assert status in (404, 410)
            notice = await alice.wait(lambda stanza: stanza.get("type") == "headline")
            reference = text.decode().partition("eference ")[2][:9]
            assert reference in "".join(notice.itertext())
            return reference

    reference = asyncio.run(scenario())
    row = site.gateway.wait_row("verdict", reference=reference)
    assert (row["did"], row["rule"], row["protocol"]) == ("block", "virus", "xmpp")


@pytest.mark.parametrize("mode", ["spool", "stream"])
def test_a_virus_is_refused_on_its_way_down(site: Site, mode: str) -> None:
    """What got to the server past the gateway does not get from there to a reader behind it."""
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "plain", site.xmpp, site.gateway.authority))
            for name, content in VIRUSES.items():
                name = name if mode == "spool" else f"stream {name}"
                slot = await ask_slot(alice, name, len(content))
                assert (await asyncio.to_thread(site.ask, "PUT", slot.put, content, slot.headers, past=True))[0] == 201
                status, text = await asyncio.to_thread(site.ask, "GET", slot.get)
                assert status == 403
                assert text.startswith(b"This is a virus, reference ")
                assert (await asyncio.to_thread(site.ask, "GET", slot.get, past=True)) == (200, content)

    asyncio.run(scenario())


def test_a_slot_is_refused_by_the_name_asked_for(site: Site) -> None:
    """The request for a slot is answered with an error; there is nothing to upload to."""
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "plain", site.xmpp, site.gateway.authority))
            with pytest.raises(Refused, match="not-allowed"):
                await ask_slot(alice, "saver.scr", 100)

    asyncio.run(scenario())


def test_a_client_that_waits_for_100_continue(site: Site) -> None:
    """While its file is held the gateway answers; two files on one connection, then a download, in order."""
    async def scenario() -> tuple[Slot, Slot]:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "plain", site.xmpp, site.gateway.authority))
            return await ask_slot(alice, "one.txt", 3), await ask_slot(alice, "two.txt", 3)

    slots = asyncio.run(scenario())
    with site.open(slots[0].put) as sock:
        answers = sock.makefile("rb")
        for slot, content in zip(slots, (b"one", b"two"), strict=True):
            parts = urlsplit(slot.put)
            fields = {"Host": parts.netloc, "Content-Length": "3", "Expect": "100-continue", **slot.headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            sock.sendall(f"PUT {target} HTTP/1.1\r\n{head}\r\n".encode())
            assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert answers.readline() == b"\r\n"
            sock.sendall(content)
            assert answers.readline().startswith(b"HTTP/1.1 201 ")
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.partition(b":")[2])
            answers.read(length)
        for slot, content in zip(slots, (b"one", b"two"), strict=True):
            parts = urlsplit(slot.get)
            sock.sendall(f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n".encode())
            assert answers.readline().startswith(b"HTTP/1.1 200 ")
            while answers.readline() != b"\r\n":
                pass
            assert answers.read(3) == content


SLOW = """
import asyncio
from inspector.drivers import mitm_io
once = mitm_io.Link._open
async def slow(self, command):
    await asyncio.sleep(0.5)
    await once(self, command)
mitm_io.Link._open = slow
"""
"""Makes the gateway slow to reach its servers."""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_what_comes_before_the_server_is_reached_is_sent_once(tmp_path: Path, loop: str) -> None:
    """A client that sends at once, faster than the gateway connects: its bytes reach the server once, all of them, and
    little of them is in memory meanwhile."""
    body = b"z" * (16 << 20)
    head = b"PUT /file HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    port = free_port()
    with socket.create_server(("127.0.0.1", 0)) as server:
        upstream = server.getsockname()[1]
        gateway = GatewayChild(
            tmp_path, [{"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{upstream}",
                        "protocols": ["http_upload"]}],
            policy={"files": [{"when": {"direction": "internal"}, "mode": "pass"}], "rules": []}, loop=loop, patch=SLOW)
        try:
            with socket.create_connection(("127.0.0.1", port), 15) as client:
                before = gateway.child.resident()
                sending = threading.Thread(target=client.sendall, args=(head + body,))
                sending.start()
                server.settimeout(15)
                peer = server.accept()[0]
                assert gateway.child.resident() - before < 4 << 20
                with peer:
                    peer.settimeout(15)
                    got = bytearray()
                    while len(got) < len(head) + len(body):
                        data = peer.recv(1 << 20)
                        assert data
                        got += data
                    assert got == head + body
                    peer.sendall(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
                    client.settimeout(15)
                    assert client.recv(100).startswith(b"HTTP/1.1 201 ")
                    client.shutdown(socket.SHUT_WR)
                    assert peer.recv(100) == b""
                sending.join(15)
        finally:
            gateway.stop()
