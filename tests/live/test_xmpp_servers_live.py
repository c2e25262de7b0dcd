"""XMPP between two real Prosodys, transparently through the gateway, plain and with STARTTLS, proved by dialback."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live.conftest import Start
from tests.live.peers import Child, Namespaces, Servers, need, now
from tests.live.test_xmpp_live import CARD, POLICY, STARS, Raw

pytestmark = pytest.mark.live

A, B = Namespaces.CLIENT, Namespaces.SERVER
"""The servers' domains are their addresses: nothing is looked up."""


NO_LOOKUPS = """
module:set_global();
local basic, manual = require "net.resolvers.basic", require "net.resolvers.manual";
require "net.resolvers.service".new = function (host, service, kind, extra)
	if service == "xmpp-server" then return basic.new(host, 5269, kind, extra); end
	return manual.new({}, kind, extra);
end
"""
"""A module for Prosody: a domain's server is at its address, port 5269."""


def within[T](name: str, make: Callable[[], T]) -> T:
    """What `make` gives in a network namespace: a socket stays in the one that it was made in."""
    made: list[T] = []

    def run() -> None:
        fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
        try:
            os.setns(fd, os.CLONE_NEWNET)
        finally:
            os.close(fd)
        made.append(make())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(60)
    assert made, f"nothing was made in {name}"
    return made[0]


class House:
    """A Prosody in a namespace, for one domain with one user."""

    def __init__(self, folder: Path, servers: Servers, space: str, domain: str, user: str, *, encrypted: bool) -> None:
        need("prosody")
        folder.mkdir()
        self.space, self.domain, self.user = space, domain, user
        crt, key = servers.certificate(domain)
        account = folder / "data" / domain.replace(".", "%2e") / "accounts" / f"{user}.dat"
        account.parent.mkdir(parents=True)
        account.write_text('return {\n\t["password"] = "secret";\n};\n')
        (folder / "mod_no_lookups.lua").write_text(NO_LOOKUPS)
        config = folder / "prosody.cfg.lua"
        config.write_text(f"""
daemonize = false
run_as_root = true
pidfile = "{folder}/prosody.pid"; data_path = "{folder}/data"; log = {{ info = "{folder}/prosody.log" }}
interfaces = {{ "*" }}
plugin_paths = {{ "{folder}" }}
modules_enabled = {{ "roster"; "saslauth"; "tls"; "disco"; "posix"; "ping"; "dialback"; "smacks"; "no_lookups" }}
modules_disabled = {{ "http" }}
authentication = "internal_plain"
c2s_require_encryption = false; allow_unencrypted_plain_auth = true
s2s_require_encryption = {str(encrypted).lower()}; s2s_secure_auth = false
c2s_ports = {{ 5222 }}; c2s_direct_tls_ports = {{}}; s2s_ports = {{ 5269 }}; s2s_direct_tls_ports = {{}}
http_ports = {{}}; https_ports = {{}}
ssl = {{ key = "{key}"; certificate = "{crt}" }}
limits = {{ }}
VirtualHost "{domain}"
""")
        inside = Namespaces.inside(space)
        self.child = Child(f"prosody-{user}", [*inside, shutil.which("prosody") or "", "--config", str(config)], folder)
        try:
            within(space, lambda: self.child.wait_port(domain, 5269))
            within(space, lambda: self.child.wait_port(domain, 5222))
        except BaseException:
            self.child.stop()
            raise

    def client(self) -> Raw:
        """Its user, signed on and there."""
        found = within(self.space, lambda: Raw(5222, self.user, self.domain))
        found.bind("here")
        found.say("<presence/>")
        found.until(rb"<presence.*?</presence>|<presence[^>]*/>")
        return found


REDIRECT = """table inet im {
  chain pre {
    type nat hook prerouting priority dstnat;
    tcp dport 5269 redirect to :9300
  }
}
"""
"""What goes from one server to the other goes to the gateway's listener, both ways."""


def test_two_servers(namespaces: Namespaces, servers: Servers, start_gateway: Start, tmp_path: Path) -> None:
    """Without and with STARTTLS: one message passes, one arrives masked, one does not arrive and its writer gets the
    error of its id from his peer, over the stream that goes back; the servers go on talking. The domains are known by
    dialback, the writers by their stanzas."""
    inside = Namespaces.inside(namespaces.gw)
    subprocess.run([*inside, "nft", "-f", "-"], input=REDIRECT, text=True, check=True, capture_output=True)
    gateway = start_gateway(
        {"mode": "transparent", "address": "0.0.0.0:9300", "clients": ["10.77.0.0/16"],
         "destinations": {"deny": ["own"]}},
        prefix=inside, policy=POLICY)
    for encrypted in (False, True):
        before = now()
        with contextlib.ExitStack() as stack:
            houses = []
            for space, domain, user in ((namespaces.cli, A, "alice"), (namespaces.srv, B, "bob")):
                folder = tmp_path / f"{user}-{encrypted}"
                houses.append(House(folder, servers, space, domain, user, encrypted=encrypted))
                stack.callback(houses[-1].child.stop)
            alice, bob = houses[0].client(), houses[1].client()
            converse(alice, bob)
        rows = [row for row in gateway.rows() if row["t"] > before]
        signed = {(row["user"], row["mechanism"], row["identity"]) for row in rows if row["event"] == "sign_on"}
        assert {(A, "dialback", "authenticated"), (B, "dialback", "authenticated")} <= signed
        verdicts = [row for row in rows if row["event"] == "verdict" and row["did"] == "block"]
        assert [(row["user"], row["sender"], row["recipients"]) for row in verdicts] == [
            (A, f"alice@{A}/here", [f"bob@{B}"]), (B, f"bob@{B}/here", [f"alice@{A}/here"])]
        assert not [row for row in rows if row["event"] == "trouble" and row["name"] == "undecryptable"]


def converse(alice: Raw, bob: Raw) -> None:
    """What the two say to each other, refused both ways."""
    say = "<message to='%s' type='chat' id='%s'><body>%s</body></message>"
    alice.say(say % (f"bob@{B}", "s1", "hello neighbour"))
    assert b"hello neighbour" in bob.until(rb"id='s1'.*?</message>")
    bob.say(say % (f"alice@{A}/here", "t1", "hello back"))
    assert b"hello back" in alice.until(rb"id='t1'.*?</message>")
    alice.say(say % (f"bob@{B}", "s2", f"my card {CARD}"))
    assert f"my card {STARS}".encode() in bob.until(rb"id='s2'.*?</message>")
    alice.say(say % (f"bob@{B}", "s3", "some forbidden fruit"))
    error = alice.until(rb"id='s3'.*?</message>")
    assert b"policy-violation" in error
    assert f"bob@{B}".encode() in error
    bob.say(say % (f"alice@{A}/here", "t2", "forbidden fruit for you"))
    assert b"policy-violation" in bob.until(rb"id='t2'.*?</message>")
    alice.say(say % (f"bob@{B}", "s4", "still here"))
    assert b"still here" in bob.until(rb"id='s4'.*?</message>")
    alice.close()
    bob.close()
    assert b"forbidden" not in bob.got + alice.got
