"""Harmless messages under the default policy and the project's own packs: nothing happens to them."""

from __future__ import annotations

import base64
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

import pytest

from inspector import policy, scan
from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import DOWN, UP, Address, Chunk, Cut, Flow, Limits, Note, Rules, Scan, Send, Way
from inspector.protocols.registry import SPECS
from tests.harmless import CLAUSES, MESSAGES

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def rules() -> Rules:
    """The default policy and all packs."""
    path = ROOT / "rules" / "policy.yaml"
    packs = scan.load(ROOT / "signatures", Limits())
    assert packs.scanner.packs
    return Rules(1, policy.compile(path.read_text(encoding="utf-8"), str(path)), packs.scanner)


class Line:
    """A session fed both ways, from a client inside to a server outside."""

    def __init__(self, rules: Rules, port: int) -> None:
        flow = Flow(id="f1", client=Address("10.0.0.5", 40000), server=Address("203.0.113.9", port))
        self.world = World(Limits())
        edits = frozenset(edit.name for spec in SPECS for edit in spec.edits if edit.default)
        self.session = Session(flow, Kit(classifier(SPECS), rules, Limits(), edits=edits), self.world)
        self.rows: list[dict[str, object]] = []
        self.at = 1_800_000_000.0

    def feed(self, way: Way, data: bytes) -> bytes:
        """What goes on at once of `data`."""
        self.at += 0.01
        sent = b""
        for effect in self.session.step(Chunk(way, self.at, data), self.world):
            if isinstance(effect, Send):
                assert effect.way is way
                sent += effect.data
            elif isinstance(effect, Note):
                self.rows.append(effect.row)
            else:
                assert not isinstance(effect, (Cut, Scan)), effect
        return sent

    def judged(self) -> list[tuple[object, object, object]]:
        """What rules said of messages."""
        return [(row["did"], row["rule"], row["findings"]) for row in self.rows if row["event"] == "verdict"]


STREAM = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0' {}>"
SASL = "xmlns='urn:ietf:params:xml:ns:xmpp-sasl'"
BIND = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>"
ANSWERS = (
    (UP, STREAM.format("to='example.com'")),
    (DOWN, STREAM.format("from='example.com' id='s1'")),
    (DOWN, f"<stream:features><mechanisms {SASL}><mechanism>PLAIN</mechanism></mechanisms></stream:features>"),
    (UP, f"<auth {SASL} mechanism='PLAIN'>{base64.b64encode(b'?alice?pw'.replace(b'?', bytes(1))).decode()}</auth>"),
    (DOWN, f"<success {SASL}/>"),
    (UP, STREAM.format("to='example.com'")),
    (DOWN, STREAM.format("from='example.com' id='s2'")),
    (DOWN, f"<stream:features>{BIND}</bind></stream:features>"),
    (UP, f"<iq type='set' id='b'>{BIND}<resource>desk</resource></bind></iq>"),
    (DOWN, f"<iq type='result' id='b'>{BIND}<jid>alice@example.com/desk</jid></bind></iq>"),
)


def stanzas(way: Way) -> Iterator[tuple[str, bytes]]:
    """Each message as a chat message; every third has the same words as XHTML."""
    ends = "to='bob@example.org/phone'" if way is UP else "from='bob@example.org/phone' to='alice@example.com/desk'"
    for number, (_, text) in enumerate(MESSAGES):
        words = escape(text)
        html = "" if number % 3 else (
            "<html xmlns='http://jabber.org/protocol/xhtml-im'><body xmlns='http://www.w3.org/1999/xhtml'>"
            f"<p>{words}</p></body></html>")
        yield text, f"<message {ends} type='chat' id='h{number}'><body>{words}</body>{html}</message>".encode()


@pytest.mark.parametrize("way", [UP, DOWN], ids=["outbound", "inbound"])
def test_harmless_messages_pass_over_xmpp(rules: Rules, way: Way) -> None:
    """All of them, written and read: byte-identical, at once, no rule says anything, each is counted as a message."""
    line = Line(rules, 5222)
    for side, said in ANSWERS:
        assert line.feed(side, said.encode()) == said.encode()
    for text, stanza in stanzas(way):
        assert line.feed(way, stanza) == stanza, text
        assert not line.judged(), (text, line.judged())
    assert line.world.tally("xmpp").messages == len(MESSAGES)


@pytest.mark.parametrize("way", [UP, DOWN], ids=["outbound", "inbound"])
def test_harmless_messages_pass_over_irc(rules: Rules, way: Way) -> None:
    """All of them, a line for each line: byte-identical, at once, no rule says anything, each is counted."""
    line = Line(rules, 6667)
    for side, said in ((UP, b"NICK alice\r\nUSER alice 0 * :alice\r\n"), (DOWN, b":irc.test 001 alice :Welcome\r\n")):
        assert line.feed(side, said) == said
    head = b"PRIVMSG bob :" if way is UP else b":bob!b@host.example PRIVMSG alice :"
    lines = [part for _, text in MESSAGES for part in text.split("\n") if part]
    for text in lines:
        raw = head + text.encode() + b"\r\n"
        assert line.feed(way, raw) == raw, text
        assert not line.judged(), (text, line.judged())
    assert line.world.tally("irc").messages == len(lines)


def test_the_rules_are_awake(rules: Rules) -> None:
    """The same sessions, the same rules: a card number among the harmless words does not leave."""
    line = Line(rules, 6667)
    for side, said in ((UP, b"NICK alice\r\nUSER alice 0 * :alice\r\n"), (DOWN, b":irc.test 001 alice :Welcome\r\n")):
        line.feed(side, said)
    line.feed(UP, b"PRIVMSG bob :see you at the corner, 4111 1111 1111 1111\r\n")
    assert [(did, rule) for did, rule, _ in line.judged()] == [("redact", "payment data is masked on its way out")]


@pytest.mark.parametrize("pieces", [
    ("4111 1111", "1111", "1111"), ("my number is 4111", "11111111", "1111"), ("4111-1111-", "1111-", "1111"),
])
def test_a_card_number_in_pieces_does_not_leave(rules: Rules, pieces: tuple[str, ...]) -> None:
    """Each piece is harmless; the one that completes it is refused, and the event names the others."""
    line = Line(rules, 6667)
    for side, said in ((UP, b"NICK alice\r\nUSER alice 0 * :alice\r\n"), (DOWN, b":irc.test 001 alice :Welcome\r\n")):
        line.feed(side, said)
    *first, last = (f"PRIVMSG bob :{piece}\r\n".encode() for piece in pieces)
    for each in first:
        assert line.feed(UP, each) == each
    assert line.feed(UP, last) == b""
    [(did, rule, findings)] = line.judged()
    assert (did, rule) == ("block", "payment data is masked on its way out")
    assert "begun in" in str(findings)


def test_the_messages_are_what_they_are_said_to_be() -> None:
    """2,000, none twice, 100 in each of 20 named languages, with what makes texts hard."""
    assert len({text for _, text in MESSAGES}) == len(MESSAGES) == 2000
    counts = {language: sum(each == language for each, _ in MESSAGES) for language in CLAUSES}
    assert len(counts) == 20
    assert set(counts.values()) == {100}
    every = "".join(text for _, text in MESSAGES)
    for hard in ("\u200d", "\ufe0f", "\U0001f3fd", "\u200f", "&&", "]]>", "https://", "+44", "€", "\n", "<b>"):
        assert hard in every, hard
    assert {unicodedata.bidirectional(letter) for letter in every} >= {"L", "R", "AL", "NSM", "EN"}
