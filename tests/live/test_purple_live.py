"""libpurple, the library of real clients, through the gateway: IRC with ngircd, XMPP with Prosody, plain and TLS.

purplebot.c is compiled for the test. A relay in front of the gateway cuts what the clients send to one byte a segment.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.dribble import Dribble
from tests.live.peers import Child, GatewayChild, Ngircd, Prosody, Servers
from tests.ports import free_port

pytestmark = pytest.mark.live

CARD = "4111 1111 1111 1111"
STARS = "*" * len(CARD)
POLICY = {
    "rules": [
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact"},
        # purplebot numbers its messages: the second one of a session passes
        {"name": "forbidden", "when": {"event": "message", "text": "forbidden fruit #1"}, "then": "block"},
    ],
}


@pytest.fixture(scope="module")
def purplebot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled client."""
    for program, package in (("gcc", "gcc"), ("pkg-config", "pkg-config")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is missing: install the package {package} (make test does where it may)")
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "purple", "glib-2.0"], capture_output=True, text=True, check=False)
    if flags.returncode != 0:
        pytest.skip("libpurple is missing: install the package libpurple-dev (make test does where it may)")
    made = tmp_path_factory.mktemp("purplebot") / "purplebot"
    source = Path(__file__).with_name("purplebot.c")
    subprocess.run(["gcc", "-w", "-O1", str(source), "-o", str(made), *flags.stdout.split()], check=True)
    return made


class Gateway(GatewayChild):
    """A gateway in front of ngircd and Prosody: plain and TLS of the one, plain, STARTTLS and TLS of the other."""

    def __init__(self, folder: Path, ngircd: Ngircd, prosody: Prosody, servers: Servers) -> None:
        upstreams = {
            ("irc", "plain"): ngircd.port, ("irc", "tls"): ngircd.tls_port, ("xmpp", "plain"): prosody.port,
            ("xmpp", "tls"): prosody.tls_port,
        }
        self.ports = {key: free_port() for key in upstreams}
        self.ports["xmpp", "starttls"] = self.ports["xmpp", "plain"]
        super().__init__(
            folder,
            [{"mode": "reverse", "address": f"127.0.0.1:{self.ports[key]}", "upstream": f"localhost:{port}"}
             for key, port in upstreams.items()],
            policy=POLICY, tls={"upstream_ca": str(servers.ca_file), "intercept": "all"},
            limits={"handshake_seconds": 120})


@pytest.fixture(scope="module")
def gateway(
    tmp_path_factory: pytest.TempPathFactory, ngircd: Ngircd, prosody: Prosody, servers: Servers,
) -> Iterator[Gateway]:
    """The gateway of this file."""
    child = Gateway(tmp_path_factory.mktemp("purple_gateway"), ngircd, prosody, servers)
    yield child
    assert child.stop() == 0, child.child.text()


LIFE = "600"
"""Seconds after which a bot ends by itself: no test waits so long, and none may end in the middle of one."""
SECURITY = {"plain": "opportunistic_tls", "starttls": "require_tls", "tls": "old_ssl"}


def bot(
    stack: ExitStack, program: Path, folder: Path, protocol: str, way: str, port: int, user: str, name: str,
    *options: str,
) -> Child:
    """A running purplebot; it is ended with the stack."""
    state = folder / name
    state.mkdir()
    if protocol == "irc":
        argv = ["prpl-irc", f"{user}@127.0.0.1", "", LIFE, f"i:port={port}", f"b:ssl={int(way == 'tls')}",
                "s:encoding=UTF-8"]
    else:
        argv = ["prpl-jabber", f"{user}@localhost/{name}", "secret", LIFE, "s:connect_server=127.0.0.1",
                f"i:port={port}", f"s:connection_security={SECURITY[way]}", "b:auth_plain_in_clear=1"]
    child = Child(name, [str(program), str(state), *argv, *options], folder)
    stack.callback(child.stop)
    return child


def wait(child: Child, *words: str, seconds: float = 120) -> str:
    """The first line that the bot prints with all the words. Four clients begin their TLS at a time: on a busy machine
    that takes as long as it takes; one that has ended, or was not let in, says so at once."""
    deadline = time.monotonic() + seconds
    while True:
        for line in child.text().splitlines():
            if all(word in line for word in words):
                return line
        assert child.process.poll() is None, child.text()
        assert "CONN-ERROR" not in child.text(), child.text()
        assert time.monotonic() < deadline, f"{child.name} did not print {words}:\n{child.text()}"
        time.sleep(0.05)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "one byte a segment"])
@pytest.mark.parametrize(
    ("protocol", "way"),
    [("irc", "plain"), ("irc", "tls"), ("xmpp", "plain"), ("xmpp", "starttls"), ("xmpp", "tls")])
def test_a_conversation(
    gateway: Gateway, purplebot: Path, tmp_path: Path, protocol: str, way: str, cut: bool,
) -> None:
    """Real client code signs on through the gateway; what passes arrives as it was written, the card number masked, the
    refused message not at all, and its writer is shown the reference; his next one is delivered and answered."""
    tag = f"{protocol[0]}{way[0]}{int(cut)}"
    with ExitStack() as stack:
        port = gateway.ports[protocol, way]
        if cut:
            port = stack.enter_context(Dribble(port)).port

        def start(user: str, name: str, *options: str) -> Child:
            own = user + tag if protocol == "irc" else user
            return bot(stack, purplebot, tmp_path, protocol, way, port, own, name, *options)

        bob_is = f"bob{tag}" if protocol == "irc" else "bob@localhost/reader"
        bob = start("bob", "reader", "echo=1")
        wait(bob, "SIGNED-ON")
        alice = start("alice", "writer", f"peer={bob_is}", "msg=grüße 👋 a & b", "delay=1")
        carol = start("carol", "payer", f"peer={bob_is}", f"msg=card {CARD}", "delay=1")
        eve = start("alice" if protocol == "xmpp" else "eve", "eve", f"peer={bob_is}", "msg=forbidden fruit", "n=2",
                    "delay=1")
        wait(bob, "RECV", "grüße 👋 a & b #1")
        wait(bob, "RECV", f"card {STARS} #1")
        wait(bob, "RECV", "forbidden fruit #2")
        wait(alice, "RECV", "echo: grüße 👋 a & b #1")
        wait(carol, "RECV", f"echo: card {STARS} #1")
        wait(eve, "RECV", "echo: forbidden fruit #2")
        shown = wait(eve, "eference")
        assert "forbidden fruit #1" not in bob.text()
        assert CARD not in bob.text()
        for other in (alice, carol):
            assert "not delivered" not in other.text()
    rows = [row for row in gateway.rows("verdict") if row["protocol"] == protocol]
    verdict = next(row for row in rows if row["reference"] in shown)
    assert (verdict["did"], verdict["rule"]) == ("block", "forbidden")
    assert gateway.inspector("explain", verdict["reference"]).returncode == 0
