"""IRC through a real ngircd: what passes, what is masked, what is refused, and the session that goes on.

ngircd takes about three commands a second from each client, and offers no STARTTLS. One gateway serves the whole file.
"""

from __future__ import annotations

import itertools
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import pytest

from tests.live.dribble import Dribble
from tests.live.peers import GatewayChild, Ngircd, Servers
from tests.ports import free_port

pytestmark = pytest.mark.live

CARD = "4111 1111 1111 1111"
STARS = "*" * len(CARD)
POLICY = {
    "groups": {"operations": {"users": ["ops*"], "claimed": True}},
    "rules": [
        {"name": "IRC only for operations", "when": {"event": "sign_on", "protocol": "irc",
                                                     "not": {"group": "operations"}}, "then": "cut"},
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact",
         "notify": "A number was masked, reference {reference}."},
        {"name": "mild", "when": {"text": "mild words"}, "then": "warn"},
        {"name": "forbidden", "when": {"event": "message", "text": "(?i)forbidden fruit"}, "then": "block"},
        {"name": "not to this one", "when": {"event": "message", "peer": "opsnot*"}, "then": "block"},
        {"name": "end", "when": {"event": "message", "text": "cut the line"}, "then": "cut"},
    ],
}


class Gateway(GatewayChild):
    """A gateway with a plain and a TLS listener in front of the ngircd."""

    def __init__(self, folder: Any, ngircd: Ngircd, servers: Servers) -> None:
        self.plain, self.tls = free_port(), free_port()
        super().__init__(
            folder,
            [{"mode": "reverse", "address": f"127.0.0.1:{self.plain}", "upstream": f"127.0.0.1:{ngircd.port}"},
             {"mode": "reverse", "address": f"127.0.0.1:{self.tls}", "upstream": f"localhost:{ngircd.tls_port}"}],
            policy=POLICY, archive="full", tls={"upstream_ca": str(servers.ca_file), "intercept": "all"})
        self.context = ssl.create_default_context(cafile=str(self.authority))

    def explained(self, reference: str) -> str:
        """What `inspector explain` tells about a reference."""
        done = self.inspector("explain", reference)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, ngircd: Ngircd, servers: Servers) -> Iterator[Gateway]:
    """The gateway of this file."""
    child = Gateway(tmp_path_factory.mktemp("irc_gateway"), ngircd, servers)
    yield child
    assert child.stop() == 0, child.child.text()


class Client:
    """A bare socket that speaks IRC in bytes. `cut`: one byte a segment."""

    def __init__(self, sock: socket.socket, nick: str, *, cut: bool = False) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.sock, self.nick, self.cut = sock, nick, cut
        self.lines: list[bytes] = []
        self._rest = b""

    def say(self, line: bytes) -> None:
        data = line + b"\r\n"
        for piece in (data[at:at + 1] for at in range(len(data))) if self.cut else (data,):
            self.sock.sendall(piece)

    def wait(self, *words: bytes, seconds: float = 20) -> bytes:
        """The next line that holds all `words`; lines before it are kept for nobody."""
        deadline = time.monotonic() + seconds
        while True:
            while self.lines:
                line = self.lines.pop(0)
                if all(word in line for word in words):
                    return line
            left = deadline - time.monotonic()
            assert left > 0, f"{self.nick} got no line with {words}"
            self.sock.settimeout(left)
            data = self.sock.recv(65536)
            assert data, f"{self.nick}'s connection ended before {words}"
            *whole, self._rest = (self._rest + data).split(b"\r\n")
            self.lines += whole

    def sign_on(self) -> Client:
        self.say(f"NICK {self.nick}".encode())
        self.say(f"USER {self.nick} 0 * :{self.nick}".encode())
        self.wait(b" 001 ")
        self.wait(b" 376 ")
        return self

    def ended(self) -> bytes:
        """All that still comes, until the end of the connection."""
        self.sock.settimeout(20)
        got = b"\r\n".join([*self.lines, self._rest])
        while data := self.sock.recv(65536):
            got += data
        return got


_numbers = itertools.count(1)


def nick() -> str:
    """One that nobody has had."""
    return f"ops{next(_numbers)}"


def connected(gateway: Gateway, way: str, stack: ExitStack, name: str, *, cut: bool = False) -> Client:
    """A client through the gateway: way = plain or tls. With TLS, `cut` cuts the TLS bytes themselves."""
    if way == "plain":
        sock = socket.create_connection(("127.0.0.1", gateway.plain), 10)
        return Client(stack.enter_context(sock), name, cut=cut)
    port = stack.enter_context(Dribble(gateway.tls)).port if cut else gateway.tls
    raw: AbstractContextManager[socket.socket] = socket.create_connection(("127.0.0.1", port), 10)
    secure = gateway.context.wrap_socket(stack.enter_context(raw), server_hostname="localhost")
    return Client(stack.enter_context(secure), name, cut=cut)


def referred(gateway: Gateway, notice: bytes) -> str:
    """The reference in a notice: what `explain` finds by it names the rule and what was done."""
    _, _, rest = notice.partition(b"eference ")
    reference = rest[:9].decode()
    assert reference in gateway.explained(reference)
    return reference


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "one byte a segment"])
@pytest.mark.parametrize("way", ["plain", "tls"])
def test_a_conversation(gateway: Gateway, way: str, cut: bool) -> None:
    """One message passes byte-identical, one arrives masked, one does not arrive and its writer learns which and the
    reference, which `explain` knows; then both go on talking."""
    with ExitStack() as stack:
        alice = connected(gateway, way, stack, nick(), cut=cut).sign_on()
        bob = connected(gateway, way, stack, nick(), cut=cut).sign_on()
        to_bob = f"PRIVMSG {bob.nick} :".encode()
        from_alice = f":{alice.nick}!".encode()

        # A blank at the very end is ngircd's to take away
        odd = "  grüße \x0304,08red\x0f 👩‍👩‍👧 e\u0301 a < b && c > d  ".encode() + b"\xff\xfe latin \xe9"
        alice.say(to_bob + odd)
        line = bob.wait(from_alice)
        assert line.split(b" ", 1)[1] == to_bob + odd

        alice.say(to_bob + f"my card {CARD} thanks".encode())
        assert bob.wait(from_alice).endswith(to_bob + f"my card {STARS} thanks".encode())
        masked = referred(gateway, alice.wait(b"NOTICE", b"masked"))

        alice.say(to_bob + b"some Forbidden Fruit")
        refusal = alice.wait(b"NOTICE", b"not delivered")
        assert f"[{bob.nick}]".encode() in refusal
        refused = referred(gateway, refusal)

        alice.say(to_bob + b"still here")
        assert bob.wait(from_alice).endswith(to_bob + b"still here")
        bob.say(f"PRIVMSG {alice.nick} :so am I".encode())
        assert alice.wait(f":{bob.nick}!".encode()).endswith(f"PRIVMSG {alice.nick} :so am I".encode())

    told = gateway.explained(refused)
    assert '"forbidden"' in told
    assert "it was not delivered" in told
    # archive: full, so the second of the two has a row when it is there
    rows = [gateway.wait_row("message", sender=bob.nick)] and gateway.rows()
    verdicts = {row["reference"]: row for row in rows if row["event"] == "verdict" and row["sender"] == alice.nick}
    assert [(verdicts[ref]["asked"], verdicts[ref]["did"], verdicts[ref]["rule"]) for ref in (masked, refused)] == [
        ("redact", "redact", "cards"), ("block", "block", "forbidden")]
    row = verdicts[refused]
    assert (row["protocol"], row["kind"], row["way"], row["recipients"]) == ("irc", "chat", "up", [bob.nick])
    assert (row["user"], row["identity"]) == (alice.nick, "claimed")
    texts = [row["text"] for row in rows if row["event"] == "message" and row["sender"] == alice.nick
             and row["way"] == "up"]
    assert texts[1:] == [f"my card {CARD} thanks", "some Forbidden Fruit", "still here"]


def test_channels_actions_notices_and_topics(gateway: Gateway, ngircd: Ngircd) -> None:
    """To a channel: a message, an action and a notice pass byte-identical (somebody who came past the gateway reads
    the same bytes), are masked and refused each in its own form; a refused topic is not set; targets are judged one by
    one."""
    room = b"#room1"
    with ExitStack() as stack:
        alice = connected(gateway, "plain", stack, nick()).sign_on()
        mark = connected(gateway, "plain", stack, nick()).sign_on()
        bob = connected(gateway, "plain", stack, nick()).sign_on()
        witness = Client(
            stack.enter_context(socket.create_connection((ngircd.host, ngircd.port), 10)), "witness").sign_on()
        for one in (alice, mark, bob, witness):
            one.say(b"JOIN " + room)
            one.wait(b" 366 ")
        by_alice, by_mark = f":{alice.nick}!".encode(), f":{mark.nick}!".encode()

        def heard(by: bytes, words: bytes) -> None:
            line = bob.wait(by, b" :")
            assert line.endswith(words), line
            assert witness.wait(by, b" :") == line

        alice.say(b"PRIVMSG " + room + b" :hello \xe2\x9c\x93 all")
        heard(by_alice, b"PRIVMSG " + room + b" :hello \xe2\x9c\x93 all")
        alice.say(b"PRIVMSG " + room + b" :\x01ACTION waves a forbidden fruit\x01")
        assert room in alice.wait(b"NOTICE", b"not delivered")
        alice.say(b"PRIVMSG " + room + b" :\x01ACTION waves " + CARD.encode() + b"\x01")
        heard(by_alice, b"PRIVMSG " + room + b" :\x01ACTION waves " + STARS.encode() + b"\x01")
        alice.say(b"TOPIC " + room + b" :forbidden fruit day")
        assert room in alice.wait(b"NOTICE", b"not delivered")
        alice.say(b"TOPIC " + room + b" :apples")
        heard(by_alice, b"TOPIC " + room + b" :apples")

        mark.say(b"NOTICE " + room + b" :forbidden fruit")
        assert room in mark.wait(b"NOTICE", b"not delivered")
        mark.say(b"NOTICE " + room + b" :" + CARD.encode())
        heard(by_mark, b"NOTICE " + room + b" :" + STARS.encode())
        other = nick().replace("ops", "opsnot")
        carol = connected(gateway, "plain", stack, other).sign_on()
        mark.say(f"PRIVMSG {bob.nick},{carol.nick} :to two".encode())
        refusal = mark.wait(b"NOTICE", b"not delivered")
        assert f"[{carol.nick}]".encode() in refusal
        assert bob.wait(by_mark).endswith(f"PRIVMSG {bob.nick} :to two".encode())
        bob.say(f"NOTICE {mark.nick} :I got it".encode())
        mark.wait(b"I got it")
        bob.say(f"TOPIC {room.decode()}".encode())
        assert bob.wait(b" 332 ").endswith(b":apples")
        assert not [line for line in carol.lines if by_mark in line]
    gateway.wait_row("verdict", sender=mark.nick, rule="not to this one")
    verdicts = [(row["kind"], row["did"], row["rule"]) for row in gateway.rows("verdict")
                if row["sender"] in (alice.nick, mark.nick) and row["did"] != "pass"]
    assert verdicts == [
        ("action", "block", "forbidden"), ("action", "redact", "cards"), ("topic", "block", "forbidden"),
        ("notice", "block", "forbidden"), ("notice", "redact", "cards"), ("chat", "block", "not to this one"),
    ]


def test_warn_delivers_and_tells(gateway: Gateway) -> None:
    """The reader has the message as it was written, the writer a notice with the reference."""
    with ExitStack() as stack:
        alice = connected(gateway, "plain", stack, nick()).sign_on()
        bob = connected(gateway, "plain", stack, nick()).sign_on()
        alice.say(f"PRIVMSG {bob.nick} :some mild words".encode())
        assert bob.wait(b"PRIVMSG").endswith(f"PRIVMSG {bob.nick} :some mild words".encode())
        notice = alice.wait(b"NOTICE", b"was delivered")
    # A row that nobody waits for shares a later commit
    row = gateway.wait_row("verdict", sender=alice.nick)
    assert (row["asked"], row["did"], row["rule"]) == ("warn", "warn", "mild")
    assert referred(gateway, notice) == row["reference"]


@pytest.mark.parametrize("way", ["plain", "tls"])
def test_cut_ends_politely(gateway: Gateway, way: str) -> None:
    """The writer reads an ERROR line with the reference and the end of the connection; the reader nothing of the
    message, only that he left."""
    with ExitStack() as stack:
        alice = connected(gateway, way, stack, nick()).sign_on()
        bob = connected(gateway, way, stack, nick()).sign_on()
        for one in (alice, bob):
            one.say(b"JOIN #cuts" + way.encode())
            one.wait(b" 366 ")
        alice.say(f"PRIVMSG {bob.nick} :cut the line".encode())
        last = alice.ended()
        assert last.startswith(b"ERROR :") or b"\r\nERROR :" in last
        reference = referred(gateway, last)
        while b"QUIT" not in (line := bob.wait(f":{alice.nick}!".encode())):
            assert b"cut the line" not in line
    row = gateway.wait_row("verdict", sender=alice.nick)
    assert (row["did"], row["rule"], row["reference"]) == ("cut", "end", reference)


def test_only_operations_may_sign_on(gateway: Gateway) -> None:
    """A rule on sign-on cuts: an ERROR line, the end, and nothing of the user's reached anybody."""
    with ExitStack() as stack:
        bob = connected(gateway, "plain", stack, nick()).sign_on()
        mallory = connected(gateway, "plain", stack, "mallory")
        mallory.say(b"NICK mallory")
        mallory.say(b"USER mallory 0 * :mallory")
        mallory.say(f"PRIVMSG {bob.nick} :hurry".encode())
        last = mallory.ended()
        assert b"ERROR :" in last
        assert b" 001 " not in last
        reference = referred(gateway, last)
        bob.say(f"PRIVMSG {bob.nick} :all quiet".encode())
        assert bob.wait(b"PRIVMSG").endswith(b":all quiet")
    row = gateway.wait_row("verdict", rule="IRC only for operations")
    assert (row["did"], row["reference"], row["user"]) == ("cut", reference, "mallory")


def test_a_dcc_offer_is_named(gateway: Gateway) -> None:
    """DCC SEND passes byte-identical and the log has the file's name, size and who offers it."""
    offer = b"\x01DCC SEND \"harvest plan.txt\" 2130706433 4321 12008\x01"
    with ExitStack() as stack:
        alice = connected(gateway, "plain", stack, nick()).sign_on()
        bob = connected(gateway, "plain", stack, nick()).sign_on()
        alice.say(f"PRIVMSG {bob.nick} :".encode() + offer)
        assert bob.wait(b"PRIVMSG").endswith(f"PRIVMSG {bob.nick} :".encode() + offer)
    row = gateway.wait_row("file", way="up", sender=alice.nick)
    assert (row["name"], row["size"], row["recipients"]) == ("harvest plan.txt", 12008, [bob.nick])


def test_starttls_that_is_not_offered_leaves_the_session_alone(gateway: Gateway) -> None:
    """ngircd knows no STARTTLS: it does not offer it, its refusal comes back as it is, and the plain session goes on,
    inspected."""
    with ExitStack() as stack:
        alice = connected(gateway, "plain", stack, nick())
        alice.say(b"CAP LS 302")
        assert b"tls" not in alice.wait(b" CAP ")
        alice.say(b"CAP END")
        alice.sign_on()
        to_alice = f"PRIVMSG {alice.nick} :".encode()
        alice.say(b"STARTTLS")
        assert alice.wait(b"STARTTLS").startswith(b":irc.test 421 ")
        alice.say(to_alice + b"forbidden fruit")
        alice.wait(b"NOTICE", b"not delivered")
        alice.say(to_alice + b"calm")
        assert alice.wait(b"PRIVMSG").endswith(to_alice + b"calm")


def test_words_behind_an_unanswered_starttls_end_the_session(gateway: Gateway) -> None:
    """Before the sign-on ngircd says nothing to STARTTLS. Plain words behind it might be read as if they had come
    through TLS: an ERROR line, the end, and the log says injection."""
    with ExitStack() as stack:
        alice = connected(gateway, "plain", stack, nick())
        alice.say(b"STARTTLS")
        alice.say(b"NICK " + alice.nick.encode())
        alice.say(b"USER u 0 * :u")
        last = alice.ended()
        assert b"ERROR :" in last
        assert b" 001 " not in last
    assert gateway.wait_row("trouble", name="injection")["did"] == "cut"
