"""OSCAR through the running gateway, each way that a client comes to it: strict peers at both ends (oscar_sim.py).

In socks5 mode both users are behind the gateway; in transparent and reverse mode amy is, and ben is outside. Cleo is
always outside.
"""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inspector.store.sqlite import Reader
from inspector.wire.tlv import pack
from tests.live import oscar_sim as sim
from tests.live.conftest import Start
from tests.live.oscar_sim import Client, Connection, Direct, Namespace, Net, Proposal, Server, Socks
from tests.live.peers import ROOT, GatewayChild, Namespaces, Servers
from tests.ports import free_port, free_ports

pytestmark = pytest.mark.live

POLICY = {
    "rules": [
        {"name": "cards", "when": {"finding.rule": "dlp.card_number"}, "then": "redact"},
        {"name": "forbidden", "when": {"event": "message", "text": "(?i)forbidden fruit"}, "then": "block",
         "notify": "Refused, reference {reference}."},
        {"name": "no secrets", "when": {"event": "file", "file.name": "secret*"}, "then": "block",
         "notify": "No such files, reference {reference}."},
        {"name": "viruses", "when": {"event": "file", "finding.rule": "core.eicar"}, "then": "block",
         "notify": "A virus, reference {reference}."},
        {"name": "end", "when": {"event": "message", "text": "cut the line"}, "then": "cut"},
    ],
}
SECONDS = 20.0
ROOM = "!aol://2719:10-4-garden"
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
OFT_PORT = 4443


@dataclass
class World:
    """A gateway, a server behind it, and where the users are."""

    mode: str
    gateway: GatewayChild
    server: Server
    amy_net: Net
    ben_net: Net
    outside: Net
    login: tuple[str, int]
    """Where amy's client signs on."""
    leased: range

    def client(self, net: Net, name: str) -> Client:
        host, port = self.login if net is self.amy_net else (self.server.host, self.server.port)
        return Client(net, host, port, name)

    @contextmanager
    def talking(self, *users: tuple[Net, str]) -> Iterator[list[Client]]:
        """Users who are signed on; at the end every request was answered once and no peer met a fault."""
        before = len(self.server.faults)
        with ExitStack() as stack:
            clients = []
            for net, name in users:
                clients.append(self.client(net, name))
                stack.callback(clients[-1].close)
            yield clients
            for client in clients:
                if client.bos.end.sock.fileno() >= 0:
                    client.bos.settle()
        assert self.server.faults[before:] == []

    def rows(self) -> list[dict[str, Any]]:
        with Reader(self.gateway.folder / "events.db") as reader:
            rows: list[dict[str, Any]] = [json.loads(line) for _, line in reader.select(after=0)]
        return rows

    def row(self, event: str, **fields: Any) -> dict[str, Any]:
        """The newest row of the log with these fields, when it is there. Raises AssertionError."""
        deadline = time.monotonic() + SECONDS
        while True:
            rows = self.rows()
            wanted = {"event": event, **fields}.items()
            found = [row for row in rows if all(row.get(name) == value for name, value in wanted)]
            if found:
                return found[-1]
            assert time.monotonic() < deadline, f"no {event} with {fields} in {rows[-12:]}"
            time.sleep(0.05)


def signatures(folder: Path) -> Path:
    """The project's core pack alone: what a file must not be is EICAR."""
    shutil.copytree(ROOT / "signatures" / "core", folder / "core")
    return folder


@pytest.fixture(scope="module", params=["socks5", "transparent", "reverse"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Each mode in turn."""
    mode: str = request.param
    folder = tmp_path_factory.mktemp(f"oscar-{mode}")
    more: dict[str, Any] = {"policy": POLICY, "archive": "full", "signatures": str(signatures(folder / "packs"))}
    with ExitStack() as stack:
        leased = range(0)
        if mode == "transparent":
            spaces = Namespaces()
            stack.callback(spaces.remove)
            amy_net: Net = Namespace(spaces.cli, spaces.CLIENT)
            ben_net: Net = Namespace(spaces.srv, spaces.SERVER)
            server = Server(ben_net, spaces.SERVER, (5190, 443))
            listener: dict[str, Any] = {"mode": "transparent", "address": "0.0.0.0:9300", "clients": ["10.77.1.0/24"],
                                        "destinations": {"deny": ["own"]}}
            login = spaces.SERVER, 5190
            spaces.redirect([5190, 443, OFT_PORT], 9300)
            more["prefix"] = spaces.inside(spaces.gw)
        elif mode == "socks5":
            proxy = free_port()
            amy_net = ben_net = Socks(proxy)
            server = Server(Direct(), "127.0.0.1")
            listener = {"mode": "socks5", "address": f"127.0.0.1:{proxy}", "destinations": {"allow": ["127.0.0.0/8"]}}
            login = "127.0.0.1", server.port
        else:
            amy_net, ben_net = Direct(), Direct()
            server = Server(Direct(), "127.0.0.1")
            leased = free_ports(12)
            login = "127.0.0.1", free_port()
            listener = {"mode": "reverse", "address": f"127.0.0.1:{login[1]}", "upstream": f"127.0.0.1:{server.port}",
                        "lease_ports": f"{leased[0]}-{leased[-1]}"}
        gateway = GatewayChild(folder / "gateway", [listener], **more)
        stack.callback(gateway.stop)
        outside = Direct() if mode == "socks5" else ben_net
        yield World(mode, gateway, server, amy_net, ben_net, outside, login, leased)
        server.stop()


Talk = tuple[World, Client, Client]


@pytest.fixture
def talk(world: World) -> Iterator[Talk]:
    """Two users signed on."""
    with world.talking((world.amy_net, "amy"), (world.ben_net, "ben")) as (amy, ben):
        yield world, amy, ben


@pytest.fixture
def across(world: World) -> Iterator[Talk]:
    """One user behind the gateway, one outside."""
    with world.talking((world.amy_net, "amy"), (world.outside, "cleo")) as (amy, cleo):
        yield world, amy, cleo


def exchange(amy: Client, ben: Client) -> None:
    """Both ways, acknowledged: the session goes on."""
    for one, two in ((amy, ben), (ben, amy)):
        one.say(two.name, b"and it goes on")
        assert two.message() == (one.name, b"and it goes on")
        one.bos.until(4, 0x0C)


def test_login_redirect_and_messages_both_ways(talk: Talk) -> None:
    """The log knows who writes, on the second connection too, and no secret is anywhere in it."""
    world, amy, ben = talk
    exchange(amy, ben)
    row = world.row("message", text="and it goes on", way="up", recipients=["ben"])
    assert (row["protocol"], row["user"], row["identity"]) == ("oscar", "amy", "authenticated")
    if world.mode == "reverse":
        assert amy.redirected[-1][1] in world.leased
    else:
        assert amy.redirected[-1] == (world.server.host, world.server.session_port)
    told = json.dumps(world.rows()) + world.gateway.child.text()
    for secret in (sim.password("amy"), sim.password("ben")):
        assert secret.decode() not in told
    assert all(ticket.hex()[:24] not in told for ticket in world.server.issued)


def test_an_icq_login(world: World) -> None:
    """The password roasted in the hello, the answer in the closing frame; the session is the number's."""
    with world.talking((world.amy_net, "123456"), (world.ben_net, "ben")) as (number, ben):
        number.say("ben", "schöne Grüße".encode("utf-16-be"), 2)
        assert ben.message() == ("123456", "schöne Grüße".encode("utf-16-be"))
        number.bos.settle()
        row = world.row("message", text="schöne Grüße", way="up")
        assert (row["user"], row["identity"]) == ("123456", "authenticated")


def test_a_client_that_is_sent_elsewhere_stays_in_our_path(talk: Talk) -> None:
    """01/12 in the middle of a session: the next connection is leased anew, and its user known."""
    world, amy, ben = talk
    world.server.migrate("amy")
    amy.migrate()
    assert len(amy.redirected) == 2
    if world.mode == "reverse":
        assert amy.redirected[1][1] in world.leased
        assert amy.redirected[1] != amy.redirected[0]
    amy.say("ben", b"greetings from elsewhere")
    assert ben.message() == ("amy", b"greetings from elsewhere")
    amy.bos.settle()
    row = world.row("message", text="greetings from elsewhere", way="up")
    assert (row["user"], row["identity"]) == ("amy", "authenticated")
    exchange(amy, ben)


def test_a_card_number_is_masked(talk: Talk) -> None:
    """In the text's own charset, with the HTML around it; the server acknowledges it as usual."""
    _, amy, ben = talk
    amy.say("ben", b"<HTML>my card: 4111 <B>1111</B> 1111 1111</HTML>")
    assert ben.message() == ("amy", b"<HTML>my card: *****<B>****</B>**********</HTML>")
    amy.bos.until(4, 0x0C)
    exchange(amy, ben)


def test_a_refused_message_is_answered_and_the_session_goes_on(talk: Talk) -> None:
    """Error and notice for the sender, nothing for the reader, numbers without a hole on all legs."""
    world, amy, ben = talk
    for _ in range(3):
        request = amy.say("ben", b"have some forbidden fruit")
        error = amy.bos.until(4, 1)
        assert (error.request, error.body) == (request, sim.u16(0x0D))
        sender, words = amy.message()
        assert sender == "policy-gateway"
        reference = words.partition(b"reference ")[2][:9].decode()
        assert world.row("verdict", reference=reference)["did"] == "block"
        exchange(amy, ben)


def test_a_refused_message_to_the_user_is_not_heard_of(across: Talk) -> None:
    """The next one follows with the number after the last that came."""
    world, amy, cleo = across
    cleo.say("amy", b"forbidden fruit for you")
    cleo.bos.until(4, 0x0C)
    exchange(amy, cleo)
    row = world.row("verdict", action="block", way="down", sender="cleo")
    assert row["recipients"] == ["amy"]


def test_a_room(talk: Talk) -> None:
    """A connection of its own for each: words pass, are masked, are refused; the room goes on."""
    world, amy, ben = talk
    rooms: list[Connection] = [client.join(ROOM) for client in (amy, ben)]
    hers, his = rooms

    def words(text: bytes, reflect: bool = True) -> bytes:
        return (b"roomtalk" + sim.u16(3) + pack(1, b"") + (pack(6, b"") if reflect else b"")
                + pack(5, pack(2, b"us-ascii") + pack(3, b"en") + pack(1, text)))

    def heard(connection: Connection) -> tuple[str, bytes]:
        tlvs = sim.lists(connection.until(0x0E, 6).body, 10)
        who, said = sim.one(tlvs, 3), sim.one(tlvs, 5)
        assert who is not None
        assert said is not None
        text = sim.one(sim.lists(said), 1)
        assert text is not None
        return sim.take_info(who, 0)[0], text

    try:
        for connection, other, name in ((hers, his, "amy"), (his, hers, "ben")):
            connection.request(0x0E, 5, words(b"what a lovely room"), answered=False)
            assert heard(connection) == heard(other) == (name, b"what a lovely room")
        hers.request(0x0E, 5, words(b"my card is 4111 1111 1111 1111"), answered=False)
        assert heard(hers) == heard(his) == ("amy", b"my card is *******************")
        request = hers.request(0x0E, 5, words(b"forbidden fruit"), answered=False)
        error = hers.until(0x0E, 1)
        assert (error.request, error.body) == (request, sim.u16(0x0D))
        assert heard(hers)[0] == "policy-gateway"
        hers.request(0x0E, 5, words(b"still here"), answered=False)
        assert heard(hers) == heard(his) == ("amy", b"still here")
        row = world.row("message", text="still here", way="up")
        assert (row["user"], row["conversation"]) == ("amy", ROOM)
        if world.mode == "reverse":
            assert amy.redirected[-1][1] in world.leased
            assert amy.redirected[0] != amy.redirected[-1]
    finally:
        for connection in rooms:
            connection.end.close()


def test_a_cut_closes_with_channel_4(talk: Talk) -> None:
    """Both peers get the closing frame in its turn."""
    world, amy, ben = talk
    closed = len(world.server.closed)
    amy.say("ben", b"now cut the line")
    with pytest.raises(EOFError) as ended:
        while True:
            amy.bos.read()
    assert ended.value.args == (sim.CLOSE,)
    deadline = time.monotonic() + SECONDS
    while len(world.server.closed) == closed and time.monotonic() < deadline:
        time.sleep(0.02)
    assert world.server.closed[-1] == "amy"
    amy.close()
    ben.bos.settle()


def test_a_refused_offer_is_cancelled(talk: Talk) -> None:
    """The sender's client reads a cancel with the offer's cookie and a notice; the reader learns nothing."""
    _, amy, ben = talk
    with amy.net.listen() as listener:
        cookie = amy.propose("ben", listener, "secret.txt", 5)
        assert amy.cancelled() == ("ben", cookie)
        assert b"No such files" in amy.message()[1]
    exchange(amy, ben)


def test_a_refused_offer_to_the_user_is_cancelled_at_its_sender(across: Talk) -> None:
    """Nothing reaches our user; the one outside gets a cancel in his name."""
    _, amy, cleo = across
    with cleo.net.listen() as listener:
        cookie = cleo.propose("amy", listener, "secret.txt", 5)
        assert cleo.cancelled() == ("amy", cookie)
    exchange(amy, cleo)


def port_of(client: Client) -> int:
    """Where a client waits for a file: behind the firewall's redirect at a port that is redirected, else anywhere."""
    return OFT_PORT if isinstance(client.net, Namespace) and client.name != "amy" else 0


def transfer(one: Client, two: Client, name: str, data: bytes, pool: ThreadPoolExecutor) -> bytes:
    """A file from `one` to `two`, who connects to where the proposal says, and where he cannot proposes his own
    address. Raises EOFError when it does not come."""
    with one.net.listen(port_of(one)) as listener:
        cookie = one.propose(two.name, listener, name, len(data))
        proposal = two.proposed()
        assert (proposal.cookie, proposal.name, proposal.size) == (cookie, name, len(data))
        try:
            sock = sim.reach(two.net, proposal)
        except OSError:
            return answered(one, two, proposal, data, pool)
        two.answer(one.name, cookie, sim.ACCEPT)

        def serve() -> None:
            accepted, _ = listener.accept()
            sim.send_file(accepted, cookie, name, data)

        return received(sock, proposal, pool.submit(serve))


def turned(one: Client, two: Client, name: str, data: bytes, pool: ThreadPoolExecutor) -> bytes:
    """A file from `one` to `two`, who does not even try to connect."""
    with one.net.listen() as useless:
        one.propose(two.name, useless, name, len(data))
        return answered(one, two, two.proposed(), data, pool)


def answered(one: Client, two: Client, proposal: Proposal, data: bytes, pool: ThreadPoolExecutor) -> bytes:
    """`two` proposes his own address (request number 2), and `one` connects there and sends."""
    with two.net.listen(port_of(two)) as listener:
        two.propose(one.name, listener, proposal.name, len(data), cookie=proposal.cookie, number=2)
        answer = one.proposed()
        assert (answer.number, answer.cookie) == (2, proposal.cookie)
        one.answer(two.name, answer.cookie, sim.ACCEPT)

        def send() -> None:
            sim.send_file(sim.reach(one.net, answer), answer.cookie, proposal.name, data)

        sent = pool.submit(send)
        sock, _ = listener.accept()
        return received(sock, proposal, sent)


def received(sock: socket.socket, proposal: Proposal, sent: Future[None]) -> bytes:
    """The content, once both sides are content; else what its reader met is raised, and its sender met it, too."""
    try:
        got = sim.receive_file(sock, proposal)
    except EOFError:
        with pytest.raises((EOFError, ConnectionError)):
            sent.result(SECONDS)
        raise
    sent.result(SECONDS)
    return got


Send = Callable[[Client, Client, str, bytes, ThreadPoolExecutor], bytes]
HARMLESS = bytes(range(256)) * 700 + b"the end"


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as executor:
        yield executor


CASES = [(transfer, "ben"), (transfer, "amy"), (turned, "amy")]


@pytest.mark.parametrize(("how", "sender"), CASES, ids=["inbound", "outbound", "turned"])
def test_a_harmless_file_arrives_as_it_was(talk: Talk, pool: ThreadPoolExecutor, how: Send, sender: str) -> None:
    """Byte for byte, its digest in the log, linked with who offered it to whom."""
    world, amy, ben = talk
    one, two = (amy, ben) if sender == "amy" else (ben, amy)
    assert how(one, two, "soup of the day.bin", HARMLESS, pool) == HARMLESS
    row = world.row("file", state="transferred", name="soup of the day.bin", sender=one.name)
    assert (row["protocol"], row["size"], row["complete"]) == ("oscar", len(HARMLESS), True)
    assert row["recipients"] == [two.name]
    exchange(amy, ben)


@pytest.mark.parametrize(("how", "sender"), CASES, ids=["inbound", "outbound", "turned"])
def test_a_virus_is_refused_and_both_sides_are_told(
    talk: Talk, pool: ThreadPoolExecutor, how: Send, sender: str,
) -> None:
    """Nothing of it arrives; our user reads a cancel and a notice, the other a cancel; the sessions go on."""
    world, amy, ben = talk
    one, two = (amy, ben) if sender == "amy" else (ben, amy)
    with pytest.raises((EOFError, ConnectionError)):
        how(one, two, "harmless.txt", EICAR, pool)
    for client, other in ((amy, ben), (ben, amy)):
        while True:
            who, block = client.rendezvous()
            if block[:2] == sim.u16(sim.CANCEL):
                assert who == other.name
                break
    told: list[tuple[str, bytes]] = []
    for reader, writer in ((amy, ben), (ben, amy)):
        writer.say(reader.name, b"and it goes on")
        while (said := reader.message()) != (writer.name, b"and it goes on"):
            assert said[0] == "policy-gateway"
            told.append((reader.name, said[1]))
    assert len(told) == 1
    assert b"A virus" in told[0][1]
    # With both behind the gateway either one's session may be the one that knows of the transfer.
    assert told[0][0] == "amy" or world.mode == "socks5"
    row = world.row("verdict", rule="viruses", did="block")
    assert row["protocol"] == "oscar"
    exchange(amy, ben)


def direct(sender: str, text: bytes, flags: int = 0) -> bytes:
    """A frame of direct IM (sheet 9)."""
    head = b"ODC2" + struct.pack(">HHHH8s8xIHxxxxH", 76, 1, 6, 0, bytes(8), len(text), 0, flags)
    return (head.ljust(44, b"\0") + sender.encode()).ljust(76, b"\0") + text


def test_direct_im_belongs_to_the_conversation_that_announced_it(across: Talk) -> None:
    """Announced on the session, made by our client: its words are his and his peer's, and judged like any others."""
    world, amy, cleo = across
    with cleo.net.listen(port_of(cleo)) as listener, ExitStack() as stack:
        cleo.propose("amy", listener, "", 0, service=sim.DIRECT_IM)
        proposal = amy.proposed(sim.DIRECT_IM)
        if world.mode == "reverse":
            assert proposal.port in world.leased
        near = stack.enter_context(sim.reach(amy.net, proposal))
        far = stack.enter_context(listener.accept()[0])
        for sock in (near, far):
            sock.settimeout(SECONDS)
        for sock, other, name in ((near, far, "amy"), (far, near, "cleo")):
            sock.sendall(direct(name, b"", 0x60))
            assert sim.exactly(other, 76) == direct(name, b"", 0x60)
        passed = direct("amy", b"between the two of us, face to face")
        near.sendall(direct("amy", b"forbidden fruit") + direct("amy", b"4111 1111 1111 1111") + passed)
        masked = direct("amy", b"*******************")
        assert sim.exactly(far, len(masked)) == masked
        assert sim.exactly(far, len(passed)) == passed
        row = world.row("message", text="between the two of us, face to face")
        assert (row["protocol"], row["user"], row["identity"]) == ("oscar", "amy", "authenticated")
        assert (row["sender"], row["recipients"]) == ("amy", ["cleo"])
    # What was refused there is told where clients do not take our words for the peer's.
    sender, words = amy.message()
    assert sender == "policy-gateway"
    assert world.row("verdict", reference=words.partition(b"eference ")[2][:9].decode())["rule"] == "forbidden"
    exchange(amy, cleo)


def test_tls_from_the_first_byte_through_redirects(servers: Servers, start_gateway: Start) -> None:
    """Login, session and room, each TLS on both legs; redirects lead to leased ports, the certificates still have the
    real server's name, and every word is read."""
    certificate, key = servers.certificate("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(Direct(), "localhost", secure=context)
    leased, port = free_ports(4), free_port()
    gateway = start_gateway(
        {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"localhost:{server.port}",
         "lease_ports": f"{leased[0]}-{leased[-1]}"}, tls={"intercept": "all"}, policy=POLICY, archive="full")
    trusting = ssl.create_default_context(cafile=str(gateway.authority))
    with ExitStack() as stack:
        stack.callback(server.stop)
        amy = Client(Direct(), "127.0.0.1", port, "amy", (trusting, "localhost"))
        stack.callback(amy.close)
        assert amy.redirected[-1][1] in leased
        amy.say("amy", b"my card: 4111 1111 1111 1111")
        assert amy.message() == ("amy", b"my card: *******************")
        room = amy.join(ROOM)
        stack.callback(room.end.close)
        assert amy.redirected[-1][1] in leased
        amy.bos.settle()
        row = gateway.wait_row("message", way="up", user="amy")
        assert row["identity"] == "authenticated"
    assert server.faults == []


def test_a_leased_port_is_good_for_the_holder_of_the_cookie_alone(servers: Servers, start_gateway: Start) -> None:
    """Somebody else on the same machine, with another cookie, is cut off before the server hears of him."""
    del servers
    server = Server(Direct(), "127.0.0.1")
    leased, port = free_ports(2), free_port()
    gateway = start_gateway(
        {"mode": "reverse", "address": f"127.0.0.1:{port}", "upstream": f"127.0.0.1:{server.port}",
         "lease_ports": f"{leased[0]}-{leased[-1]}"}, policy=POLICY)
    with ExitStack() as stack:
        stack.callback(server.stop)
        with pytest.raises((EOFError, ConnectionError)):
            Client(Direct(), "127.0.0.1", port, "amy", cookie=b"guessed" * 30)
        trouble = gateway.wait_row("trouble", name="malformed")
        assert "oscar.cookie" in trouble["detail"]
        assert "guessed" not in json.dumps(trouble)
    assert list(server.tickets) == server.issued
