"""SOCKS5 bytestreams (XEP-0065) between two slixmpp clients over a real Prosody: the address in the offer leads through
the gateway, by a leased port or because the reader connects by it anyway."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.live.peers import ROOT, GatewayChild, Prosody, Servers, now
from tests.live.test_ibb_live import FORM, HARMLESS, IBB, POLICY, SI, VIRUSES
from tests.live.test_xmpp_live import BODY, Client, online
from tests.ports import free_port, free_ports

pytestmark = pytest.mark.live

BYTESTREAMS = "http://jabber.org/protocol/bytestreams"
LEASES = 20


@dataclass
class Site:
    """A gateway before Prosody."""

    gateway: GatewayChild
    reverse: int
    plain: int
    socks: int
    leased: range


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody, servers: Servers) -> Iterator[Site]:
    """A reverse listener that leases ports, one that does not, and a SOCKS5 listener."""
    folder = tmp_path_factory.mktemp("s5b")
    reverse, plain, socks = free_port(), free_port(), free_port()
    leased = free_ports(LEASES)
    upstream = f"localhost:{prosody.port}"
    listeners: list[dict[str, Any]] = [
        {"mode": "reverse", "address": f"127.0.0.1:{reverse}", "upstream": upstream,
         "lease_ports": f"{leased[0]}-{leased[-1]}"},
        {"mode": "reverse", "address": f"127.0.0.1:{plain}", "upstream": upstream},
        {"mode": "socks5", "address": f"127.0.0.1:{socks}", "destinations": {"allow": ["127.0.0.0/8", "::1"]}},
    ]
    shutil.copytree(ROOT / "signatures" / "core", folder / "signatures" / "core")
    gateway = GatewayChild(folder, listeners, policy=POLICY, tls={"upstream_ca": str(servers.ca_file)})
    yield Site(gateway, reverse, plain, socks, leased)
    assert gateway.stop() == 0, gateway.child.text()


@dataclass
class Giver:
    """The requester's side: a port of ours where the file is given to who asks by the right name."""

    name: bytes
    content: bytes
    done: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            assert await reader.readexactly(3) == b"\5\1\0"
            writer.write(b"\5\0")
            assert await reader.readexactly(47) == b"\5\1\0\3\x28" + self.name + b"\0\0"
            writer.write(b"\5\0\0\3\x28" + self.name + b"\0\0")
            writer.write(self.content)
            await writer.drain()
            writer.write_eof()
            await reader.read()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            self.done.set()


async def take(host: str, port: int, name: bytes, socks: int | None) -> bytes:
    """The target's side: what is given at an address, to its end; by the SOCKS5 listener where there is one."""
    reader, writer = await asyncio.open_connection("127.0.0.1" if socks else host, socks or port)
    try:
        if socks:
            writer.write(b"\5\1\0")
            assert await reader.readexactly(2) == b"\5\0"
            writer.write(b"\5\1\0\1" + socket.inet_aton(host) + struct.pack(">H", port))
            assert (await reader.readexactly(10))[:2] == b"\5\0"
        writer.write(b"\5\1\0")
        assert await reader.readexactly(2) == b"\5\0"
        writer.write(b"\5\1\0\3\x28" + name + b"\0\0")
        assert await reader.readexactly(47) == b"\5\0\0\3\x28" + name + b"\0\0"
        return await reader.read(-1)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def give(alice: Client, bob: Client, sid: str, name: str, content: bytes, socks: int | None) -> tuple[bytes, int]:
    """Offer a file and give it; (what the other got, the port he was told)."""
    offer = alice.make_iq_set(ito=bob.boundjid)
    offer.append(ElementTree.fromstring(
        f"<si xmlns='{SI}' id='{sid}' profile='{SI}/profile/file-transfer'>"
        f"<file xmlns='{SI}/profile/file-transfer' name='{name}' size='{len(content)}'/>"
        + FORM.format("form", "<option>", "</option>").replace(IBB, BYTESTREAMS) + "</si>"))
    offered = asyncio.ensure_future(offer.send(timeout=15))
    request = await bob.wait(lambda stanza: stanza.find(f"{{{SI}}}si") is not None)
    form = FORM.format("submit", "", "").replace(IBB, BYTESTREAMS)
    bob.send_raw(
        f"<iq type='result' id='{request.get('id')}' to='{request.get('from')}'><si xmlns='{SI}'>{form}</si></iq>")
    await offered
    digest = hashlib.sha1(f"{sid}{alice.boundjid.full}{bob.boundjid.full}".encode()).hexdigest().encode()
    giver = Giver(digest, content)
    server = await asyncio.start_server(giver.serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        query = alice.make_iq_set(ito=bob.boundjid)
        query.append(ElementTree.fromstring(
            f"<query xmlns='{BYTESTREAMS}' sid='{sid}' mode='tcp'><streamhost jid='{alice.boundjid.full}' "
            f"host='127.0.0.1' port='{port}'/></query>"))
        asked = asyncio.ensure_future(query.send(timeout=15))
        request = await bob.wait(lambda stanza: stanza.find(f"{{{BYTESTREAMS}}}query") is not None)
        host = request.find(f"{{{BYTESTREAMS}}}query/{{{BYTESTREAMS}}}streamhost")
        assert host is not None
        told = int(host.get("port", "0"))
        async with asyncio.timeout(20):
            got = await take(host.get("host", ""), told, digest, socks)
        bob.send_raw(f"<iq type='result' id='{request.get('id')}' to='{request.get('from')}'><query "
                     f"xmlns='{BYTESTREAMS}'><streamhost-used jid='{alice.boundjid.full}'/></query></iq>")
        await asked
        async with asyncio.timeout(10):
            await giver.done.wait()
    assert (told == port) is (socks is not None)
    return got, told


@pytest.mark.parametrize("mode", ["spool", "stream"])
@pytest.mark.parametrize("route", ["leased", "socks5"])
def test_files_beside_the_stream(site: Site, route: str, mode: str) -> None:
    """Harmless ones arrive byte-identical, viruses do not; both are told in their conversation, which goes on."""
    before = now()

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            port = site.reverse if route == "leased" else site.plain
            alice = await stack.enter_async_context(online("alice", "plain", port, site.gateway.authority))
            bob = await stack.enter_async_context(online("bob", "plain", port, site.gateway.authority))
            socks = site.socks if route == "socks5" else None
            for number, (name, content) in enumerate(HARMLESS.items()):
                got, told = await give(alice, bob, f"h{number}", f"{mode} {name}", content, socks)
                assert got == content
                assert route == "socks5" or told in site.leased
            for number, (name, content) in enumerate(VIRUSES.items()):
                got, _ = await give(alice, bob, f"v{number}", f"{mode} {name}", content, socks)
                assert VIRUSES["virus.txt"] not in got
                assert len(got) <= (0 if mode == "spool" else max(0, len(content) - 60_000))
                notice = await bob.wait(lambda stanza: stanza.get("type") == "headline")
                assert "This is a virus" in (notice.findtext(BODY) or "")
            alice.send_raw(f"<message to='{bob.boundjid.full}' type='chat'><body>still here</body></message>")
            await bob.wait(lambda stanza: stanza.findtext(BODY) == "still here")

    asyncio.run(scenario())
    for name, content in HARMLESS.items():
        row = site.gateway.wait_row(
            "file", after=before, state="transferred", name=f"{mode} {name}", protocol="xmpp", mode=mode)
        assert (row["size"], row["complete"]) == (len(content), True)
        assert row["sender"].startswith("alice@localhost")


