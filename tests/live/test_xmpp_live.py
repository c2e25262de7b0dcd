"""XMPP through a real Prosody, with slixmpp: plain, STARTTLS and direct TLS. One gateway serves the whole file."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
import re
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from xml.etree.ElementTree import Element

import pytest

from inspector.drivers.mitm_tls import Authority
from tests.live.conftest import Start
from tests.live.dribble import Dribble
from tests.live.peers import GatewayChild, Prosody, Servers
from tests.ports import free_port

slixmpp = pytest.importorskip("slixmpp", reason="slixmpp is not installed (make test installs it)")

pytestmark = pytest.mark.live

CARD = "4111 1111 1111 1111"
STARS = "*" * len(CARD)
POLICY = {
    "rules": [
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact",
         "notify": "A number was masked, reference {reference}."},
        {"name": "mild", "when": {"text": "mild words"}, "then": "warn"},
        {"name": "forbidden", "when": {"event": "message", "text": "(?i)forbidden fruit"}, "then": "block"},
        {"name": "told", "when": {"event": "message", "text": "forbidden roots"}, "then": "block",
         "notify": "Not here, reference {reference}."},
        {"name": "end", "when": {"event": "message", "text": "cut the line"}, "then": "cut"},
    ],
}
BODY = "{jabber:client}body"
ERROR = "{jabber:client}error"
STATUS = "{jabber:client}status"
POLICY_VIOLATION = "{urn:ietf:params:xml:ns:xmpp-stanzas}policy-violation"
ERROR_TEXT = "{urn:ietf:params:xml:ns:xmpp-stanzas}text"
XHTML_BODY = "{http://www.w3.org/1999/xhtml}body"


class Gateway(GatewayChild):
    """A gateway with listeners in front of Prosody's ports and of a server of the test's own."""

    def __init__(self, folder: Path, prosody: Prosody, servers: Servers) -> None:
        self.port, self.tls, self.stub, self.stub_server = free_port(), free_port(), free_port(), free_port()
        super().__init__(
            folder,
            [{"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"localhost:{upstream}"}
             for port, upstream in (
                 (self.port, prosody.port), (self.tls, prosody.tls_port), (self.stub, self.stub_server))],
            policy=POLICY, tls={"upstream_ca": str(servers.ca_file), "intercept": "all"})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, prosody: Prosody, servers: Servers) -> Iterator[Gateway]:
    """The gateway of this file."""
    child = Gateway(tmp_path_factory.mktemp("xmpp_gateway"), prosody, servers)
    yield child
    assert child.stop() == 0, child.child.text()


class Client(slixmpp.ClientXMPP):  # type: ignore[misc,name-defined]
    """A slixmpp client that remembers the bytes it received and hands out the stanzas."""

    def __init__(self, jid: str, mode: str, authority: Path) -> None:
        super().__init__(jid, "secret")
        self.raw = b""
        self.stanzas: asyncio.Queue[Element] = asyncio.Queue()
        self.gone = asyncio.Event()
        self.enable_plaintext, self.enable_starttls, self.enable_direct_tls = (
            mode == each for each in ("plain", "starttls", "direct"))
        self.ca_certs = authority
        self.plugin["feature_mechanisms"].unencrypted_plain = True
        self.plugin["feature_mechanisms"].unencrypted_scram = True
        self.started = asyncio.Event()
        self.add_event_handler("session_start", lambda _: self.started.set())
        self.add_event_handler("disconnected", lambda _: self.gone.set())
        for name in ("message", "presence", "iq"):
            self.register_handler(slixmpp.xmlstream.handler.Callback(
                f"all of {name}", slixmpp.xmlstream.matcher.MatchXPath(f"{{jabber:client}}{name}"),
                lambda stanza: self.stanzas.put_nowait(stanza.xml)))

    def data_received(self, data: bytes) -> None:
        self.raw += data
        super().data_received(data)

    async def wait(self, fits: Callable[[Element], bool], seconds: float = 15) -> Element:
        """The next stanza that fits."""
        async with asyncio.timeout(seconds):
            while True:
                stanza = await self.stanzas.get()
                if fits(stanza):
                    return stanza

    async def message(self) -> Element:
        """The next message."""
        return await self.wait(lambda stanza: stanza.tag == "{jabber:client}message")

    async def body(self) -> str:
        """The body of the next message that is no notice of the gateway's."""
        while (got := await self.message()).get("type") == "headline":
            pass
        return got.findtext(BODY) or ""

    def unit(self, mark: bytes) -> bytes:
        """The bytes of the message that holds `mark`, as they came."""
        at = self.raw.index(mark)
        start, end = self.raw.rindex(b"<message", 0, at), self.raw.index(b"</message>", at)
        return self.raw[start:end]


@asynccontextmanager
async def online(user: str, mode: str, port: int, authority: Path) -> AsyncIterator[Client]:
    """A client that has signed on and said that it is there; it signs off at the end."""
    client = Client(f"{user}@localhost/{user}{next(_numbers)}", mode, authority)
    client.connect("127.0.0.1", port)
    try:
        async with asyncio.timeout(30):
            await client.started.wait()
        client.send_raw("<presence/>")
        await client.wait(lambda stanza: stanza.tag == "{jabber:client}presence")
        yield client
    finally:
        client.cancel_connection_attempt()
        if not client.gone.is_set():
            await client.disconnect(wait=3)
        with suppress(asyncio.CancelledError):
            client._run_out_filters.cancel()
            await client._run_out_filters


_numbers = itertools.count(1)


def referred(gateway: Gateway, text: str, rule: str) -> str:
    """The reference in a notice: what `explain` finds by it names the rule.

    At once, where the message was changed or refused; a row that nobody waits for (warn) shares a later commit.
    """
    reference = text.partition("eference ")[2][:9]
    if rule == "mild":
        gateway.wait_row("verdict", reference=reference)
    done = gateway.inspector("explain", reference)
    assert done.returncode == 0, done.stderr
    assert reference in done.stdout
    assert f'"{rule}"' in done.stdout
    return reference


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "one byte a segment"])
@pytest.mark.parametrize("mode", ["plain", "starttls", "direct"])
def test_a_conversation(gateway: Gateway, prosody: Prosody, servers: Servers, mode: str, cut: bool) -> None:
    """One message passes byte-identical (a session past the gateway gets the same bytes), one arrives masked in body
    and XHTML alike, one does not arrive and its writer gets the error of the same id with the reference; then both go
    on talking."""
    told: dict[str, str] = {}

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            port = gateway.tls if mode == "direct" else gateway.port
            if cut:
                port = stack.enter_context(Dribble(port)).port
            alice = await stack.enter_async_context(online("alice", mode, port, gateway.authority))
            bob = await stack.enter_async_context(online("bob", mode, port, gateway.authority))
            direct = prosody.tls_port if mode == "direct" else prosody.port
            witness = await stack.enter_async_context(online("bob", mode, direct, servers.ca_file))

            odd = "  grüße 👩‍👩‍👧 e\u0301 שלום &amp; a &lt; b ]]&gt; &#x1F600; 'q' \"r\" &amp;amp;\n\t end  "
            alice.send_raw(f"<message to='bob@localhost' type='chat' id='m1'><body>{odd}</body>"
                           "<x xmlns='urn:example:unknown' k='v'><y/>z</x></message>")
            assert await bob.body() == await witness.body()
            family = "👩‍👩‍👧".encode()
            assert bob.unit(family) == witness.unit(family)

            alice.send_raw(
                f"<message to='bob@localhost' type='chat' id='m2'><body>my card {CARD} thanks</body>"
                "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
                "<p>my card <b>4111 1111</b> 1111 1111 thanks</p></body></html></message>")
            got = await bob.message()
            assert got.findtext(BODY) == f"my card {STARS} thanks"
            xhtml = got.find(f".//{XHTML_BODY}")
            assert xhtml is not None
            assert "".join(xhtml.itertext()) == f"my card {STARS} thanks"
            assert [element.tag.partition("}")[2] for element in xhtml.iter()] == ["body", "p", "b"]
            notice = await alice.wait(lambda stanza: stanza.get("type") == "headline")
            told["cards"] = notice.findtext(BODY) or ""

            alice.send_raw(
                "<message to='bob@localhost' type='chat' id='m3'><body>some Forbidden Fruit</body></message>")
            refusal = await alice.message()
            assert (refusal.get("type"), refusal.get("id"), refusal.get("from")) == ("error", "m3", "bob@localhost")
            error = refusal.find(ERROR)
            assert error is not None
            assert error.find(POLICY_VIOLATION) is not None
            told["forbidden"] = error.findtext(ERROR_TEXT) or ""

            alice.send_raw("<message to='bob@localhost' type='chat'><body>still here</body></message>")
            assert await bob.body() == "still here"
            bob.send_raw(f"<message to='{alice.boundjid.full}' type='chat'><body>so am I</body></message>")
            assert await alice.body() == "so am I"
            assert b"orbidden" not in bob.raw
            mechanisms.append(alice.plugin["feature_mechanisms"].mech.name)

    mechanisms: list[str] = []
    asyncio.run(scenario())
    references = {referred(gateway, told[rule], rule): rule for rule in ("cards", "forbidden")}
    rows = gateway.rows()
    verdicts = {row["reference"]: row for row in rows if row["event"] == "verdict" and row["reference"] in references}
    assert sorted((row["rule"], row["asked"], row["did"]) for row in verdicts.values()) == [
        ("cards", "redact", "redact"), ("forbidden", "block", "block")]
    for row in verdicts.values():
        assert (row["protocol"], row["kind"], row["way"], row["recipients"], row["identity"]) == (
            "xmpp", "chat", "up", ["bob@localhost"], "authenticated")
        assert row["user"].startswith("alice@localhost")
    assert mechanisms == ["SCRAM-SHA-256"]


def test_the_words_of_rooms_and_presence(gateway: Gateway) -> None:
    """A refused room message reaches nobody in the room and its writer gets the error from the room; a refused status
    goes without its words; warn delivers and tells."""
    room = f"room{next(_numbers)}@conference.localhost"
    told = []

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "plain", gateway.port, gateway.authority))
            bob = await stack.enter_async_context(online("bob", "plain", gateway.port, gateway.authority))
            for client, nick in ((alice, "al"), (bob, "bo")):
                client.send_raw(f"<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
                await client.wait(lambda stanza, nick=nick: stanza.get("from") == f"{room}/{nick}")  # type: ignore[misc]
                if client is alice:
                    client.send_raw(f"<iq type='set' id='o1' to='{room}'><query xmlns='http://jabber.org/protocol/muc#"
                                    "owner'><x xmlns='jabber:x:data' type='submit'/></query></iq>")
                    await client.wait(lambda stanza: stanza.get("id") == "o1" and stanza.get("type") == "result")
            say = f"<message to='{room}' type='groupchat' id='%s'><body>%s</body></message>"
            alice.send_raw(say % ("g1", "hello room"))
            await bob.wait(lambda stanza: stanza.findtext(BODY) == "hello room")
            alice.send_raw(say % ("g2", "forbidden fruit for all"))
            refusal = await alice.wait(lambda stanza: stanza.get("id") == "g2")
            assert (refusal.get("type"), refusal.get("from")) == ("error", room)
            told.append(("forbidden", refusal.findtext(f"{ERROR}/{ERROR_TEXT}") or ""))
            alice.send_raw(say % ("g3", f"card {CARD}"))
            assert await bob.body() == f"card {STARS}"

            alice.send_raw(f"<presence to='{bob.boundjid.full}'><show>dnd</show><status>forbidden fruit</status>"
                           "</presence>")
            got = await bob.wait(lambda stanza: stanza.get("from") == alice.boundjid.full)
            assert got.findtext("{jabber:client}show") == "dnd"
            assert got.find(STATUS) is None
            notice = await alice.wait(
                lambda stanza: stanza.get("type") == "headline" and "not delivered" in (stanza.findtext(BODY) or ""))
            told.append(("forbidden", notice.findtext(BODY) or ""))
            alice.send_raw(f"<presence to='{bob.boundjid.full}'><status>at lunch</status></presence>")
            got = await bob.wait(lambda stanza: stanza.get("from") == alice.boundjid.full)
            assert got.findtext(STATUS) == "at lunch"

            alice.send_raw(f"<message to='{bob.boundjid.full}' type='chat'><body>mild words</body></message>")
            assert await bob.body() == "mild words"
            notice = await alice.wait(
                lambda stanza: stanza.get("type") == "headline" and "was delivered" in (stanza.findtext(BODY) or ""))
            told.append(("mild", notice.findtext(BODY) or ""))
            assert b"forbidden" not in bob.raw

    asyncio.run(scenario())
    references = [referred(gateway, text, rule) for rule, text in told]
    verdicts = {row["reference"]: (row["kind"], row["did"]) for row in gateway.rows("verdict")}
    assert [verdicts[reference] for reference in references] == [
        ("chat", "block"), ("status", "block"), ("chat", "warn")]


def test_what_comes_from_the_server_is_judged_too(gateway: Gateway, prosody: Prosody, servers: Servers) -> None:
    """A writer past the gateway: the reader behind it gets no refused message and a masked one; where the rule has
    words for him the writer gets the error of his message's id."""
    async def scenario() -> str:
        async with AsyncExitStack() as stack:
            carol = await stack.enter_async_context(online("carol", "plain", prosody.port, servers.ca_file))
            bob = await stack.enter_async_context(online("bob", "plain", gateway.port, gateway.authority))
            say = f"<message to='{bob.boundjid.full}' type='chat' id='%s'><body>%s</body></message>"
            carol.send_raw(say % ("d0", "forbidden fruit"))
            carol.send_raw(say % ("d1", "forbidden roots"))
            refusal = await carol.message()
            assert (refusal.get("type"), refusal.get("id")) == ("error", "d1")
            carol.send_raw(say % ("d2", f"card {CARD}"))
            assert await bob.body() == f"card {STARS}"
            assert b"forbidden" not in bob.raw
            return refusal.findtext(f"{ERROR}/{ERROR_TEXT}") or ""

    reference = referred(gateway, asyncio.run(scenario()), "told")
    row = gateway.wait_row("verdict", reference=reference)
    assert (row["way"], row["did"]) == ("down", "block")
    assert row["sender"].startswith("carol@localhost")


@pytest.mark.parametrize("mode", ["plain", "starttls"])
def test_cut_ends_politely(gateway: Gateway, mode: str) -> None:
    """The writer gets a stream error with the reference, the end of the stream and of the connection; the reader
    nothing of the message."""
    async def scenario() -> str:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", mode, gateway.port, gateway.authority))
            bob = await stack.enter_async_context(online("bob", mode, gateway.port, gateway.authority))
            alice.send_raw(f"<message to='{bob.boundjid.full}' type='chat'><body>cut the line</body></message>")
            async with asyncio.timeout(15):
                await alice.gone.wait()
            bob.send_raw(f"<message to='{bob.boundjid.full}' type='chat'><body>calm</body></message>")
            assert await bob.body() == "calm"
            return bytes(alice.raw[alice.raw.index(b"<stream:error>"):]).decode()

    last = asyncio.run(scenario())
    assert "<policy-violation xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>" in last
    assert last.endswith("</stream:stream>")
    reference = referred(gateway, last, "end")
    assert gateway.wait_row("verdict", reference=reference)["did"] == "cut"


def test_sign_on_by_scram_through_starttls(gateway: Gateway, prosody: Prosody, servers: Servers) -> None:
    """SCRAM works behind our certificate; channel binding cannot and is taken out of the offer; stream management is
    offered through the gateway as the server offers it."""
    async def scenario() -> tuple[bytes, bytes, str]:
        async with AsyncExitStack() as stack:
            alice = await stack.enter_async_context(online("alice", "starttls", gateway.port, gateway.authority))
            witness = await stack.enter_async_context(online("carol", "starttls", prosody.port, servers.ca_file))
            return alice.raw, witness.raw, alice.boundjid.full

    ours, servers_own, user = asyncio.run(scenario())
    row = gateway.wait_row("sign_on", user=user)
    assert (row["identity"], row["mechanism"]) == ("authenticated", "SCRAM-SHA-256")
    assert b"urn:xmpp:sm:3" in servers_own
    assert b"urn:xmpp:sm:3" in ours
    assert b"SCRAM-SHA-256</mechanism>" in ours
    assert b"-PLUS" not in ours
    assert row["channel_binding"] == ("stripped" if b"-PLUS" in servers_own else "none")


STREAM = (
    b"<?xml version='1.0'?><stream:stream %b='localhost' version='1.0' xmlns='jabber:client' "
    b"xmlns:stream='http://etherx.jabber.org/streams'%b>"
)
OFFER = (
    b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
    b"<compression xmlns='http://jabber.org/features/compress'><method>zlib</method></compression>"
    b"<sm xmlns='urn:xmpp:sm:3'/><ver xmlns='urn:xmpp:features:rosterver'/></stream:features>"
)


@pytest.fixture
def stub(gateway: Gateway, tmp_path: Path) -> Iterator[None]:
    """A server that offers compression and stream management, and has a certificate of a foreign authority."""
    certificate, key = Authority.open(tmp_path / "foreign").leaf("localhost")
    from cryptography.hazmat.primitives import serialization

    pem = tmp_path / "foreign.pem"
    pem.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    listener = socket.create_server(("127.0.0.1", gateway.stub_server))

    def serve() -> None:
        sock = listener.accept()[0]
        with sock, suppress(OSError):
            until(sock, b">", b"<stream:stream")
            sock.sendall(STREAM % (b"from", b" id='s1'") + OFFER)
            until(sock, b"/>", b"<starttls")
            sock.sendall(b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            with context.wrap_socket(sock, server_side=True) as secure:
                secure.recv(65536)

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    listener.close()
    thread.join(10)


def until(sock: socket.socket, end: bytes, mark: bytes = b"") -> bytes:
    """What comes, to `end` behind `mark`, or to the end of the connection."""
    got = b""
    sock.settimeout(15)
    while mark not in got or end not in got[got.index(mark):]:
        data = sock.recv(65536)
        if not data:
            break
        got += data
    return got


def test_no_compression_and_no_forged_certificate(gateway: Gateway, stub: None) -> None:
    """Compression is not in the features that the client sees; for a server whose certificate does not verify the
    client gets <failure/> and the end, never <proceed/> and a certificate of ours."""
    with socket.create_connection(("127.0.0.1", gateway.stub), 10) as sock:
        sock.sendall(STREAM % (b"to", b""))
        features = until(sock, b"</stream:features>")
        assert b"starttls" in features
        assert b"rosterver" in features
        assert b"compression" not in features
        sock.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        answer = until(sock, b"no such end")
    assert answer.startswith(b"<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
    assert b"proceed" not in answer
    row = gateway.wait_row("trouble", name="tls_failed")
    assert row["did"] == "cut"




class Raw:
    """A client on a bare socket that counts its stanzas (XEP-0198) and logs in by PLAIN."""

    def __init__(self, port: int, user: str, host: str = "localhost") -> None:
        self.sock = socket.create_connection(("127.0.0.1" if host == "localhost" else host, port), 10)
        self.sock.settimeout(15)
        self.got = b""
        self.read = 0
        self.count = 0
        """Stanzas it was sent since management stands."""
        login = base64.b64encode(f"\0{user}\0secret".encode()).decode()
        header = (STREAM % (b"to", b"")).replace(b"localhost", host.encode())
        self.say(header)
        self.until(rb"</stream:features>")
        self.say(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{login}</auth>")
        self.until(rb"<success [^>]*>")
        self.say(header)
        self.features = self.until(rb"</stream:features>")

    def say(self, data: str | bytes) -> None:
        self.sock.sendall(data if isinstance(data, bytes) else data.encode())

    def until(self, pattern: bytes) -> bytes:
        """What came, up to the end of the first match."""
        deadline = time.monotonic() + 15
        while (found := re.search(pattern, self.got[self.read:])) is None:
            assert time.monotonic() < deadline, (pattern, self.got[self.read:])
            data = self.sock.recv(65536)
            assert data, (pattern, self.got[self.read:])
            self.got += data
        piece = self.got[self.read:self.read + found.end()]
        self.read += found.end()
        self.count += len(re.findall(rb"<(?:message|presence|iq)[ >]", piece))
        return piece

    def bind(self, resource: str) -> None:
        self.say("<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
                 f"<resource>{resource}</resource></bind></iq>")
        self.until(rb"</iq>")

    def manage(self) -> str:
        """Enable management; returns the session's identifier."""
        self.say(f"<enable xmlns='{SM}' resume='true'/>")
        enabled = self.until(rb"<enabled [^>]*>")
        self.count = 0
        found = re.search(rb" id='([^']+)'", enabled)
        assert found is not None, enabled
        return found[1].decode()

    def handled(self) -> int:
        """How many of its stanzas it is told are handled."""
        self.say(f"<r xmlns='{SM}'/>")
        found = re.search(rb"<a [^>]*h='(\d+)'", self.until(rb"<a [^>]*>"))
        assert found is not None
        return int(found[1])

    def close(self) -> None:
        self.say("</stream:stream>")
        until(self.sock, b"no such end")
        self.sock.close()


SM = "urn:xmpp:sm:3"


def test_stream_management_stays_right_and_is_resumed(gateway: Gateway) -> None:
    """Refused, masked and notified both ways, Prosody and the client go on counting; after the loss of the connection
    the session is resumed with its counts: what was refused is not sent again, what passed is not lost, and what the
    user then says is his. A session that nobody knows is refused, and the client binds anew."""
    alice = Raw(gateway.port, "alice")
    assert SM.encode() in alice.features
    alice.bind("managed")
    ident = alice.manage()
    bob = Raw(gateway.port, "bob")
    bob.bind("plain")
    bob.say("<presence/>")
    say = "<message to='%s' type='chat' id='%s'><body>%s</body></message>"

    def tell(name: str, text: str) -> None:
        alice.say(say % ("bob@localhost/plain", name, text))

    def answer(name: str, text: str) -> None:
        bob.say(say % ("alice@localhost/managed", name, text))

    tell("s1", "one")
    bob.until(rb"id='s1'.*?</message>")
    tell("s2", "forbidden fruit")
    alice.until(rb"type='error'.*?</message>")
    tell("s3", f"card {CARD}")
    bob.until(rb"id='s3'.*?</message>")
    alice.until(rb"type='headline'.*?</message>")
    assert alice.handled() == 3, "the refused one, too"
    answer("r1", "forbidden roots")     # refused, and he is told
    bob.until(rb"id='r1'.*?</message>")
    answer("r2", "two")
    alice.until(rb"id='r2'.*?</message>")
    assert alice.count == 3, "an error, a headline, one message"
    alice.say(f"<a xmlns='{SM}' h='3'/>")
    assert alice.handled() == 3, "Prosody did not end the stream"
    tell("s4", "forbidden fruit")
    alice.until(rb"type='error'.*?</message>")
    alice.sock.close()                  # without a word
    answer("r3", "three")

    again = Raw(gateway.port, "alice")
    again.count = alice.count
    again.say(f"<resume xmlns='{SM}' h='{alice.count}' previd='{ident}'/>")
    resumed = again.until(rb"<resumed [^>]*>")
    assert b" h='4'" in resumed, "nothing is to be sent again"
    assert b"three" in again.until(rb"id='r3'.*?</message>")
    again.say(f"<a xmlns='{SM}' h='{again.count}'/>")
    again.say(say % ("bob@localhost/plain", "s5", "five"))
    assert b"five" in bob.until(rb"id='s5'.*?</message>")
    assert again.handled() == 5
    again.say(say % ("bob@localhost/plain", "s6", "forbidden fruit once more"))
    again.until(rb"id='s6'.*?</message>")
    assert again.handled() == 6

    other = Raw(gateway.port, "carol")
    other.say(f"<resume xmlns='{SM}' h='0' previd='nobody-knows'/>")
    assert b"item-not-found" in other.until(rb"</failed>")
    other.bind("anew")
    other.manage()
    for client in (again, bob, other):
        client.close()
    said = bob.got.decode()
    assert said.count("<body>one<") == said.count("<body>five<") == 1
    assert "forbidden fruit" not in said
    assert again.got.count(b"<body>three<") == 1
    signed = [row for row in gateway.rows("sign_on") if row["user"] == "alice@localhost/managed"]
    assert [row["identity"] for row in signed] == ["authenticated"] * 2
    last = [row for row in gateway.rows("verdict") if row["user"] == "alice@localhost/managed"][-1]
    assert (last["did"], last["sender"], last["flow"]) == ("block", "alice@localhost/managed", signed[1]["flow"])
    assert ident not in gateway.child.text()
    assert ident not in str(gateway.rows())


def test_after_a_restart_a_session_is_begun_anew(prosody: Prosody, start_gateway: Start) -> None:
    """The gateway is killed and started again: who would resume is told in the protocol's words that the session is not
    known, though the server still has it; he binds anew on the same stream, his counts begin anew, and what is said is
    judged and counted as before."""
    port = free_port()
    listener = {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"localhost:{prosody.port}"}
    gateway = start_gateway(listener)
    say = "<message to='%s' type='chat' id='%s'><body>%s</body></message>"
    bob = Raw(prosody.port, "bob")
    bob.bind("restarted")
    bob.say("<presence/>")
    alice = Raw(port, "alice")
    alice.bind("restarted")
    ident = alice.manage()
    alice.say(say % ("bob@localhost/restarted", "k1", "before"))
    bob.until(rb"id='k1'.*?</message>")
    assert alice.handled() == 1
    gateway.child.process.kill()
    gateway.child.process.wait()
    alice.sock.close()
    gateway = start_gateway(listener)

    again = Raw(port, "alice")
    again.say(f"<resume xmlns='{SM}' h='0' previd='{ident}'/>")
    assert b"item-not-found" in again.until(rb"</failed>")
    again.bind("restarted")
    assert again.manage() != ident
    again.say("<presence/>")
    again.until(rb"<presence[^>]*>.*?</presence>|<presence[^>]*/>")
    again.say(say % ("bob@localhost/restarted", "k2", "after"))
    bob.until(rb"id='k2'.*?</message>")
    again.say(say % ("bob@localhost/restarted", "k3", "forbidden fruit"))
    again.until(rb"id='k3'.*?</message>")
    assert again.handled() == 3, "presence, one that passed, one that was refused"
    bob.say(say % ("alice@localhost/restarted", "k4", "welcome back"))
    assert b"welcome back" in again.until(rb"id='k4'.*?</message>")
    again.say(f"<a xmlns='{SM}' h='{again.count}'/>")
    assert again.handled() == 3, "the server has not ended the stream"
    for client in (again, bob):
        client.close()
    said = bob.got.decode()
    assert [said.count(f"<body>{word}<") for word in ("before", "after", "forbidden fruit")] == [1, 1, 0]
    row = gateway.wait_row("verdict", did="block")
    assert row["user"] == "alice@localhost/restarted"


def shown(port: int, *, starttls: bool) -> bytes:
    """The SHA-256 of the certificate that a server shows: what tls-server-end-point binds a login to (RFC 5929)."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        if starttls:
            sock.sendall(STREAM % (b"to", b""))
            until(sock, b"</stream:features>")
            sock.sendall(b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
            assert b"proceed" in until(sock, b"/>", b"<proceed")
        with context.wrap_socket(sock, server_hostname="localhost") as secure:
            return hashlib.sha256(secure.getpeercert(binary_form=True) or b"").digest()


def test_the_servers_own_certificate(prosody: Prosody, servers: Servers, start_gateway: Start, tmp_path: Path) -> None:
    """A reverse listener with the server's own certificate and key shows it to clients, with STARTTLS and from byte 0:
    what a login is bound to is the same on both sides. One with another certificate shows that, and says that bound
    logins will fail. A key that others may read is told."""
    pem = tmp_path / "own.pem"
    pem.write_text(ssl.get_server_certificate(("127.0.0.1", prosody.tls_port)))
    key = tmp_path / "own.key"
    key.write_bytes((servers.folder / "localhost.key").read_bytes())
    key.chmod(0o600)
    foreign, foreign_key = Servers(tmp_path / "foreign").certificate("localhost")
    foreign_key.chmod(0o644)
    starttls, direct, wrong = free_port(), free_port(), free_port()
    pairs = ((starttls, prosody.port, pem, key), (direct, prosody.tls_port, pem, key),
             (wrong, prosody.port, foreign, foreign_key))
    gateway = start_gateway(*(
        {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"localhost:{upstream}",
         "certificate": str(one), "key": str(two)} for port, upstream, one, two in pairs))
    real = shown(prosody.tls_port, starttls=False)
    assert shown(starttls, starttls=True) == real
    assert shown(direct, starttls=False) == real
    assert shown(wrong, starttls=True) != real

    async def scenario() -> list[str]:
        users = []
        for mode, port in (("starttls", starttls), ("direct", direct)):
            async with online("alice", mode, port, servers.ca_file) as alice:
                users.append(alice.boundjid.full)
        return users

    for user in asyncio.run(scenario()):
        assert gateway.wait_row("sign_on", user=user)["mechanism"] == "SCRAM-SHA-256"
    told = gateway.child.text()
    assert f"{foreign_key}: the listener's key is readable by others (mode 644, want 600)" in told
    assert "shows another certificate than the listener" in told
    assert str(key) not in told
