"""Harmless messages through a running gateway with the default policy and the project's packs, and real servers."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
import yaml

from tests.harmless import MESSAGES
from tests.live.peers import ROOT, GatewayChild, Ngircd, Prosody, Servers
from tests.live.test_xmpp_live import BODY, online
from tests.ports import free_port

pytestmark = pytest.mark.live

CLIENTS = 20
EACH = 10


class Gateway(GatewayChild):
    """A gateway in front of Prosody and ngircd with what the project ships."""

    def __init__(self, folder: Path, ngircd: Ngircd, prosody: Prosody, servers: Servers) -> None:
        self.xmpp, self.irc = free_port(), free_port()
        super().__init__(
            folder,
            [{"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"localhost:{upstream}"}
             for port, upstream in ((self.xmpp, prosody.port), (self.irc, ngircd.port))],
            policy=yaml.safe_load((ROOT / "rules" / "policy.yaml").read_text(encoding="utf-8")),
            signatures=str(ROOT / "signatures"), tls={"upstream_ca": str(servers.ca_file)})

    def judged(self, protocol: str) -> int:
        """Messages of a protocol that the running gateway has judged, from its metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = re.search(rf'^inspector_messages_total{{protocol="{protocol}"}} (\d+)', text, re.MULTILINE)
        assert found, text
        return int(found[1])


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, ngircd: Ngircd, prosody: Prosody, servers: Servers,
) -> Iterator[Gateway]:
    """The gateway of this file."""
    child = Gateway(tmp_path_factory.mktemp("harmless_gateway"), ngircd, prosody, servers)
    yield child
    assert child.stop() == 0, child.child.text()


def test_over_xmpp(gateway: Gateway) -> None:
    """All 2,000, one after the other, both legs through the gateway: the receiver has each text to the byte and in
    order, the writer no error and no notice, the log no verdict."""
    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "starttls", gateway.xmpp, gateway.authority))
            bob = await stack.enter_async_context(online("bob", "starttls", gateway.xmpp, gateway.authority))
            for number, (_, text) in enumerate(MESSAGES):
                alice.send_raw(f"<message to='{bob.boundjid.full}' type='chat' id='h{number}'>"
                               f"<body>{escape(text)}</body></message>")
                if number % 50 == 49:  # a window, so that neither side has to keep all of it
                    for _, wanted in MESSAGES[number - 49:number + 1]:
                        assert (await bob.message()).findtext(BODY) == wanted
            bob.send_raw(f"<message to='{alice.boundjid.full}' type='chat'><body>thanks</body></message>")
            assert (await alice.message()).findtext(BODY) == "thanks"

    asyncio.run(scenario())
    assert gateway.rows("verdict") == []
    assert gateway.judged("xmpp") >= 2 * len(MESSAGES)


def test_over_irc(gateway: Gateway) -> None:
    """200 by 20 clients at the speed that ngircd takes: each arrives to the byte at its reader, nobody is told
    anything, the log has no verdict."""
    lines = [text for _, text in MESSAGES if "\n" not in text]
    chosen = lines[::len(lines) // (CLIENTS * EACH)][:CLIENTS * EACH]
    assert len(chosen) == CLIENTS * EACH

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.irc)
        nick = f"calm{number}"
        try:
            writer.write(f"NICK {nick}\r\nUSER {nick} 0 * :{nick}\r\n".encode())
            while b" 376 " not in await reader.readline():
                pass
            own = chosen[number * EACH:(number + 1) * EACH]
            for text in own:
                writer.write(f"PRIVMSG {nick} :{text}\r\n".encode())
            for text in own:
                line = await reader.readline()
                while line.startswith(b"PING"):
                    line = await reader.readline()
                assert line.split(b" ", 1)[1] == f"PRIVMSG {nick} :{text}\r\n".encode()
        finally:
            writer.close()
            await writer.wait_closed()

    async def scenario() -> None:
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            for number in range(CLIENTS):
                group.create_task(client(number))

    started = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - started < 40
    assert gateway.rows("verdict") == []
    assert gateway.judged("irc") >= 2 * len(chosen)
