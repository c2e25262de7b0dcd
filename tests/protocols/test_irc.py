"""IRC: what is read out of lines, and how they are refused, masked and answered."""

from __future__ import annotations

import msgspec
import pytest

from inspector.engine.world import LeasePool, LeasingMemory, Paths, SharedMemory
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Act,
    Action,
    Address,
    Chunk,
    Encryption,
    Event,
    Expect,
    FileOffer,
    Flow,
    Frame,
    GroupChange,
    Limits,
    Match,
    Memory,
    Message,
    Notice,
    Oddity,
    Opaque,
    Presence,
    Send,
    SignOn,
    StartTls,
    Text,
    Typing,
    Verdict,
    Way,
    expect_key,
)
from inspector.protocols import irc
from inspector.protocols.irc import (
    DROP_NUL,
    PAYLOAD,
    REFUSE_RESUME,
    SPEC,
    STRICT_DCC,
    IrcDecoder,
    parse,
    probe,
    unescape,
)
from tests.protocols.irc_disguises import DISGUISES as DISGUISES

Said = list[tuple[Way, bytes]]

WELCOME = (
    b":irc.example.net NOTICE * :*** Looking up your hostname...\r\n"
    b"PING :A`x\\^{|\r\n"
    b":irc.example.net 001 alice :Welcome to the Example network alice!~alice@192.0.2.7\r\n"
    b":irc.example.net 002 alice :Your host is irc.example.net, running version toyd-1\r\n"
    b":irc.example.net 005 alice NETWORK=Example CASEMAPPING=rfc1459 CHANTYPES=#& STATUSMSG=@+ :are supported\r\n"
    b":irc.example.net 375 alice :- Message of the day\r\n"
    b":irc.example.net 372 alice :- be kind\r\n"
    b":irc.example.net 376 alice :End of MOTD\r\n"
)
SIGN_ON: Said = [
    (UP, b"CAP LS 302\r\nNICK alice\r\nUSER alice 0 * :Alice Adams\r\n"),
    (DOWN, b":irc.example.net CAP * LS * :message-tags server-time\r\n:irc.example.net CAP * LS :echo-message\r\n"),
    (UP, b"CAP REQ :message-tags server-time\r\n"),
    (DOWN, b":irc.example.net CAP alice ACK :message-tags server-time\r\n"),
    (UP, b"CAP END\r\n"),
    (DOWN, WELCOME),
    (UP, b"PONG :A`x\\^{|\r\n"),
]
TALKS: dict[str, Said] = {
    "chat": [
        *SIGN_ON,
        (UP, b"JOIN #garden,#tools keyword\r\n"),
        (
            DOWN,
            b":alice!~alice@192.0.2.7 JOIN #garden\r\n:irc.example.net 332 alice #garden :Tomatoes and other news\r\n"
            b":irc.example.net 333 alice #garden bob 1700000000\r\n"
            b":irc.example.net 353 alice = #garden :alice @bob \r\n"
            b":irc.example.net 366 alice #garden :End of /NAMES list.\r\n",
        ),
        (UP, b"PRIVMSG #garden :good morning to all of you\r\nPRIVMSG #garden :the tomatoes have come up\r\n"),
        (DOWN, b":bob!~b@192.0.2.8 PRIVMSG #garden :\x02wonderful\x02 news, \x0304,01alice\x0f!\r\n"),
        (
            DOWN,
            b"@time=2026-01-05T10:00:00.000Z;msgid=m1 :bob!~b@192.0.2.8 PRIVMSG alice :come and see me later\r\n"
            b"@time=2026-01-05T10:00:01.000Z;msgid=m2 :bob!~b@192.0.2.8 PRIVMSG alice :bring the blue basket\r\n",
        ),
        (UP, b"PRIVMSG bob,carol,#garden :who brings the basket today\r\n"),
        (UP, b"PRIVMSG bob :\x01ACTION waves with both hands\x01\r\nNOTICE bob :a quiet word for you\r\n"),
        (UP, b"privmsg  #garden    fine\r\n PRIVMSG bob ::-)\r\nPRIVMSG bob :\r\n"),
        (UP, "PRIVMSG #garden :schöne Grüße aus dem Gemüsegarten\r\n".encode()),
        (UP, "PRIVMSG #garden :schöne Grüße von früher\r\n".encode("cp1252")),
        (UP, b"PRIVMSG #garden :" + "庭のトマトが育ちました".encode("iso2022_jp") + b"\r\n"),
        (DOWN, b"PING :irc.example.net\r\n"),
        (UP, b"PONG :irc.example.net\r\n"),
        (UP, b"TOPIC #garden :Potatoes this week\r\nAWAY :gone to the market\r\nAWAY\r\n"),
        (
            DOWN,
            b":alice!~alice@192.0.2.7 TOPIC #garden :Potatoes this week\r\n"
            b":irc.example.net 306 alice :You have been marked as being away\r\n"
            b":irc.example.net 301 alice bob :out with the wheelbarrow\r\n",
        ),
        (UP, b"INVITE carol #garden\r\nKICK #garden dave :please calm down first\r\nMODE #garden +k pear\r\n"),
        (
            DOWN,
            b":bob!~b@192.0.2.8 INVITE alice #tools\r\n:bob!~b@192.0.2.8 KICK #garden dave :enough of this today\r\n"
            b":carol!c@192.0.2.9 PART #garden :see you in the evening\r\n"
            b":carol!c@192.0.2.9 QUIT :the battery is empty\r\n:bob!~b@192.0.2.8 NICK bobby\r\n"
            b":bobby!~b@192.0.2.8 AWAY :asleep in the shed\r\n:bobby!~b@192.0.2.8 MODE #garden +o alice\r\n"
            b":irc.example.net 404 alice #tools :Cannot send to channel\r\n"
            b":irc.example.net NOTICE alice :the server restarts at noon\r\n",
        ),
        (UP, b"NICK alicia\r\n"),
        (DOWN, b":alice!~alice@192.0.2.7 NICK :alicia\r\n"),
        (UP, b"\r\n\nPRIVMSG @#garden :only for the operators here\nWHOIS bobby\r\n"),
        (DOWN, b":irc.example.net 311 alicia bobby ~b 192.0.2.8 * :Robert the gardener\r\n"),
        (UP, b"FROBNICATE a :words of a command unknown\r\nWALLOPS :attention to everybody\r\n"),
        (UP, b"PART #garden,#tools :until tomorrow then\r\nQUIT :good night to all\r\n"),
        (DOWN, b"ERROR :Closing Link: alicia (Quit: good night to all)\r\n"),
    ],
    "modern": [
        (UP, b"CAP LS 302\r\nNICK alice\r\nUSER alice 0 * :Alice Adams\r\n"),
        (DOWN, b":irc.example.net CAP * LS :sasl=PLAIN batch echo-message labeled-response standard-replies\r\n"),
        (UP, b"CAP REQ :sasl batch echo-message labeled-response standard-replies message-tags draft/multiline\r\n"),
        (DOWN, b":irc.example.net CAP alice ACK :sasl batch echo-message labeled-response standard-replies\r\n"),
        (UP, b"AUTHENTICATE PLAIN\r\n"),
        (DOWN, b"AUTHENTICATE +\r\n"),
        (UP, b"AUTHENTICATE YWxpY2UAYWxpY2UAc2VzYW1l\r\n"),
        (
            DOWN,
            b":irc.example.net 900 alice alice!~alice@192.0.2.7 Adams :You are now logged in as Adams\r\n"
            b":irc.example.net 903 alice :SASL authentication successful\r\n",
        ),
        (UP, b"CAP END\r\n"),
        (DOWN, WELCOME),
        (UP, b"@label=l1;+draft/reply=m9 PRIVMSG #garden :an answer with a label\r\n"),
        (DOWN, b"@label=l1;msgid=m10 :alice!~alice@192.0.2.7 PRIVMSG #garden :an answer with a label\r\n"),
        (UP, b"@+typing=active TAGMSG #garden\r\n@+draft/react=ok;+draft/reply=m10 TAGMSG #garden\r\n"),
        (UP, b"@+example.org/note=hidden\\swords\\sin\\sa\\stag PRIVMSG #garden :plain words in the line\r\n"),
        (
            UP,
            b"@label=l2 BATCH +1 draft/multiline #garden\r\n@batch=1 PRIVMSG #garden :first line of the poem\r\n"
            b"@batch=1 PRIVMSG #garden :second line of\r\n@batch=1;draft/multiline-concat PRIVMSG #garden : the "
            b"poem\r\n"
            b"BATCH -1\r\n",
        ),
        (
            DOWN,
            b":irc.example.net BATCH +h chathistory #garden\r\n"
            b"@batch=h;time=2026-01-04T08:00:00.000Z;msgid=h1 :bob!b@192.0.2.8 PRIVMSG #garden :words from "
            b"yesterday\r\n"
            b"@batch=h;time=2026-01-04T08:01:00.000Z :carol!c@192.0.2.9 JOIN #garden\r\n"
            b":irc.example.net BATCH -h\r\n",
        ),
        (
            DOWN,
            b":bob!b@192.0.2.8 BATCH +m draft/multiline #garden\r\n"
            b"@batch=m :bob!b@192.0.2.8 PRIVMSG #garden :roses are red and\r\n"
            b"@batch=m :bob!b@192.0.2.8 PRIVMSG #garden :violets are blue\r\n:bob!b@192.0.2.8 BATCH -m\r\n",
        ),
        (DOWN, b":carol!c@192.0.2.9 JOIN #garden carolacct :Carol of the hills\r\n:alice!~a@192.0.2.7 ACCOUNT *\r\n"),
        (UP, b"SETNAME :Alice of the garden\r\nREDACT #garden m10 :said in anger yesterday\r\n"),
        (UP, b"PRIVMSG NickServ :IDENTIFY sesame\r\nNS IDENTIFY Adams sesame\r\nNS INFO bob\r\nOPER alice sesame\r\n"),
        (DOWN, b":irc.example.net FAIL REDACT UNKNOWN_MSGID #garden m10 :no such message\r\n"),
    ],
    "files": [
        *SIGN_ON,
        (UP, b'PRIVMSG bob :\x01DCC SEND "plan of beds.txt" 3221225991 5000 1024\x01\r\n'),
        (DOWN, b":bob!b@192.0.2.8 PRIVMSG alice :\x01DCC RESUME file.ext 5000 512\x01\r\n"),
        (UP, b"PRIVMSG bob :\x01DCC ACCEPT file.ext 5000 512\x01\r\n"),
        (DOWN, b":bob!b@192.0.2.8 PRIVMSG alice :\x01DCC SEND seeds.csv 3221225992 0 99 17\x01\r\n"),
        (UP, b"PRIVMSG bob :\x01DCC SEND seeds.csv 3221225991 6000 99 17\x01\r\n"),
        (DOWN, b":bob!b@192.0.2.8 PRIVMSG alice :\x01DCC CHAT chat 3221225992 7000\x01\r\n"),
        (
            UP,
            b"PRIVMSG bob :\x01DCC SEND x \x02\x03\x04 abc\x01\r\nPRIVMSG bob :\x01DCC\x01\r\n"
            b"PRIVMSG bob :\x01DCC SEND\x01\r\n",
        ),
        (UP, b"PRIVMSG bob :\x01VERSION\x01\r\n"),
        (DOWN, b":bob!b@192.0.2.8 NOTICE alice :\x01VERSION a client of ours 1.0\x01\r\n"),
        (UP, b"PRIVMSG bob :words \x01ACTION inside\x01 and more words\r\nPRIVMSG bob :\x01PING 12345\r\n"),
    ],
    "secrets": [
        *SIGN_ON,
        (UP, b"PRIVMSG bob :+OK dGhpc2lzbm90cmVhbGx5YWtleQ\r\nNOTICE bob :DH1080_INIT abcdefABCDEF0123456789\r\n"),
        (UP, b"PRIVMSG bob :?OTR:AAMCabcdefghijkl.\r\n"),
        (
            UP,
            b"PRIVMSG bob :-----BEGIN PGP MESSAGE-----\r\nPRIVMSG bob :hQEMA1234567890abcdef\r\n"
            b"PRIVMSG bob :-----END PGP MESSAGE-----\r\nPRIVMSG bob :now in clear words again\r\n",
        ),
    ],
    "no-tls": [
        (UP, b"STARTTLS\r\n"),
        (DOWN, b":irc.example.net 691 * :STARTTLS failed\r\n"),
        *SIGN_ON,
        (UP, b"PRIVMSG #garden :in plain then, dear friends\r\n"),
    ],
    "starttls": [
        (UP, b"STARTTLS\r\n"),
        (DOWN, b":irc.example.net 670  :STARTTLS successful, go ahead\r\n"),
        *SIGN_ON,
        (UP, b"PRIVMSG #garden :now inside the tunnel, friends\r\n"),
    ],
    "bot": [
        (UP, b"CAP REQ :twitch.example/tags\nPASS oauth:sesame\nNICK gardenbot\n"),
        (DOWN, b":tmi.example 001 gardenbot :Welcome, GLHF!\r\n:tmi.example 376 gardenbot :>\r\n"),
        (UP, b"JOIN #garden\n"),
        (
            DOWN,
            b"@badges=;color=#FF0000;user-id=7 :carol!carol@carol.tmi.example PRIVMSG #garden :hello little bot\r\n",
        ),
        (UP, b"PRIVMSG #garden :hello to you, carol\n"),
    ],
    "long": [
        *SIGN_ON,
        (UP, b"PRIVMSG #garden :" + b"an endless speech " * 1500 + b"\r\n"),
        (UP, b"PRIVMSG #garden :short again after it\r\n"),
        (DOWN, b":bob!b@192.0.2.8 PRIVMSG #garden :" + b"ohh what a speech " * 30 + b"\r\n"),
    ],
}

FLOW = Flow("f", Address("192.0.2.7", 40000), Address("198.51.100.1", 6667))
NOTICE = "Not delivered, reference ABCD-EFGH."
BLOCK = Verdict(Action.BLOCK, "r", notice=NOTICE)


class Session:
    """A decoder, driven a line at a time."""

    def __init__(
        self,
        *,
        signed: bool = True,
        edits: frozenset[str] = frozenset(),
        flow: Flow = FLOW,
        limits: Limits | None = None,
        memory: Memory | None = None,
    ) -> None:
        self.decoder = IrcDecoder(flow, limits or Limits(), SharedMemory(100) if memory is None else memory, edits)
        if signed:
            self.down(
                b":irc.example.net 001 alice :Welcome\r\n:irc.example.net 005 alice NETWORK=Example :are supported\r\n"
            )

    def feed(self, way: Way, data: bytes, **more: object) -> list[Frame]:
        return self.decoder.feed(Chunk(way, 5.0, data, **more))  # type: ignore[arg-type]

    def up(self, data: bytes) -> list[Frame]:
        return self.feed(UP, data)

    def down(self, data: bytes) -> list[Frame]:
        return self.feed(DOWN, data)

    def events(self, way: Way, data: bytes) -> list[Event]:
        return [event for frame in self.feed(way, data) for event in frame.events]

    def event(self, way: Way, data: bytes) -> Event:
        (event,) = self.events(way, data)
        return event

    def carry(self, way: Way, data: bytes, *verdicts: Verdict) -> list[Act]:
        """What is sent for the only frame of `data` with these verdicts."""
        (frame,) = self.feed(way, data)
        return self.decoder.apply(frame, verdicts)

    def caps(self, *names: bytes) -> Session:
        self.down(b":irc.example.net CAP alice ACK :" + b" ".join(names) + b"\r\n")
        return self


def mask(*spans: tuple[int, int, int]) -> Verdict:
    return Verdict(Action.REDACT, "r", masks=spans)


def bodies(events: list[Event]) -> list[str]:
    return [text.plain for event in events for text in event.texts]


# -- lines


def test_parse_splits_on_runs_of_blanks_and_only_on_them() -> None:
    """RFC 1459 2.3.1: blanks in front and between, tabs are data, the last parameter after a colon keeps its blanks."""
    line = parse(b"@a=1;b  :n!u@h  frob   #c  \t  :: a  b \r\n")
    assert line is not None
    assert (line.tags, line.source, line.command) == (b"a=1;b", b"n!u@h", "FROB")
    assert line.params == [b"#c", b"\t", b": a  b "]
    assert parse(b"  \r\n") is None
    empty = parse(b":s 670  :text\r\n")
    assert empty is not None
    assert empty.params == [b"text"]


def test_parse_offsets_point_at_the_parameters() -> None:
    """Where a parameter stands is where its bytes are found."""
    raw = b"  PRIVMSG bob  :hello you\r\n"
    line = parse(raw)
    assert line is not None
    assert [raw[a:b] for a, b in line.spans] == line.params == [b"bob", b"hello you"]
    assert raw[line.end :] == b"\r\n"


def test_tag_values_are_unescaped() -> None:
    """IRCv3 message-tags: the five escapes, an unknown one is its letter, a backslash at the end goes."""
    assert unescape(r"a\:b\sc\\d\r\n\x" + "\\") == "a;b c\\d\r\nx"


# -- who


def test_sign_on_claims_the_nick_that_the_server_gives() -> None:
    """001's first parameter, not the nick asked for."""
    session = Session(signed=False)
    session.up(b"NICK wanted\r\nUSER u 0 * :r\r\n")
    assert session.event(DOWN, b":s.example 001 given :Welcome\r\n") == SignOn(
        user="given", identity="claimed", mechanism="001"
    )


def test_sign_on_without_001_comes_with_the_next_numeric_of_registered_clients() -> None:
    """Servers that leave out 001 (private ones of botnets) do not leave us without a user."""
    session = Session(signed=False)
    assert session.event(DOWN, b":s.example 376 bot7 :End of MOTD\r\n") == SignOn(
        user="bot7", identity="claimed", mechanism="376"
    )
    assert session.events(DOWN, b":s.example 001 bot7 :late\r\n") == []


def test_sasl_authenticates_the_account_not_the_nick() -> None:
    """900 before 001: the sign-on is the account's; a nick may be anybody's."""
    session = Session(signed=False)
    session.up(b"AUTHENTICATE SCRAM-SHA-256\r\n")
    session.down(b":s.example 900 * *!u@h adams :You are now logged in as adams\r\n")
    assert session.event(DOWN, b":s.example 001 alice :Welcome\r\n") == SignOn(
        user="adams", identity="authenticated", mechanism="SCRAM-SHA-256"
    )


def test_login_and_logout_later_sign_on_again() -> None:
    """900 and 901 after registration, and ACCOUNT of account-notify for the own nick only."""
    session = Session()
    assert session.event(DOWN, b":s 900 alice alice!u@h adams :in\r\n") == SignOn(
        user="adams", identity="authenticated", mechanism="900"
    )
    assert session.event(DOWN, b":s 901 alice alice!u@h :out\r\n") == SignOn(
        user="alice", identity="claimed", mechanism="901"
    )
    assert session.events(DOWN, b":bob!b@h ACCOUNT bobacct\r\n") == []
    assert session.event(DOWN, b":ALICE!a@h ACCOUNT adams\r\n") == SignOn(
        user="adams", identity="authenticated", mechanism="ACCOUNT"
    )


def test_own_account_in_extended_join_authenticates() -> None:
    """extended-join names the account; `*` is none."""
    session = Session()
    assert session.events(DOWN, b":alice!a@h JOIN #c * :Real Name\r\n")[0] == GroupChange(
        action="join", group="#c", member="alice", texts=(Text("realname", "Real Name"),)
    )
    assert session.events(DOWN, b":alice!a@h JOIN #d adams :Real Name\r\n")[0] == SignOn(
        user="adams", identity="authenticated", mechanism="JOIN"
    )


def test_own_nick_change_signs_on_again_and_others_do_not() -> None:
    """NICK from oneself (compared as the network folds names) changes the sender of what follows."""
    session = Session()
    assert session.events(DOWN, b":bob!b@h NICK :bobby\r\n") == [
        GroupChange(action="nick", group="", member="bob", texts=(Text("nick", "bobby", None, False),))
    ]
    events = session.events(DOWN, b":Alice!a@h NICK :alicia\r\n")
    assert events[0] == SignOn(user="alicia", identity="claimed", mechanism="NICK")
    sent = session.event(UP, b"PRIVMSG bob :hi\r\n")
    assert isinstance(sent, Message)
    assert sent.sender == "alicia"


def test_a_flow_joined_late_learns_its_nick_from_numerics_or_from_what_is_said_to_it() -> None:
    """Without 001 the first parameter of any numeric is the own nick; so is the target of a private message."""
    late = msgspec.structs.replace(FLOW, from_start=False)
    session = Session(signed=False, flow=late)
    session.down(b"rest of a line\r\n")
    assert session.event(DOWN, b":s.example 303 alice :bob\r\n") == SignOn(
        user="alice", identity="claimed", mechanism="303"
    )
    session = Session(signed=False, flow=late)
    assert session.events(DOWN, b":bob!b@h PRIVMSG alice :hi\r\n")[0] == SignOn(
        user="alice", identity="claimed", mechanism="PRIVMSG"
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"PASS sesame\r\n",
        b"OPER alice sesame\r\n",
        b"AUTHENTICATE c2VzYW1l\r\n",
        b"PRIVMSG NickServ :IDENTIFY sesame\r\n",
        b"NS IDENTIFY sesame\r\n",
        b"NICKSERV :identify adams sesame\r\n",
        b"AUTH adams sesame\r\n",
        b"PASS adams:sesame\r\n",
        b"PRIVMSG Q@CServe.example :AUTH adams sesame\r\n",
        b"JOIN #c sesame\r\n",
        b"MODE #c +k sesame\r\n",
        b"ZNC login sesame\r\n",
        b"REGISTER * a@b.example sesame\r\n",
        b"PRIVMSG nickserv :\x02IDENTIFY\x02 sesame\r\n",
        b"MODE #c -o+k bob sesame\r\n",
        b"@label=1 PRIVMSG NickServ :SET PASSWORD sesame\r\n",
    ],
)
def test_secrets_never_reach_an_event(raw: bytes) -> None:
    """Passwords and keys are in no field of any event or oddity, whichever end is taken for the client."""
    for way in (UP, DOWN):
        for frame in Session().feed(way, raw):
            for said in (*frame.events, *frame.oddities):
                assert "sesame" not in repr(said)
                assert "c2VzYW1l" not in repr(said)


def test_words_to_a_service_that_are_no_password_are_read() -> None:
    """Behind the words that may be secret all is seen; other commands are seen whole."""
    session = Session()
    assert bodies(session.events(UP, b"PRIVMSG NickServ :IDENTIFY a b the plan is ready\r\n")) == ["the plan is ready"]
    assert bodies(session.events(UP, b"PRIVMSG MemoServ :SEND bob the plan is ready\r\n")) == [
        "SEND bob the plan is ready"
    ]
    assert bodies(session.events(UP, b"PRIVMSG x :set the table for two\r\n")) == ["set the table for two"]
    assert bodies(session.events(UP, b"PRIVMSG ChanServ :SET #c ENTRYMSG the plan\r\n")) == ["SET #c ENTRYMSG the plan"]
    assert bodies(session.events(UP, b"CS SET #c URL evil.example\r\n")) == ["SET #c URL evil.example"]
    assert bodies(session.events(UP, b"PRIVMSG NickServ :SET GREET evil.example\r\n")) == ["SET GREET evil.example"]
    assert bodies(session.events(UP, b"PRIVMSG ChanServ :SET #c PASSWD one two the plan\r\n")) == ["the plan"]


def test_words_of_people_in_numerics_are_read() -> None:
    """328 the address that a channel's founder gave it, 760 and 761 what somebody says of himself, 314 the real name of
    somebody who was here."""
    session = Session()
    for line in (
        b":services. 328 alice #c :the plan\r\n", b":s 761 alice bob url * :the plan\r\n",
        b":s 760 alice bob url * :the plan\r\n", b":s 761 bob url * :the plan\r\n",
        b":s 314 alice bob b h * :the plan\r\n",
    ):
        assert bodies(session.events(DOWN, line)) == ["the plan"], line


# -- messages


def test_a_message_up() -> None:
    """Sender is the own nick, the conversation network and channel, folded; said twice it reads the same."""
    session = Session()
    want = Message(
        sender="alice",
        recipients=("#Dev[1]",),
        conversation="Example/#dev{1}",
        texts=(Text("body", "the key is here"),),
    )
    assert session.event(UP, b"PRIVMSG #Dev[1] :the key is here\r\n") == want
    assert session.event(UP, b"PRIVMSG #Dev[1] :the key is here\r\n") == want
    assert session.event(UP, b"PRIVMSG #Dev[1] :the key is here\n") == want
    assert session.event(UP, b"  privmsg  #Dev[1]   :the key is here\r\n") == want


def test_a_message_down_is_of_its_source_and_talks_of_two_share_a_conversation() -> None:
    """To the own nick: the conversation is the sender's nick, as it is on the way up."""
    session = Session()
    for _ in range(2):
        event = session.event(DOWN, b":bob!b@h PRIVMSG alice :hi\r\n")
        assert event == Message(
            sender="bob",
            recipients=("alice",),
            conversation="Example/bob",
            texts=(Text("body", "hi"),),
            answerable=False,
        )
    up = session.event(UP, b"PRIVMSG BOB :hi\r\n")
    assert isinstance(up, Message)
    assert up.conversation == "Example/bob"


def test_server_tags_give_id_and_time_on_the_short_way_and_the_long() -> None:
    """msgid and server-time are read whether the head of the line was known or not."""
    session = Session()
    raw = b"@time=2026-01-05T10:00:00.500Z;msgid=m1 :bob!b@h PRIVMSG #c :hi\r\n"
    first, second = session.event(DOWN, raw), session.event(DOWN, raw)
    assert (
        first
        == second
        == Message(
            sender="bob",
            recipients=("#c",),
            conversation="Example/#c",
            texts=(Text("body", "hi"),),
            id="m1",
            sent_at=1767607200.5,
            answerable=False,
        )
    )


def test_a_remembered_head_is_not_taken_for_a_line_without_text() -> None:
    """`PRIVMSG #c` alone says nothing, even when `PRIVMSG #c :…` was said before."""
    session = Session()
    session.up(b"PRIVMSG #c :one\r\n")
    assert session.events(UP, b"PRIVMSG #c\n") == []
    assert session.events(UP, b"PRIVMSG #c\r\n") == []
    assert bodies(session.events(UP, b"PRIVMSG #c :two :three\r\n")) == ["two :three"]


def test_a_head_remembered_of_one_way_is_not_taken_for_one_of_the_other() -> None:
    """The same words from the server, without a source, are not the user's."""
    session = Session()
    session.up(b"PRIVMSG bob :one\r\n")
    event = session.event(DOWN, b"PRIVMSG bob :one\r\n")
    assert isinstance(event, Message)
    assert (event.kind, event.sender) == ("chat", None)


def test_several_targets_are_a_message_each() -> None:
    """Each target gets its own verdict; too many share the last one's."""
    session = Session(limits=Limits(irc_targets=2))
    events = session.events(UP, b"PRIVMSG a,,#b,c :hi\r\n")
    assert [e.recipients for e in events if isinstance(e, Message)] == [("a",), ("#b", "c")]


def test_names_in_other_charsets_are_readable() -> None:
    """A channel's name may be in CP1252; on the wire it stays as it was."""
    session = Session()
    raw = "PRIVMSG #grün,#b :hi\r\n".encode("cp1252")
    (frame,) = session.up(raw)
    assert [e.recipients for e in frame.events if isinstance(e, Message)] == [("#grün",), ("#b",)]
    assert session.decoder.apply(frame, (PASSED, Verdict(Action.BLOCK))) == [
        Send(UP, "PRIVMSG #grün :hi\r\n".encode("cp1252"))
    ]


def test_a_status_prefix_belongs_to_the_recipient_not_to_the_conversation() -> None:
    """`@#c` speaks to the operators of #c."""
    event = Session().event(UP, b"PRIVMSG @#c :hi\r\n")
    assert isinstance(event, Message)
    assert (event.recipients, event.conversation) == (("@#c",), "Example/#c")


def test_formatting_codes_are_no_part_of_the_text() -> None:
    """Codes split words for a scanner, not for a reader."""
    assert bodies(Session().events(UP, b"PRIVMSG #c :se\x02\x02cr\x0304et \x1d1\x0f\r\n")) == ["secret 1"]


def test_notices_and_server_words() -> None:
    """A person's NOTICE is kind notice; a server's, or one before registration, is kind server."""
    session = Session(signed=False)
    kinds = []
    for raw in (b"NOTICE AUTH :*** hi\r\n", b":irc.example.net NOTICE * :*** hi\r\n"):
        event = session.event(DOWN, raw)
        assert isinstance(event, Message)
        kinds.append((event.kind, event.sender))
    session.down(b":irc.example.net 001 alice :Welcome\r\n")
    for raw in (b":bob!b@h NOTICE alice :psst\r\n", b":irc.example.net NOTICE alice :psst\r\n", b":a.b WALLOPS :x\r\n"):
        event = session.event(DOWN, raw)
        assert isinstance(event, Message)
        kinds.append((event.kind, event.sender))
    assert kinds == [
        ("server", None),
        ("server", "irc.example.net"),
        ("notice", "bob"),
        ("server", "irc.example.net"),
        ("server", "a.b"),
    ]


def test_action_and_other_ctcp() -> None:
    """ACTION is words of a person, with its last mark missing too; other requests are opaque, with their text."""
    session = Session()
    for raw in (b"PRIVMSG #c :\x01ACTION waves\x01\r\n", b"PRIVMSG #c :\x01action waves\r\n"):
        event = session.event(UP, raw)
        assert isinstance(event, Message)
        assert (event.kind, bodies([event])) == ("action", ["waves"])
    assert session.event(UP, b"PRIVMSG bob :\x01PING 12 34\x01\r\n") == Opaque(
        kind="ctcp.ping", sender="alice", recipients=("bob",), texts=(Text("body", "12 34"),), personal=True,
    )
    assert session.event(UP, b"NOTICE bob :\x01VERSION a b\x01\r\n") == Opaque(
        kind="ctcp_reply.version", sender="alice", recipients=("bob",), texts=(Text("body", "a b"),), answerable=False,
        personal=True,
    )


def test_several_ctcp_in_one_line_are_all_seen() -> None:
    """Old clients put more than one into a line, and words around them."""
    events = Session().events(UP, b"PRIVMSG bob :\x01VERSION\x01 hello \x01DCC SEND f.exe 3221225991 5000 9\x01\r\n")
    assert [type(e).__name__ for e in events] == ["Opaque", "Message", "FileOffer"]
    events = Session().events(UP, b"PRIVMSG bob :look \x01DCC SEND f.exe 3221225991 5000 9\x01\r\n")
    assert [type(e).__name__ for e in events] == ["Message", "FileOffer"]


def test_many_pieces_to_many_targets_are_read_as_one_text() -> None:
    """The events of one line have a bound; a file offer among the pieces is still named."""
    targets = b",".join(b"u%d" % i for i in range(60))
    raw = b"PRIVMSG " + targets + b" :" + b"\x01A b\x01" * 8 + b"\x01DCC SEND f 1 2 3\x01\r\n"
    (frame,) = Session().up(raw)
    assert [type(e).__name__ for e in frame.events[:2]] == ["Message", "FileOffer"]
    assert len(frame.events) == 120


def test_echoes_are_copies() -> None:
    """echo-message: the own words come back."""
    session = Session().caps(b"echo-message")
    event = session.event(DOWN, b":alice!a@h PRIVMSG #c :hi\r\n")
    assert isinstance(event, Message)
    assert (event.copy, event.sender, event.conversation) == ("echo", "alice", "Example/#c")
    event = session.event(DOWN, b":alice!a@h PRIVMSG bob :hi\r\n")
    assert isinstance(event, Message)
    assert (event.copy, event.conversation) == ("echo", "Example/bob")


def test_history_is_a_copy() -> None:
    """Lines of a chathistory or playback batch were said before; its end ends that."""
    session = Session()
    session.down(b":s BATCH +7 chathistory #c\r\n")
    old = session.event(DOWN, b"@batch=7 :bob!b@h PRIVMSG #c :hi\r\n")
    session.down(b":s BATCH -7\r\n")
    new = session.event(DOWN, b"@batch=7 :bob!b@h PRIVMSG #c :hi\r\n")
    assert isinstance(old, Message)
    assert isinstance(new, Message)
    assert (old.copy, new.copy) == ("history", "no")


def test_topic_away_invite_and_reasons() -> None:
    """What people write beside messages is read as what it is."""
    session = Session()
    assert session.event(UP, b"TOPIC #c :new words\r\n") == Message(
        kind="topic", sender="alice", recipients=("#c",), conversation="Example/#c", texts=(Text("topic", "new words"),)
    )
    assert session.events(UP, b"TOPIC #c\r\n") == []
    assert session.event(DOWN, b":s 332 alice #c :old words\r\n") == Message(
        kind="topic",
        recipients=("#c",),
        conversation="Example/#c",
        texts=(Text("topic", "old words"),),
        copy="history",
        answerable=False,
    )
    assert session.event(UP, b"AWAY :at lunch\r\n") == Message(
        kind="away", sender="alice", texts=(Text("away", "at lunch"),)
    )
    assert session.event(DOWN, b":s 301 alice bob :asleep\r\n") == Message(
        kind="away", sender="bob", recipients=("alice",), texts=(Text("away", "asleep"),), answerable=False
    )
    assert session.event(UP, b"INVITE bob #c\r\n") == Message(
        kind="invite", sender="alice", recipients=("bob",), conversation="Example/#c"
    )
    assert session.event(UP, b"PART #c :bye now\r\n") == GroupChange(
        action="leave", group="#c", member="alice", texts=(Text("reason", "bye now"),)
    )
    assert session.event(DOWN, b":bob!b@h KICK #c carol :enough\r\n") == GroupChange(
        action="kick", group="#c", member="carol", texts=(Text("reason", "enough"),)
    )
    assert session.event(DOWN, b":bob!b@h QUIT :gone\r\n") == Presence(
        sender="bob", availability="offline", texts=(Text("reason", "gone"),)
    )
    assert session.event(UP, b"AWAY\r\n") == Presence(sender="alice", availability="online")
    assert session.event(UP, b"JOIN 0\r\n") == GroupChange(action="leave", group="*", member="alice")


def test_realname_is_read_before_registration() -> None:
    """USER and SETNAME carry words."""
    assert Session(signed=False).event(UP, b"USER a 0 * :Words here\r\n") == Opaque(
        kind="realname", texts=(Text("realname", "Words here"),), answerable=False
    )
    assert bodies(Session().events(UP, b"SETNAME :Other words\r\n")) == ["Other words"]


def test_typing_reactions_and_tags_that_nobody_knows() -> None:
    """TAGMSG has meaning in its tags; unknown client tags may carry anything and are looked at."""
    session = Session()
    assert session.event(UP, b"@+typing=active TAGMSG #c\r\n") == Typing(
        state="active", sender="alice", recipients=("#c",)
    )
    assert session.event(UP, b"@+draft/react=:-);+draft/reply=m1;label=9 TAGMSG #c\r\n") == Message(
        kind="reaction",
        sender="alice",
        recipients=("#c",),
        conversation="Example/#c",
        texts=(Text("reaction", ":-)", None, False),),
        id="9",
        replaces="m1",
    )
    events = session.events(UP, b"@+x.example/y=the\\splan PRIVMSG #c :hi\r\n")
    assert bodies(events) == ["hi", "the plan"]
    assert bodies(session.events(UP, b"@+draft/react=plan PRIVMSG #c :hi\r\n")) == ["hi", "plan"]
    assert Session().carry(UP, b"@+x.example/y=the\\splan PRIVMSG #c :hi\r\n", PASSED, BLOCK) == [
        Send(DOWN, f":irc.example.net NOTICE alice :[#c] {NOTICE}\r\n".encode())
    ]


def test_surplus_parameters_are_read_as_servers_join_them() -> None:
    """Without a colon the words are parameters of their own, which InspIRCd joins to the last one it wants: they are
    one text, a DCC offer among them is one, a mask stars them in place, and a colon in the middle hides nothing."""
    session = Session()
    assert bodies(session.events(UP, b"PRIVMSG bob the plan is  ready\r\n")) == ["the plan is  ready"]
    assert bodies(session.events(UP, b"PRIVMSG bob the :plan is on\r\n")) == ["the :plan is on", "the plan is on"]
    assert bodies(session.events(UP, b"TOPIC #c new words here\r\n")) == ["new words here"]
    assert bodies(session.events(UP, b"QUIT gone to the market\r\n")) == ["gone to the market"]
    assert bodies(session.events(UP, b"KICK #c dave calm down\r\n")) == ["calm down"]
    offer = session.events(UP, b"PRIVMSG bob \x01DCC SEND plan.pdf 3221225991 5000 99\x01\r\n")
    assert [type(event) for event in offer] == [FileOffer]
    frame = session.up(b"PRIVMSG bob the plan is ready\r\n")[0]
    assert session.decoder.apply(frame, [mask((0, 4, 8))]) == [Send(UP, b"PRIVMSG bob :the **** is ready\r\n")]
    for line in (b"PRIVMSG NickServ IDENTIFY sesame\r\n", b"PRIVMSG NickServ IDENTIFY :sesame\r\n"):
        assert "sesame" not in repr(session.events(UP, line))


def test_unknown_commands_have_their_words_read() -> None:
    """A command nobody told us of may reach somebody."""
    assert Session().event(UP, b"FROB a :the plan\r\n") == Opaque(
        kind="frob", sender="alice", texts=(Text("body", "a the plan", None, False),)
    )
    assert bodies(Session().events(UP, b"\x02\xff the plan\r\n")) != []


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        (b"+OK dGhpc2lzbm90cmVhbGx5", "fish"),
        (b"+OK see you then", None),
        (b"+OK fine", None),
        (b"mcps abcdefghijkl", "fish"),
        (b"?OTRv23?", "otr"),
        (b"-----BEGIN PGP MESSAGE-----", "openpgp"),
        (b"DH1080_INIT abc", "fish"),
    ],
)
def test_encryption_is_told(text: bytes, scheme: str | None) -> None:
    """Ciphers of IRC are told by how their texts begin, with no false word for a plain answer."""
    event = Session().event(UP, b"PRIVMSG bob :" + text + b"\r\n")
    assert isinstance(event, Message)
    assert event.encryption == (Encryption("metadata", scheme) if scheme else Encryption())


def test_an_armour_over_several_lines_is_encrypted_to_its_end() -> None:
    """Also when the same head was plain before, and only for that talk."""
    session = Session()
    session.up(b"PRIVMSG bob :plain\r\n")
    schemes = []
    for raw in (
        b"PRIVMSG bob :-----BEGIN PGP MESSAGE-----\r\n",
        b"PRIVMSG bob :hQEMA\r\n",
        b"PRIVMSG carol :hi\r\n",
        b"PRIVMSG bob :-----END PGP MESSAGE-----\r\n",
        b"PRIVMSG bob :hi\r\n",
    ):
        event = session.event(UP, raw)
        assert isinstance(event, Message)
        schemes.append(event.encryption.scheme)
    assert schemes == ["openpgp", "openpgp", None, "openpgp", None]


def test_identify_msg_marks_are_no_text() -> None:
    """After 290 IDENTIFY-MSG each text down has a mark, which stays where it is when the text is masked."""
    session = Session()
    assert bodies(session.events(DOWN, b":b!b@h PRIVMSG #c :+one\r\n")) == ["+one"]
    session.down(b":s 290 alice IDENTIFY-MSG\r\n")
    assert bodies(session.events(DOWN, b":b!b@h PRIVMSG #c :+one\r\n")) == ["one"]
    assert bodies(session.events(DOWN, b":b!b@h PRIVMSG #c :-\x01ACTION two\x01\r\n")) == ["two"]
    assert session.carry(DOWN, b":b!b@h PRIVMSG #c :+one\r\n", mask((0, 0, 3))) == [
        Send(DOWN, b":b!b@h PRIVMSG #c :+***\r\n")
    ]


def test_identify_msg_is_guessed_only_in_a_flow_joined_late() -> None:
    """Eight marked texts in a row are believed; one without a mark says that there are none."""
    late = msgspec.structs.replace(FLOW, from_start=False)
    session = Session(signed=False, flow=late)
    marked = [bodies(session.events(DOWN, b":b!b@h PRIVMSG #c :+text\r\n")) for _ in range(9)]
    assert marked[0] == ["+text"]
    assert marked[8] == ["text"]
    session = Session(signed=False, flow=late)
    session.down(b":b!b@h PRIVMSG #c :text\r\n")
    assert [bodies(session.events(DOWN, b":b!b@h PRIVMSG #c :+text\r\n")) for _ in range(9)] == [["+text"]] * 9


def test_multiline_is_one_message_on_the_last_unit() -> None:
    """draft/multiline: lines joined by a line feed, or without with the concat tag."""
    frames = Session().up(
        b"@label=5 BATCH +1 draft/multiline #c\r\n@batch=1 PRIVMSG #c :one\r\n@batch=1 PRIVMSG #c :tw\r\n"
        b"@batch=1;draft/multiline-concat PRIVMSG #c :o\r\nBATCH -1\r\n"
    )
    assert [f.part for f in frames] == ["first", "more", "more", "more", "last"]
    assert len({f.group for f in frames}) == 1
    assert [f.events for f in frames[:-1]] == [()] * 4
    assert frames[-1].events == (
        Message(
            sender="alice",
            recipients=("#c",),
            conversation="Example/#c",
            texts=(Text("body", "one\ntwo"), Text("body", "one\ntw\no")),
            id="5",
        ),
    )


def test_multiline_without_draft_puts_lines_together_by_its_own_tag() -> None:
    """Where the type may stand without "draft/", so may the tag."""
    frames = Session().up(
        b"BATCH +1 multiline #c\r\n@batch=1 PRIVMSG #c :evil.\r\n@batch=1;multiline-concat PRIVMSG #c :example\r\n"
        b"BATCH -1\r\n"
    )
    assert bodies(list(frames[-1].events)) == ["evil.example", "evil.\nexample"]


def test_lines_put_together_are_read_apart_too() -> None:
    """Who knows no draft/multiline gets each line for itself: "x" and "evil.example", where others read one word."""
    session = Session()
    frames = session.up(
        b"BATCH +1 draft/multiline #c\r\n@batch=1 PRIVMSG #c :x\r\n"
        b"@batch=1;draft/multiline-concat PRIVMSG #c :evil.example\r\nBATCH -1\r\n"
    )
    (event,) = frames[-1].events
    assert isinstance(event, Message)
    assert event.texts == (Text("body", "xevil.example"), Text("body", "x\nevil.example"))
    sent = [session.decoder.apply(frame, [mask((1, 2, 6))]) for frame in frames]
    assert sent[2] == [Send(UP, b"@batch=1;draft/multiline-concat PRIVMSG #c :****.example\r\n")]
    assert sent[1] == [Send(UP, b"@batch=1 PRIVMSG #c :x\r\n")]


def test_a_multiline_that_grows_too_long_is_judged_in_two() -> None:
    """What is there is closed as one message; nothing is buffered without bound."""
    session = Session(limits=Limits(group_bytes=400))
    frames = session.up(
        b"BATCH +1 draft/multiline #c\r\n" + b"@batch=1 PRIVMSG #c :0123456789\r\n" * 20 + b"BATCH -1\r\n"
    )
    last = [i for i, f in enumerate(frames) if f.part == "last"]
    assert len(last) == 1
    assert sum(len(f.raw) for f in frames if f.group) <= 400
    assert all(f.events for f in frames[last[0] : -1])
    assert Oddity("irc.long_batch") in frames[last[0]].oddities


def test_batches_have_a_bound() -> None:
    """More open batches than the limit are an oddity, and remembered no longer."""
    session = Session(limits=Limits(irc_batches=2))
    frames = session.down(b"".join(b":s BATCH +%d chathistory #c\r\n" % i for i in range(4)))
    assert [len(f.oddities) for f in frames] == [0, 0, 1, 1]


# -- DCC


def offer_of(frame: Frame) -> FileOffer:
    (event,) = [event for event in frame.events if isinstance(event, FileOffer)]
    return event


def announced(address: str, offer: FileOffer, key: str = "SEND", *, reverse: bool = False) -> Expect:
    return Expect(address, "dcc", "alice", key, offer, "f", "claimed", reverse=reverse)


def leasing(first: int = 9400, host: str = "198.51.100.99") -> tuple[LeasePool, LeasingMemory]:
    """A reverse listener's memory: two ports, one host for both sides."""
    pool = LeasePool(range(first, first + 2), 120.0)
    return pool, LeasingMemory(SharedMemory(100), Paths(pool, host, host, "192.0.2.7"))


def test_a_file_offer_that_passes_announces_its_connection() -> None:
    """The offer is named, and where it will come from is expected, with all that is known of it."""
    session = Session()
    raw = b"PRIVMSG bob :\x01DCC SEND plan.exe 3221225991 5000 12\x01\r\n"
    (frame,) = session.up(raw)
    offer = FileOffer(
        sender="alice",
        recipients=("bob",),
        conversation="Example/bob",
        file_name="plan.exe",
        size=12,
        method="dcc",
        address="192.0.2.7:5000",
        texts=(Text("file_name", "plan.exe", None, False),),
    )
    assert frame.events == (offer,)
    assert session.decoder.apply(frame, (PASSED,)) == [Send(UP, raw), announced("192.0.2.7:5000", offer)]
    assert session.decoder.apply(frame, (BLOCK,)) == [
        Send(DOWN, f":irc.example.net NOTICE alice :[bob] {NOTICE}\r\n".encode())
    ]


def test_an_authenticated_user_announces_by_his_account() -> None:
    """Policy must be able to name him."""
    session = Session()
    session.down(b":s 900 alice alice!u@h adams :in\r\n")
    expect = session.carry(UP, b"PRIVMSG bob :\x01DCC SEND a 3221225991 5000 12\x01\r\n", PASSED)[1]
    assert isinstance(expect, Expect)
    assert (expect.by, expect.identity) == ("adams", "authenticated")


def test_dcc_chat_and_an_unknown_own_address() -> None:
    """CHAT is an offer too; address 0 means the offerer's own, and both addresses are expected."""
    session = Session()
    (frame,) = session.up(b"PRIVMSG bob :\x01DCC CHAT chat 0 5000\x01\r\n")
    offer = offer_of(frame)
    assert (offer.method, offer.address, offer.file_name, offer.texts) == ("dcc_chat", "192.0.2.7:5000", "", ())
    assert session.decoder.apply(frame, (PASSED,))[1:] == [
        announced("0.0.0.0:5000", offer, "CHAT"), announced("192.0.2.7:5000", offer, "CHAT")]
    (frame,) = session.down(b":bob!b@192.0.2.8 PRIVMSG alice :\x01DCC SEND a 0 5000 12\x01\r\n")
    assert offer_of(frame).address == "192.0.2.8:5000"
    (frame,) = session.down(b":bob!b@cloak.example PRIVMSG alice :\x01DCC SEND a 0 5000 12\x01\r\n")
    assert offer_of(frame).address == "0.0.0.0:5000"


def test_an_offer_in_a_notice_is_one() -> None:
    """Some clients take it; nobody is told by a notice, though."""
    session = Session()
    (frame,) = session.up(b"NOTICE bob :\x01DCC SEND a 3221225991 5000 12\x01\r\n")
    assert offer_of(frame).answerable is False
    assert len(session.decoder.apply(frame, (PASSED,))) == 2


def test_passive_dcc_expects_the_answer() -> None:
    """Port 0 announces nothing; the answer with the same token does, and is no offer of its own: the one who offered
    connects and sends."""
    session = Session()
    (frame,) = session.up(b"PRIVMSG bob :\x01DCC SEND a b.txt 3221225991 0 12 77\x01\r\n")
    offer = offer_of(frame)
    assert session.decoder.apply(frame, (PASSED,)) == [Send(UP, frame.raw)]
    (frame,) = session.down(b":bob!b@h PRIVMSG alice :\x01DCC SEND a_b.txt 3221225992 6000 12 77\x01\r\n")
    assert isinstance(frame.events[0], Opaque)
    offer = msgspec.structs.replace(offer, address="192.0.2.8:6000")
    assert session.decoder.apply(frame, (PASSED,))[1:] == [announced("192.0.2.8:6000", offer, reverse=True)]


@pytest.mark.parametrize(
    "answer",
    [
        b"SEND evil.exe 3221225992 6000 12 77",
        b"CHAT chat 3221225992 6000 77",
        b"SEND a.txt 3221225992 6000 12 78",
        b"SEND a.txt 3221225992 6000 12",
    ],
)
def test_what_does_not_fit_the_passive_offer_is_an_offer_of_its_own(answer: bytes) -> None:
    """A name that was never judged must not come in as an answer."""
    session = Session()
    session.up(b"PRIVMSG bob :\x01DCC SEND a.txt 3221225991 0 12 77\x01\r\n")
    (frame,) = session.down(b":bob!b@h PRIVMSG alice :\x01DCC " + answer + b"\x01\r\n")
    expect = session.decoder.apply(frame, (PASSED,))[1]
    assert isinstance(expect, Expect)
    assert expect.offer == offer_of(frame)
    assert expect.reverse is False


def test_malformed_and_countless_offers_are_oddities() -> None:
    """A bad offer is still an event; a flood of them does not flood the table of expectations."""
    session = Session(limits=Limits(dcc_offers=2))
    (frame,) = session.up(b"PRIVMSG bob :\x01DCC SEND x abc def\x01\r\n")
    assert Oddity("irc.dcc_malformed", "SEND") in frame.oddities
    assert isinstance(frame.events[0], FileOffer)
    frames = session.up(b"PRIVMSG bob :\x01DCC SEND x 3221225991 5000 1\x01\r\n" * 4)
    assert [bool(f.oddities) for f in frames] == [False, False, True, True]


@pytest.mark.parametrize(
    "words",
    [
        b"SEND x 3221225991x 5000 9",
        b"SEND x 3221225991 65616 9",
        b"SEND a 16909060 80 3221225991 5000 12",
        b"SEND",
    ],
)
def test_offers_that_clients_may_read_otherwise_are_not_passed_on(words: bytes) -> None:
    """A client that stops at the first letter of a number, or counts from the left, would connect where nobody looks:
    with the edit the offer stays here, and our user is told."""
    session = Session(edits=frozenset({STRICT_DCC}))
    (frame,) = session.up(b"PRIVMSG bob :\x01DCC " + words + b"\x01\r\n")
    assert frame.edit == STRICT_DCC
    (notice,) = session.decoder.apply(frame, (PASSED,))
    assert isinstance(notice, Send)
    assert notice.way is DOWN
    (frame,) = session.down(b":bob!b@h PRIVMSG alice :\x01DCC " + words + b"\x01\r\n")
    assert session.decoder.apply(frame, (PASSED,)) == []


def test_an_echo_of_the_own_offer_arranges_nothing() -> None:
    """echo-message: what we wrote comes back; it takes no port and leads nowhere."""
    _, memory = leasing()
    session = Session(memory=memory).caps(b"echo-message")
    (sent, _) = session.carry(UP, b"PRIVMSG bob :\x01DCC SEND a 3221225991 5000 12\x01\r\n", PASSED)
    assert isinstance(sent, Send)
    echo = b":alice!a@h " + sent.data
    assert session.carry(DOWN, echo, PASSED) == [Send(DOWN, echo)]


def test_offers_above_the_bound_are_not_passed_on() -> None:
    """What nobody will expect must not be offered; after a while there is room again."""
    session = Session(limits=Limits(dcc_offers=1, expect_seconds=3), edits=frozenset({STRICT_DCC}))
    raw = b"PRIVMSG bob :\x01DCC SEND x 3221225991 5000 1\x01\r\n"
    assert [f.edit for f in session.up(raw * 2)] == [None, STRICT_DCC]
    assert [f.edit for f in session.decoder.feed(Chunk(UP, 9.0, raw))] == [None]


def test_an_offer_in_an_endless_line_is_not_passed_on_with_the_edit() -> None:
    """Its address cannot be written anew there; without the edit its connection is expected."""
    raw = b"PRIVMSG bob :\x01DCC SEND x 3221225991 5000 1\x01" + b"y" * 9000 + b"\r\n"
    session = Session()
    sent = [act for f in session.up(raw) for act in session.decoder.apply(f, [PASSED] * len(f.events))]
    assert [type(act).__name__ for act in sent] == ["Send", "Expect", "Send"]
    for words in (raw, raw.replace(b"5000", b"5000x"), raw.replace(b"y", b"\0", 1)):
        session = Session(edits=frozenset({STRICT_DCC, DROP_NUL}))
        assert [a for f in session.up(words) for a in session.decoder.apply(f, [PASSED] * len(f.events))] == []


@pytest.mark.parametrize(
    ("way", "words", "oddity"),
    [
        (UP, b"SEND x 16909060 5000 9", Oddity("irc.dcc_foreign_address")),
        (DOWN, b"SEND x 16909060 5000 9", Oddity("irc.dcc_foreign_address")),
        (UP, b"SEND x 3221225991 80 9", Oddity("irc.dcc_low_port", "80")),
        (DOWN, b"SEND x 3232235786 5000 9", Oddity("irc.dcc_private_address")),
        (UP, b"SEND ../../x 3221225991 5000 9", Oddity("irc.dcc_name", "path")),
        (UP, b"SSEND x 3221225991 5000 9", Oddity("irc.dcc_tls", "SSEND")),
    ],
)
def test_tricks_of_offers_are_told(way: Way, words: bytes, oddity: Oddity) -> None:
    """Addresses of third parties (FTP bounce), servers' ports, inner addresses from outside, names with a purpose."""
    session = Session(flow=msgspec.structs.replace(FLOW, server=Address("8.8.8.8", 6667)))
    source = b":bob!b@192.0.2.8 " if way is DOWN else b""
    (frame,) = session.feed(way, source + b"PRIVMSG bob :\x01DCC " + words + b"\x01\r\n")
    assert oddity in frame.oddities
    (frame,) = session.up(b"PRIVMSG bob :\x01DCC SEND x 3221225991 5000 9\x01\r\n")
    assert frame.oddities == ()


# -- DCC through ports of ours


def test_an_offer_is_written_anew_with_a_leased_port() -> None:
    """Going up: those behind the server connect to us, and we to the offerer's own address, whatever he wrote."""
    pool, memory = leasing()
    session = Session(memory=memory)
    (frame,) = session.up(b'PRIVMSG bob :\x01DCC SEND "a b" 16909060 5000 12\x01\r\n')
    acts = session.decoder.apply(frame, (PASSED,))
    offer = offer_of(frame)
    assert acts == [
        Send(UP, b'PRIVMSG bob :\x01DCC SEND "a b" 3325256803 9400 12\x01\r\n'), announced("1.2.3.4:5000", offer)]
    assert pool.claim(9400, "203.0.113.5", 6.0) == announced("192.0.2.7:5000", offer)


def test_an_offer_from_outside_is_written_anew_for_our_client() -> None:
    """Going down: only our client may connect to the leased port, and is led to where the offerer listens."""
    pool, memory = leasing(host="2001:db8::99")
    session = Session(memory=memory)
    (frame,) = session.down(b":bob!b@h PRIVMSG alice :\x01DCC CHAT chat 2001:db8::8 7000\x01\r\n")
    acts = session.decoder.apply(frame, (PASSED,))
    offer = offer_of(frame)
    assert acts == [
        Send(DOWN, b":bob!b@h PRIVMSG alice :\x01DCC CHAT chat 2001:db8::99 9400\x01\r\n"),
        announced("[2001:db8::8]:7000", offer, "CHAT")]
    assert pool.claim(9400, "203.0.113.5", 6.0) is None
    claimed = pool.claim(9400, "192.0.2.7", 6.0)
    assert claimed is not None
    assert (claimed.address, claimed.key) == ("[2001:db8::8]:7000", "CHAT")


def test_a_passive_offer_keeps_its_address_and_its_answer_gets_ours() -> None:
    """Nobody connects to a passive offer; the one who offered connects to the answer, and sends."""
    pool, memory = leasing()
    session = Session(memory=memory)
    offer = b":bob!b@h PRIVMSG alice :\x01DCC SEND a.txt 3221225992 0 12 77\x01\r\n"
    assert session.carry(DOWN, offer, PASSED) == [Send(DOWN, offer)]
    acts = session.carry(UP, b"PRIVMSG bob :\x01DCC SEND a.txt 3221225991 6000 12 77\x01\r\n", PASSED)
    assert acts[0] == Send(UP, b"PRIVMSG bob :\x01DCC SEND a.txt 3325256803 9400 12 77\x01\r\n")
    claimed = pool.claim(9400, "203.0.113.5", 6.0)
    assert claimed is not None
    assert (claimed.address, claimed.reverse) == ("192.0.2.7:6000", True)
    assert claimed.offer is not None
    assert (claimed.offer.sender, claimed.offer.recipients) == ("bob", ("alice",))


@pytest.mark.parametrize(
    ("client", "there"),
    [("192.0.2.9", "192.0.2.7:5000"), ("192.0.2.7", "198.51.100.99:9400"), ("127.0.0.1", "127.0.0.1:5000")],
)
def test_two_users_of_one_gateway_meet_over_one_lease(client: str, there: str) -> None:
    """The address of ours that comes back from the server stands for the one behind it: the file is judged once. Two
    behind one translated address cannot be told apart by a lease: each has his own."""
    pool, memory = leasing()
    offerer = "127.0.0.1" if client == "127.0.0.1" else "192.0.2.7"
    alice = Session(memory=memory, flow=msgspec.structs.replace(FLOW, client=Address(offerer, 40000)))
    bob = Session(memory=memory, flow=msgspec.structs.replace(FLOW, id="g", client=Address(client, 40001)))
    sent = alice.carry(UP, b"PRIVMSG bob :\x01DCC SEND a 3221225991 5000 12\x01\r\n", PASSED)[0]
    assert isinstance(sent, Send)
    acts = bob.carry(DOWN, b":ally!a@h " + sent.data, PASSED)
    assert acts[0] == Send(DOWN, b":ally!a@h PRIVMSG bob :\x01DCC SEND a 3325256803 9401 12\x01\r\n")
    claimed = pool.claim(9401, "192.0.2.7", 6.0)
    assert claimed is not None
    assert claimed.address == there
    assert claimed.flow == ("g" if "9400" in there else "f")


def test_each_target_gets_a_port_of_its_own() -> None:
    """A leased port takes one connection; without a port the address stays."""
    _, memory = leasing()
    acts = Session(memory=memory).carry(
        UP, b"PRIVMSG bob,carol,dave :\x01DCC SEND a 3221225991 5000 12\x01\r\n", PASSED, PASSED, PASSED)
    assert [act.data for act in acts if isinstance(act, Send)] == [
        b"PRIVMSG bob :\x01DCC SEND a 3325256803 9400 12\x01\r\n",
        b"PRIVMSG carol :\x01DCC SEND a 3325256803 9401 12\x01\r\n",
        b"PRIVMSG dave :\x01DCC SEND a 3221225991 5000 12\x01\r\n",
    ]
    assert memory.failed == 1


def test_a_line_that_would_be_too_long_is_not_passed_on() -> None:
    """510 bytes: behind us it would be cut, address and all. Its writer is told."""
    _, memory = leasing()
    head = b"PRIVMSG bob :\x01DCC SEND "
    tail = b" 1.2.3.4 50 12\x01"
    raw = head + b"x" * (PAYLOAD - len(head) - len(tail)) + tail + b"\r\n"
    acts = Session(memory=memory).carry(UP, raw, PASSED)
    assert [act.way for act in acts if isinstance(act, Send)] == [DOWN]
    short = raw.replace(b"x" * 20, b"x", 1)
    sent = Session(memory=leasing()[1]).carry(UP, short, PASSED)[0]
    assert isinstance(sent, Send)
    assert sent.data.endswith(b"x 198.51.100.99 9400 12\x01\r\n")


def test_a_stranger_does_not_use_up_the_ports() -> None:
    """A session has its share; what is offered beyond it is not passed on until a lease has ended."""
    pool = LeasePool(range(9400, 9500), 120.0)
    memory = LeasingMemory(SharedMemory(100), Paths(pool, "198.51.100.99", "198.51.100.99", "192.0.2.7"))
    session = Session(memory=memory, limits=Limits(dcc_leases=2))
    raw = b":bob!b@192.0.2.8 PRIVMSG alice :\x01DCC SEND a 3221225992 5000 12\x01\r\n"
    assert [len(session.carry(DOWN, raw, PASSED)) for _ in range(4)] == [2, 2, 0, 0]
    (frame,) = session.decoder.feed(Chunk(DOWN, 126.0, raw))
    assert len(session.decoder.apply(frame, (PASSED,))) == 2


@pytest.mark.parametrize("host", [b"0", b"127.0.0.1", b"169.254.1.1", b"224.0.0.1", b"fe80::1"])
def test_nobody_outside_makes_us_connect_to_ourselves(host: bytes) -> None:
    """An offer from outside with an address of this machine or link gets no port of ours."""
    pool, memory = leasing()
    session = Session(memory=memory, flow=msgspec.structs.replace(FLOW, server=Address("8.8.8.8", 6667)))
    raw = b":bob!b@cloak.example PRIVMSG alice :\x01DCC SEND a " + host + b" 5000 12\x01\r\n"
    assert session.carry(DOWN, raw, PASSED)[0] == Send(DOWN, raw)
    assert pool.claim(9400, "192.0.2.7", 6.0) is None


def test_a_mask_over_an_address_of_ours_takes_the_line_out() -> None:
    """The whole text of a line with words around an offer is one place: both cannot be written anew."""
    _, memory = leasing()
    raw = b"PRIVMSG bob :secret \x01DCC SEND a 3221225991 5000 12\x01\r\n"
    acts = Session(memory=memory).carry(UP, raw, mask((0, 0, 6)), PASSED)
    assert not any(isinstance(act, Send) and act.way is UP for act in acts)


# -- RESUME


def test_resume_and_accept_name_the_port_that_each_side_knows() -> None:
    """Without the edit a transfer may be resumed: its offset is remembered for the connection."""
    pool, memory = leasing()
    session = Session(memory=memory)
    session.carry(UP, b"PRIVMSG bob :\x01DCC SEND a 3221225991 5000 900\x01\r\n", PASSED)
    resume = b":bob!b@h PRIVMSG alice :\x01DCC RESUME a 9400 512\x01\r\n"
    assert session.carry(DOWN, resume, PASSED) == [Send(DOWN, resume.replace(b"9400", b"5000"))]
    accept = b"PRIVMSG bob :\x01DCC ACCEPT a 5000 512\x01\r\n"
    assert session.carry(UP, accept, PASSED) == [Send(UP, accept.replace(b"5000", b"9400"))]
    claimed = pool.claim(9400, "203.0.113.5", 6.0)
    assert claimed is not None
    assert memory.get(expect_key("dcc", claimed.address), 6.0) == 512


def test_a_passive_offer_is_resumed_by_its_token() -> None:
    """The offset is known before the address is."""
    memory = SharedMemory(100)
    session = Session(memory=memory)
    session.carry(UP, b"PRIVMSG bob :\x01DCC SEND a 3221225991 0 900 7\x01\r\n", PASSED)
    for way, raw in (
        (DOWN, b":bob!b@h PRIVMSG alice :\x01DCC RESUME a 0 512 7\x01\r\n"),
        (UP, b"PRIVMSG bob :\x01DCC ACCEPT a 0 512 7\x01\r\n"),
    ):
        assert session.carry(way, raw, PASSED) == [Send(way, raw)]
    session.carry(DOWN, b":bob!b@h PRIVMSG alice :\x01DCC SEND a 3221225992 6000 900 7\x01\r\n", PASSED)
    assert memory.get(expect_key("dcc", "192.0.2.8:6000"), 6.0) == 512


def test_with_the_edit_nothing_is_resumed_and_the_one_who_asked_is_told() -> None:
    """A file is seen whole or not at all. The peer is told once an offer, our user each time."""
    session = Session(edits=frozenset({REFUSE_RESUME}))
    session.carry(UP, b"PRIVMSG bob :\x01DCC SEND a 3221225991 5000 900\x01\r\n", PASSED)
    resume = b":bob!b@h PRIVMSG alice :\x01DCC RESUME a 5000 512\x01\r\n"
    (told,) = session.carry(DOWN, resume, PASSED)
    assert isinstance(told, Send)
    assert told.way is UP
    assert told.data.startswith(b"NOTICE bob :")
    assert session.carry(DOWN, resume, PASSED) == []
    (told,) = session.carry(UP, b"PRIVMSG bob :\x01DCC RESUME a 5000 512\x01\r\n", PASSED)
    assert isinstance(told, Send)
    assert told.way is DOWN


def test_both_are_told_of_a_refused_file() -> None:
    """Our user by a NOTICE about the other one, the other one in a NOTICE of our user's; a channel is not told."""
    session = Session()
    sent = offer_of(session.up(b"PRIVMSG bob :\x01DCC SEND a 3221225991 5000 12\x01\r\n")[0])
    got = offer_of(session.down(b":bob!b@h PRIVMSG alice :\x01DCC SEND a 3221225992 5000 12\x01\r\n")[0])
    for offer in (sent, got):
        assert session.decoder.inject(Notice("refused", offer), DOWN) == [
            Send(DOWN, b":irc.example.net NOTICE alice :[bob] refused\r\n")]
        assert session.decoder.inject(Notice("refused", offer), UP) == [Send(UP, b"NOTICE bob :refused\r\n")]
        for way in (UP, DOWN):
            (said,) = session.decoder.inject(Notice("to the sender", offer, "to the reader"), way)
            assert isinstance(said, Send)
            assert said.data.endswith(b"to the reader\r\n" if (way is UP) is (offer is sent) else b"to the sender\r\n")
            quiet = session.decoder.inject(Notice("", offer, ""), way)
            assert quiet == []
    shouted = offer_of(session.up(b"PRIVMSG #c :\x01DCC SEND a 3221225991 5000 12\x01\r\n")[0])
    assert session.decoder.inject(Notice("refused", shouted), UP) == []


def test_dcc_words_without_marks_are_words() -> None:
    """`DCC SEND` in a plain text offers nothing."""
    event = Session().event(UP, b"PRIVMSG bob :DCC SEND file.txt 1 2 3\r\n")
    assert isinstance(event, Message)
    assert event.kind == "chat"


# -- verdicts


def test_a_refused_message_is_swallowed_and_its_writer_told() -> None:
    """NOTICE from the server's own name, with the target and the reference; without notice nothing is said."""
    session = Session()
    raw = b"PRIVMSG #c :the key\r\n"
    for _ in range(2):
        assert session.carry(UP, raw, BLOCK) == [
            Send(DOWN, b":irc.example.net NOTICE alice :[#c] Not delivered, reference ABCD-EFGH.\r\n")
        ]
    assert session.carry(UP, raw, Verdict(Action.BLOCK)) == []
    assert session.carry(UP, raw, Verdict(Action.HOLD)) == []


def test_before_001_notices_have_a_fixed_source() -> None:
    """The server's name is not known yet, nor the nick."""
    assert Session(signed=False).carry(UP, b"PRIVMSG bob :x\r\n", BLOCK) == [
        Send(DOWN, b":inspector NOTICE * :[bob] Not delivered, reference ABCD-EFGH.\r\n")
    ]


def test_a_client_that_knows_standard_replies_gets_fail_and_warn() -> None:
    """IRCv3 standard-replies: FAIL for a refusal, WARN for a warning."""
    session = Session().caps(b"standard-replies")
    assert session.carry(UP, b"PRIVMSG #c :x\r\n", BLOCK) == [
        Send(DOWN, b":irc.example.net FAIL PRIVMSG POLICY_VIOLATION #c :Not delivered, reference ABCD-EFGH.\r\n")
    ]
    assert session.carry(UP, b"PRIVMSG #c :x\r\n", Verdict(Action.WARN, notice="Mind.")) == [
        Send(UP, b"PRIVMSG #c :x\r\n"),
        Send(DOWN, b":irc.example.net WARN PRIVMSG POLICY_VIOLATION #c :Mind.\r\n"),
    ]


def test_a_label_is_answered_on_exactly_one_line() -> None:
    """labeled-response: all refused, one labelled reply; some delivered, the server answers; nothing to say, ACK."""
    session = Session()
    raw = b"@label=x7 PRIVMSG a,b :hi\r\n"
    acts = session.carry(UP, raw, BLOCK, BLOCK)
    assert [isinstance(a, Send) and a.data.startswith(b"@label=x7 ") for a in acts] == [True, False]
    acts = session.carry(UP, raw, BLOCK, PASSED)
    assert acts[0] == Send(UP, b"@label=x7 PRIVMSG b :hi\r\n")
    assert [isinstance(a, Send) and b"label" in a.data for a in acts[1:]] == [False]
    assert session.carry(UP, raw, Verdict(Action.BLOCK), Verdict(Action.BLOCK)) == [
        Send(DOWN, b"@label=x7 :irc.example.net ACK\r\n")
    ]


def test_only_the_refused_targets_go() -> None:
    """The others get the message; one masked gets a line of its own, without the label that was spent."""
    session = Session()
    raw = b"@label=1 PRIVMSG a,b,c :the key\r\n"
    assert session.carry(UP, raw, PASSED, Verdict(Action.BLOCK), PASSED) == [
        Send(UP, b"@label=1 PRIVMSG a,c :the key\r\n")
    ]
    assert session.carry(UP, raw, PASSED, mask((0, 4, 7)), PASSED) == [
        Send(UP, b"@label=1 PRIVMSG a,c :the key\r\n"),
        Send(UP, b"PRIVMSG b :the ***\r\n"),
    ]
    assert session.carry(UP, raw, *[mask((0, 4, 7))] * 3) == [Send(UP, b"@label=1 PRIVMSG a,b,c :the ***\r\n")]


def test_the_last_verdict_is_for_all_targets_behind_it() -> None:
    """Targets beyond the limit go with the last one that is told apart."""
    session = Session(limits=Limits(irc_targets=2))
    assert session.carry(UP, b"PRIVMSG a,b,c :hi\r\n", PASSED, Verdict(Action.BLOCK)) == [
        Send(UP, b"PRIVMSG a :hi\r\n")
    ]
    assert session.carry(UP, b"PRIVMSG a,b,c :hi\r\n", Verdict(Action.BLOCK), PASSED) == [
        Send(UP, b"PRIVMSG b,c :hi\r\n")
    ]


def test_what_comes_down_is_dropped_or_replaced() -> None:
    """A refused message leaves nothing, or the rule's words; nobody is told; tags and source stay."""
    session = Session()
    raw = b"@msgid=1 :bob!b@h PRIVMSG alice :the key\r\n"
    assert session.carry(DOWN, raw, BLOCK) == []
    assert session.carry(DOWN, raw, Verdict(Action.BLOCK, placeholder="[removed]\r\nQUIT")) == [
        Send(DOWN, b"@msgid=1 :bob!b@h PRIVMSG alice :[removed]  QUIT\r\n")
    ]


def test_a_placeholder_keeps_to_the_line_limit() -> None:
    """510 bytes without the line end, cut at a character."""
    acts = Session().carry(DOWN, b":bob!b@h PRIVMSG alice x\r\n", Verdict(Action.BLOCK, placeholder="é" * 400))
    (act,) = acts
    assert isinstance(act, Send)
    assert PAYLOAD - 1 <= len(act.data) - 2 <= PAYLOAD
    assert act.data.decode().startswith(":bob!b@h PRIVMSG alice éé")


def test_masks_on_the_wire() -> None:
    """Stars for the span; formatting in it goes; the wrapper of an ACTION stays; other charsets stay themselves."""
    session = Session()
    for raw, spans, want in (
        (b"PRIVMSG #c :my key is ab12\r\n", (0, 10, 14), b"PRIVMSG #c :my key is ****\r\n"),
        (b"PRIVMSG #c :my k\x02e\x02y\r\n", (0, 3, 6), b"PRIVMSG #c :my ***\r\n"),
        (b"PRIVMSG #c :\x01ACTION shows ab12\x01\r\n", (0, 6, 10), b"PRIVMSG #c :\x01ACTION shows ****\x01\r\n"),
        (b"PRIVMSG #c k\xe9y\r\n", (0, 0, 2), b"PRIVMSG #c **y\r\n"),
        (b"TOPIC #c :secret plan\r\n", (0, 0, 6), b"TOPIC #c :****** plan\r\n"),
        (b"QUIT :secret plan\r\n", (0, 0, 6), b"QUIT :****** plan\r\n"),
        (b"PRIVMSG bob :\x01PING se cret\x01\r\n", (0, 0, 7), b"PRIVMSG bob :\x01PING *******\x01\r\n"),
    ):
        assert session.carry(UP, raw, mask(spans)) == [Send(UP, want)]


def test_a_mask_without_a_place_refuses() -> None:
    """What cannot be found on the wire is not let through."""
    session = Session()
    assert session.carry(UP, b"@+draft/react=x TAGMSG #c\r\n", mask((0, 0, 1))) == []
    assert session.carry(UP, b"FROB a b\r\n", mask((0, 0, 1))) == []
    assert session.carry(UP, b"PRIVMSG #c :a\r\n", mask((5, 0, 1))) == []


def test_refused_requests_are_answered_and_what_has_happened_is_told_without_its_words() -> None:
    """Up: swallowed and told, a farewell goes without its reason. Down: the two sides stay in step."""
    session = Session()

    def said(about: bytes) -> Send:
        return Send(DOWN, b":irc.example.net NOTICE alice :[" + about + b"] Not delivered, reference ABCD-EFGH.\r\n")

    assert session.carry(UP, b"TOPIC #c :x\r\n", BLOCK) == [said(b"#c")]
    assert session.carry(UP, b"INVITE bob #c\r\n", BLOCK) == [said(b"bob")]
    assert session.carry(UP, b"AWAY :x\r\n", BLOCK) == [said(b"AWAY")]
    assert session.carry(UP, b"PART #c :x\r\n", BLOCK) == [Send(UP, b"PART #c :\r\n"), said(b"#c")]
    assert session.carry(UP, b"QUIT :x\r\n", BLOCK)[0] == Send(UP, b"QUIT :\r\n")
    assert session.carry(DOWN, b":s 332 alice #c :x y\r\n", BLOCK) == [Send(DOWN, b":s 332 alice #c :\r\n")]
    assert session.carry(DOWN, b":b!b@h TOPIC #c :x y\r\n", Verdict(Action.BLOCK, placeholder="gone")) == [
        Send(DOWN, b":b!b@h TOPIC #c :gone\r\n")
    ]
    assert session.carry(DOWN, b":b!b@h KICK #c carol :x\r\n", BLOCK) == [Send(DOWN, b":b!b@h KICK #c carol :\r\n")]
    assert session.carry(DOWN, b":b!b@h NICK bobby\r\n", BLOCK) == [Send(DOWN, b":b!b@h NICK bobby\r\n")]
    assert session.carry(DOWN, b":b!b@h AWAY :x\r\n", BLOCK) == [Send(DOWN, b":b!b@h AWAY :*\r\n")]
    assert session.carry(DOWN, b":b!b@h INVITE alice #c\r\n", BLOCK) == []


def test_refused_channels_go_with_their_keys() -> None:
    """JOIN: the others are joined, those with a key first."""
    session = Session()
    raw = b"JOIN #a,#b,#c ka,kb\r\n"
    assert session.carry(UP, raw, Verdict(Action.BLOCK), PASSED, PASSED) == [Send(UP, b"JOIN #b,#c kb\r\n")]
    assert session.carry(UP, raw, *[Verdict(Action.BLOCK)] * 3) == []
    assert session.carry(UP, raw, PASSED, PASSED, Verdict(Action.WARN)) == [Send(UP, raw)]


def test_a_multiline_message_goes_or_stays_whole() -> None:
    """One verdict for all its lines; a mask finds each line's part; one labelled answer."""
    talk = (
        b"@label=5 BATCH +1 draft/multiline #c\r\n@batch=1 PRIVMSG #c :one secret\r\n"
        b"@batch=1 PRIVMSG #c :two\r\nBATCH -1\r\n"
    )

    def carried(verdict: Verdict) -> list[Act]:
        session = Session()
        return [act for frame in session.up(talk) for act in session.decoder.apply(frame, (verdict,))]

    assert b"".join(a.data for a in carried(PASSED) if isinstance(a, Send)) == talk
    assert carried(BLOCK) == [
        Send(DOWN, b"@label=5 :irc.example.net NOTICE alice :[#c] Not delivered, reference ABCD-EFGH.\r\n")
    ]
    assert b"".join(a.data for a in carried(mask((0, 4, 10), (0, 11, 12))) if isinstance(a, Send)) == talk.replace(
        b"secret", b"******"
    ).replace(b"two", b"*wo")
    again = Session().up(b"".join(a.data for a in carried(mask((0, 8, 13))) if isinstance(a, Send)))
    assert bodies(list(again[-1].events)) == ["one secr**\n**o"]


def test_a_refused_multiline_coming_down_may_leave_a_placeholder() -> None:
    """One line of the sender's in place of the batch."""
    session = Session()
    frames = session.down(
        b":b!b@h BATCH +m draft/multiline #c\r\n@batch=m :b!b@h PRIVMSG #c :one\r\n:b!b@h BATCH -m\r\n"
    )
    acts = [a for f in frames for a in session.decoder.apply(f, (Verdict(Action.BLOCK, placeholder="[removed]"),))]
    assert acts == [Send(DOWN, b":b PRIVMSG #c :[removed]\r\n")]


def test_notices_are_one_line_of_at_most_510_bytes() -> None:
    """Whatever the rule's words: no line break, no NUL, cut at a character."""
    (act,) = Session().carry(UP, b"PRIVMSG #c :x\r\n", Verdict(Action.BLOCK, notice="a\r\nQUIT\0" + "é" * 600))
    assert isinstance(act, Send)
    assert len(act.data) <= PAYLOAD + 2
    assert act.data.decode().count("\r") == act.data.count(b"\n") == 1
    assert b"\0" not in act.data


def test_injection_waits_for_registration_and_is_a_notice() -> None:
    """ready() is false before 001; a notice about a message names its target; up only about a message."""
    session = Session(signed=False)
    assert not session.decoder.ready(DOWN)
    session.down(b":irc.example.net 001 alice :Welcome\r\n")
    assert session.decoder.ready(DOWN)
    about = Message(recipients=("#c",))
    assert session.decoder.inject(Notice("Hello", about), DOWN) == [
        Send(DOWN, b":irc.example.net NOTICE alice :[#c] Hello\r\n")
    ]
    assert session.decoder.inject(Notice("Hello", about), UP) == [Send(UP, b"NOTICE #c :Hello\r\n")]
    assert session.decoder.inject(Notice("Hello"), UP) == []


def test_what_is_ours_stands_in_a_line_of_its_own_for_every_reader() -> None:
    """A lone CR ends a line for most servers, not for all: what is sent after it, a released message above all, must
    not become the end of that line for those who wait for LF."""
    session = Session()
    session.up(b"what\rever")
    assert session.decoder.ready(UP)
    assert session.decoder.release(b"PRIVMSG bob :roses\r\n", UP) == [Send(UP, b"\r\nPRIVMSG bob :roses\r\n")]
    assert session.decoder.inject(Notice("Hello", Message(recipients=("#c",))), UP) == [
        Send(UP, b"\r\nNOTICE #c :Hello\r\n")]
    assert session.decoder.close("policy")[1] == Send(UP, b"\r\nQUIT :Closed\r\n")
    session.up(b"\n")
    assert session.decoder.release(b"PRIVMSG bob :roses\r\n", UP) == [Send(UP, b"PRIVMSG bob :roses\r\n")]


@pytest.mark.parametrize(("line", "parted"), [
    (b"QUIT", True), (b":x QUIT :bye", True), (b"@a=b quit :bye", True), (b"PRIVMSG bob :QUIT", False),
    (b"PING :QUIT", False), (b"ERROR :x", False),
])
def test_a_client_that_quits_has_parted(line: bytes, parted: bool) -> None:
    """From then on nothing is released in this session: its server reads nothing more."""
    session = Session()
    assert not session.decoder.parted
    session.up(line + b"\r\n")
    assert session.decoder.parted is parted


@pytest.mark.parametrize(("line", "parted"), [
    (b"ERROR :Closing Link: alice", True), (b":bob!b@c QUIT :bye", False), (b":bob!b@c PRIVMSG alice :ERROR", False),
])
def test_a_server_that_closes_has_parted(line: bytes, parted: bool) -> None:
    """Somebody else who leaves has nothing to do with this session."""
    session = Session()
    session.down(line + b"\r\n")
    assert session.decoder.parted is parted


def test_close_is_error_down_and_quit_up() -> None:
    """The polite ending of both sides."""
    assert Session().decoder.close("policy\r\nX") == [
        Send(DOWN, b"ERROR :Closing Link: alice (policy  X)\r\n"),
        Send(UP, b"QUIT :Closed\r\n"),
    ]


# -- framing


def test_lines_that_are_none() -> None:
    """Blank lines and lone line ends are frames of their own; a lone CR ends a line."""
    frames = Session().up(b"\r\n\n  \r\nPRIVMSG #c :a\rPRIVMSG #c :b\r\r\n")
    assert [f.kind for f in frames] == ["irc.empty"] * 3 + ["irc.PRIVMSG"] * 2 + ["irc.empty"]
    assert bodies([e for f in frames for e in f.events]) == ["a", "b"]


def test_a_line_with_nul_is_read_and_not_passed_on() -> None:
    """Its words are judged, the line stays here; with the edit off it leaves as it came."""
    raw = b"PRIVMSG #c :a\0b\r\n"
    session = Session(edits=frozenset({DROP_NUL}))
    (frame,) = session.up(raw)
    assert (frame.edit, bodies(list(frame.events)), frame.oddities) == (DROP_NUL, ["ab"], (Oddity("irc.nul"),))
    assert session.decoder.apply(frame, (PASSED,)) == []
    assert session.decoder.apply(frame, (mask((0, 0, 1)),)) == []
    assert Session().carry(UP, raw, PASSED) == [Send(UP, raw)]


def test_an_endless_line_comes_in_judged_parts_of_bounded_size() -> None:
    """Nothing longer than the limit is held; the parts do not depend on the cuts; each part's words are judged."""
    raw = b"PRIVMSG #c :" + b"0123456789" * 3000 + b"\r\n"
    whole = Session().up(raw)
    session = Session()
    pieces = [f for i in range(0, len(raw), 777) for f in session.up(raw[i : i + 777])]
    assert [(f.raw, f.part, f.events) for f in pieces] == [(f.raw, f.part, f.events) for f in whole]
    assert [f.part for f in whole] == ["first", "more", "more", "last"]
    assert max(len(f.raw) for f in whole) == Limits().irc_line_bytes
    assert all(f.events for f in whole)
    assert b"".join(f.raw for f in whole) == raw


def test_a_refused_part_ends_the_line() -> None:
    """What was sent of it gets its line end; the rest is dropped; nothing is injected in between."""
    session = Session()
    frames = session.up(b"PRIVMSG #c :" + b"x" * 30000 + b"\r\n")
    verdicts = [PASSED, BLOCK, PASSED, PASSED]
    sent = b""
    for frame, verdict in zip(frames, verdicts, strict=True):
        for act in session.decoder.apply(frame, (verdict,) * len(frame.events)):
            if isinstance(act, Send) and act.way is UP:
                sent += act.data
        assert session.decoder.ready(UP) == (frame.part == "last")
    assert sent == frames[0].raw + b"\r\n"
    session = Session()
    frames = session.up(b"PRIVMSG #c :" + b"x" * 30000 + b"\r\n")
    acts = [a for f, v in zip(frames, [BLOCK, *[PASSED] * 3], strict=True) for a in session.decoder.apply(f, (v,))]
    assert acts == [Send(DOWN, f":irc.example.net NOTICE alice :[#c] {NOTICE}\r\n".encode())]


def test_after_a_gap_reading_goes_on_at_a_line() -> None:
    """The line with the hole is not read; the next one is, and one that starts behind the hole."""
    session = Session()
    session.up(b"PRIVMSG #c :first ha")
    frames = session.feed(UP, b"lf\r\nPRIVMSG #c :second\r\n", gap=10)
    assert [f.kind for f in frames] == ["irc.partial", "irc.partial", "irc.PRIVMSG"]
    frames = session.feed(UP, b"PRIVMSG #c :third\r\n", gap=10)
    assert bodies([e for f in frames for e in f.events]) == ["third"]


def test_the_rest_at_the_end_is_a_line() -> None:
    """A stream that ends without a line end: its last words are judged, too."""
    frames = Session().feed(UP, b"PRIVMSG #c :unended", end=True)
    assert bodies(list(frames[0].events)) == ["unended"]
    assert Oddity("irc.unended_line") in frames[0].oddities


def test_a_source_from_a_client_is_not_believed() -> None:
    """Clients must not send one; the sender stays the own nick."""
    (frame,) = Session().up(b":mallory PRIVMSG bob :hi\r\n")
    assert isinstance(frame.events[0], Message)
    assert frame.events[0].sender == "alice"
    assert Oddity("irc.client_source") in frame.oddities


def test_a_server_link_is_told() -> None:
    """TS6 traffic is opaque and an oddity; messages in it are still read, with their senders."""
    session = Session(signed=False)
    frames = session.up(
        b"PASS link TS 6 :0AA\r\nCAPAB :QS ENCAP\r\nSERVER a.example 1 :a link\r\n"
        b":0AA UID bob 1 1 +i b h 0 0AAAAAAAA :Bob\r\n:0AA SJOIN 1 #c +n :@0AAAAAAAA\r\n:0AAAAAAAA PRIVMSG #c :hi\r\n"
    )
    assert [o.name for f in frames for o in f.oddities] == ["irc.server_link"] * 3
    assert isinstance(frames[-1].events[0], Message)
    assert frames[-1].events[0].sender == "0AAAAAAAA"
    assert not session.decoder.ready(DOWN)
    assert session.decoder.undecryptable
    assert Session().decoder.undecryptable is None


# -- STARTTLS


def test_starttls_is_held_at_670() -> None:
    """The driver sends the 670 once TLS stands upstream; then the same session goes on inside."""
    session = Session(signed=False)
    raw = b":irc.example.net 670  :STARTTLS successful\r\n"
    assert session.carry(UP, b"STARTTLS\r\n") == [Send(UP, b"STARTTLS\r\n")]
    (frame,) = session.down(raw)
    (act,) = session.decoder.apply(frame, ())
    assert isinstance(act, StartTls)
    assert act.proceed == raw
    assert act.failure.startswith(b":irc.example.net 691 ")
    session.up(b"NICK alice\r\nUSER a 0 * :A\r\n")
    assert isinstance(session.event(DOWN, b":irc.example.net 001 alice :Welcome\r\n"), SignOn)


def test_plain_text_behind_starttls_is_injection() -> None:
    """In the same read, whole line or not, at either side; or sent before the answer came."""

    def broken(frames: list[Frame]) -> bool:
        assert [f.kind for f in frames].count(BROKEN) <= 1
        return frames[-1].kind == BROKEN and frames[-1].fault is not None and "injection" in frames[-1].fault.name

    assert broken(Session(signed=False).up(b"STARTTLS\r\nNICK mallory\r\n"))
    assert broken(Session(signed=False).up(b"STARTTLS\r\nNI"))
    ok = b":s.example 670 * :go\r\n"
    for behind in (b":s.example NOTICE * :x\r\n", b":s"):
        session = Session(signed=False)
        session.up(b"STARTTLS\r\n")
        frames = session.down(ok + behind)
        assert broken(frames)
        assert b"".join(f.raw for f in frames) == ok + behind
    session = Session(signed=False)
    session.up(b"STARTTLS\r\n")
    session.up(b"NICK mallory\r\n")
    frames = session.down(ok + b":s.example NOTICE * :x\r\n:s")
    assert broken(frames)
    assert len(frames) == 1


def test_starttls_that_is_not_answered_or_refused_changes_nothing() -> None:
    """After 691 the client may go on in plain; a 670 that nobody asked for starts nothing."""
    session = Session(signed=False)
    session.up(b"STARTTLS\r\n")
    session.down(b":s.example 691 * :no\r\n")
    session.up(b"NICK alice\r\nUSER a 0 * :A\r\n")
    (frame,) = session.down(b":s.example 670 * :go\r\n")
    assert session.decoder.apply(frame, ()) == [Send(DOWN, frame.raw)]


# -- recognising


@pytest.mark.parametrize(
    ("up", "down", "want"),
    [
        (b"NICK joe\r\nUSER joe 0 * :Joe\r\n", b"", Match.STRONG),
        (b"user joe 0 * Joe x\nnick :joe\n", b"", Match.STRONG),
        (b"CAP LS 302\r\nPASS oauth:x\r\n", b"", Match.STRONG),
        (b"GET / HTTP/1.0\r\n\r\n\r\nNICK joe\r\nUSER joe 0 * :Joe\r\n", b"", Match.STRONG),
        (b"\r\n\r\nFOO\r\nCAP LS\r\nNICK joe\r\n", b"", Match.STRONG),
        (b"NICK joe\r\n", b"", Match.WEAK),
        (b"x\n" * 9000 + b"NICK joe\r\nUSER joe 0 * :Joe\r\n" + b"y\n" * 900, b"", Match.STRONG),
        (b"POST / HTTP/1.1\r\n\r\nJoin us\r\nNotice that\r\n", b"", Match.NO),
        (b"CAPAB :QS EX\r\nSERVER a.example 1 :A\r\n", b"", Match.STRONG),
        (b"NICK joe\r\n", b":s NOTICE * :*** hi\r\n", Match.STRONG),
        (b"", b":s NOTICE * :*** hi\r\n", Match.WEAK),
        (b"", b":s.example 001 joe :Welcome\r\n", Match.STRONG),
        (b"", b":joe!j@h PRIVMSG #c :hi\r\n", Match.STRONG),
        (b"PRIVMSG bob :\x01DCC SEND a 1 2 3\x01\r\n", b"", Match.STRONG),
        (b"PRIVMSG bob :hi\r\n", b"", Match.WEAK),
        (b"", b"", Match.MORE),
        (b"NIC", b"", Match.MORE),
        (b"PASS x\r\n", b"", Match.MORE),
        (b"\x16\x03\x01\x00", b"", Match.NO),
        (b"USER joe\r\nPASS x\r\n", b"220 ftp.example ready\r\n", Match.NO),
        (b"USER joe\r\nPASS x\r\n", b"+OK ready\r\n", Match.NO),
        (b"EHLO x\r\nSTARTTLS\r\n", b"220 mx.example ESMTP\r\n", Match.NO),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"", Match.NO),
        (b"<?xml version='1.0'?>\n<stream:stream>\n", b"", Match.NO),
        (b"a001 CAPABILITY\r\n", b"* OK IMAP4rev1\r\n", Match.NO),
    ],
)
def test_probe(up: bytes, down: bytes, want: Match) -> None:
    """Two registration lines are proof, junk in front hides nothing, other text protocols are none."""
    assert probe(up, down) is want


def test_the_spec_names_what_it_can() -> None:
    """A topic can be refused like a message; a file offer cannot be masked."""
    assert SPEC.can["message"].placeholder
    assert not SPEC.can["file"].mask
    assert {edit.name for edit in SPEC.edits} == {DROP_NUL, REFUSE_RESUME, STRICT_DCC}
    assert irc.SPEC is SPEC


def test_a_text_is_kept_as_it_was_written() -> None:
    """Formatting codes are undone for whoever searches, and kept for the log."""
    session = Session()
    event = session.event(DOWN, b":ida!i@h PRIVMSG otto :se\x02\x02cret \x0304red\x03\r\n")
    assert isinstance(event, Message)
    assert event.texts[0].plain == "secret red"
    assert event.written == "se\x02\x02cret \x0304red\x03"
    event = session.event(DOWN, b":ida!i@h PRIVMSG otto :plain\r\n")
    assert isinstance(event, Message)
    assert event.written is None


def test_a_nul_among_the_tags_of_a_known_head_is_seen() -> None:
    """Found by fuzzing: the short way looked for NUL in the text only, and passed the line on."""
    session = Session(edits=frozenset({DROP_NUL}))
    session.down(b":ida!i@h PRIVMSG #c :one\r\n")
    (frame,) = session.down(b"@ti\0me=1 :ida!i@h PRIVMSG #c :two\r\n")
    assert [oddity.name for oddity in frame.oddities] == ["irc.nul"]
    assert session.decoder.apply(frame, [PASSED]) == []


def test_a_rule_s_placeholder_is_what_the_recipient_reads_of_what_goes_up() -> None:
    """Only the refused target gets it; without one the target gets nothing."""
    session = Session()
    (frame,) = session.up(b"PRIVMSG bob,eve :the words\r\n")
    passed, refused = PASSED, Verdict(Action.BLOCK, "r", placeholder="[removed]")
    sent = [act.data for act in session.decoder.apply(frame, [passed, refused]) if isinstance(act, Send)]
    assert sorted(sent) == [b"PRIVMSG bob :the words\r\n", b"PRIVMSG eve :[removed]\r\n"]
    (frame,) = session.up(b"PRIVMSG bob,eve :the words\r\n")
    sent = [act.data for act in session.decoder.apply(frame, [passed, Verdict(Action.BLOCK, "r")])
            if isinstance(act, Send)]
    assert sent == [b"PRIVMSG bob :the words\r\n"]
