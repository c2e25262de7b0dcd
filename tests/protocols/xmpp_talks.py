"""What two XMPP clients say while files travel between them: conversations of the contract suite, without the login."""

from __future__ import annotations

import base64

from inspector.model import DOWN, UP, Way

ME = "alice@example.com/desk"
BOB = "bob@example.org/phone"
IBB = "http://jabber.org/protocol/ibb"
JINGLE = "urn:xmpp:jingle:1"
FILES5 = "urn:xmpp:jingle:apps:file-transfer:5"
SI = "http://jabber.org/protocol/si"
SI_FILE = "http://jabber.org/protocol/si/profile/file-transfer"
FEATURE = "http://jabber.org/protocol/feature-neg"

Stanzas = tuple[tuple[Way, str], ...]

CONTENT = bytes(range(256)) * 20


def ends(way: Way) -> str:
    """How the addresses of a stanza are written that way."""
    return f"to='{BOB}'" if way is UP else f"from='{BOB}' to='{ME}'"


def iq(way: Way, ident: str, inner: str = "", typed: str = "set") -> tuple[Way, str]:
    """An iq between the two."""
    return way, f"<iq type='{typed}' id='{ident}' {ends(way)}>{inner}</iq>" if inner else (
        f"<iq type='{typed}' id='{ident}' {ends(way)}/>")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def opening(sid: str, block: int = 4096, stanza: str = "iq") -> str:
    return f"<open xmlns='{IBB}' block-size='{block}' sid='{sid}' stanza='{stanza}'/>"


def data(sid: str, seq: int | str, content: bytes | str) -> str:
    said = b64(content) if isinstance(content, bytes) else content
    return f"<data xmlns='{IBB}' seq='{seq}' sid='{sid}'>{said}</data>"


def closing(sid: str) -> str:
    return f"<close xmlns='{IBB}' sid='{sid}'/>"


def in_band(way: Way, sid: str, content: bytes, block: int = 4096, first: int = 0) -> Stanzas:
    """A stream from its opening to its close, every stanza answered."""
    said: list[tuple[Way, str]] = []
    pieces = [content[at:at + block] for at in range(0, len(content), block)]
    inner = [opening(sid, block), *(data(sid, (first + n) % 65536, piece) for n, piece in enumerate(pieces)),
             closing(sid)]
    for number, each in enumerate(inner):
        said += [iq(way, f"{sid}-{number}", each), iq(way.other, f"{sid}-{number}", typed="result")]
    return tuple(said)


def si_offer(sid: str, name: str, size: int, methods: tuple[str, ...] = (IBB,)) -> str:
    options = "".join(f"<option><value>{method}</value></option>" for method in methods)
    return (
        f"<si xmlns='{SI}' id='{sid}' mime-type='text/plain' profile='{SI_FILE}'><file xmlns='{SI_FILE}' "
        f"name='{name}' size='{size}'><desc>a list</desc><range/></file><feature xmlns='{FEATURE}'>"
        f"<x xmlns='jabber:x:data' type='form'><field var='stream-method' type='list-single'>{options}</field></x>"
        "</feature></si>"
    )


def si_answer(method: str = IBB, offset: int | None = None) -> str:
    begins = f"<file xmlns='{SI_FILE}'><range offset='{offset}'/></file>" if offset is not None else ""
    return (
        f"<si xmlns='{SI}'>{begins}<feature xmlns='{FEATURE}'><x xmlns='jabber:x:data' type='submit'>"
        f"<field var='stream-method'><value>{method}</value></field></x></feature></si>"
    )


def described(name: str, size: int, version: int = 5) -> str:
    """A Jingle description of one file."""
    if version < 3:
        file = f"<offer><file xmlns='{SI_FILE}' name='{name}' size='{size}'/></offer>"
    elif version == 3:
        file = f"<offer><file><name>{name}</name><size>{size}</size></file></offer>"
    else:
        file = f"<file><name>{name}</name><size>{size}</size><media-type>text/plain</media-type></file>"
    return f"<description xmlns='urn:xmpp:jingle:apps:file-transfer:{version}'>{file}</description>"


def transport_ibb(sid: str) -> str:
    return f"<transport xmlns='urn:xmpp:jingle:transports:ibb:1' block-size='4096' sid='{sid}'/>"


def transport_s5b(sid: str, *candidates: tuple[str, str, int], dstaddr: str = "") -> str:
    found = "".join(
        f"<candidate cid='{cid}' host='{host}' jid='{ME}' port='{port}' priority='1' type='direct'/>"
        for cid, host, port in candidates)
    given = f" dstaddr='{dstaddr}'" if dstaddr else ""
    return f"<transport xmlns='urn:xmpp:jingle:transports:s5b:1' mode='tcp' sid='{sid}'{given}>{found}</transport>"


def jingle(action: str, sid: str, *contents: str, more: str = "") -> str:
    inner = "".join(
        f"<content creator='initiator' name='f{number}'>{each}</content>" for number, each in enumerate(contents))
    return f"<jingle xmlns='{JINGLE}' action='{action}' sid='{sid}'>{inner}{more}</jingle>"


def message_block(way: Way, sid: str, seq: int, content: bytes, more: str = "") -> tuple[Way, str]:
    return way, f"<message {ends(way)} id='mb{seq}'>{data(sid, seq, content)}{more}</message>"


AMP = (
    "<amp xmlns='http://jabber.org/protocol/amp'><rule condition='deliver' value='stored' action='error'/></amp>"
)

FILES: dict[str, Stanzas] = {
    "in-band": (*in_band(UP, "ibbu", CONTENT), *in_band(DOWN, "ibbd", CONTENT[::-1], 1000)),
    "in-band-beside-chat": (
        *in_band(UP, "ibbu", CONTENT)[:4],
        (UP, f"<message to='{BOB}' type='chat' id='c1'><body>it is coming</body></message>"),
        (DOWN, f"<message from='{BOB}' to='{ME}' type='chat' id='c2'><body>I can see it</body></message>"),
        *in_band(UP, "ibbu", CONTENT)[4:],
    ),
    "in-band-by-messages": (
        iq(UP, "o1", opening("mm", stanza="message")), iq(DOWN, "o1", typed="result"),
        message_block(UP, "mm", 0, CONTENT[:3000], AMP),
        message_block(UP, "mm", 1, CONTENT[3000:], "<no-store xmlns='urn:xmpp:hints'/>"),
        message_block(DOWN, "mm", 0, b"and something back, of some length"),
        iq(UP, "c1", closing("mm")), iq(DOWN, "c1", typed="result"),
    ),
    "si-then-in-band": (
        iq(UP, "si1", si_offer("s1", "list.txt", len(CONTENT))), iq(DOWN, "si1", si_answer(), "result"),
        *in_band(UP, "s1", CONTENT),
    ),
    "jingle-then-in-band": (
        iq(DOWN, "j1", jingle("session-initiate", "js1", described("p.txt", len(CONTENT)) + transport_ibb("t1"))),
        iq(UP, "j1", typed="result"),
        iq(UP, "j2", jingle("session-accept", "js1", described("p.txt", len(CONTENT)) + transport_ibb("t1"))),
        iq(DOWN, "j2", typed="result"),
        *in_band(DOWN, "t1", CONTENT),
        iq(UP, "j3", jingle("session-terminate", "js1", more="<reason><success/></reason>")),
        iq(DOWN, "j3", typed="result"),
    ),
    "jingle-falls-back": (
        iq(UP, "j1", jingle("session-initiate", "js2", described("q.txt", len(CONTENT), 4)
                            + transport_s5b("t2", ("c1", "192.0.2.9", 5001), ("c2", "2001:db8::5", 5002)))),
        iq(DOWN, "j1", typed="result"),
        iq(DOWN, "j2", jingle("session-accept", "js2", described("q.txt", len(CONTENT), 4)
                              + transport_s5b("t2", ("d1", "198.51.100.3", 6001)))),
        iq(UP, "j2", typed="result"),
        iq(UP, "j3", jingle("transport-info", "js2", transport_s5b("t2", ("c3", "192.0.2.9", 5003)))),
        iq(DOWN, "j3", typed="result"),
        iq(UP, "j4", jingle("transport-replace", "js2", transport_ibb("t3"))), iq(DOWN, "j4", typed="result"),
        iq(DOWN, "j5", jingle("transport-accept", "js2", transport_ibb("t3"))), iq(UP, "j5", typed="result"),
        *in_band(UP, "t3", CONTENT),
    ),
    "google-talk": (
        (UP, f"<iq type='set' id='g1' to='{BOB}'><session xmlns='http://www.google.com/session' type='initiate' "
             f"id='gs1' initiator='{ME}'><description xmlns='http://www.google.com/session/share'><manifest>"
             "<file size='341'><name>pic.jpg</name></file><folder><name>holidays</name></folder></manifest>"
             "</description></session></iq>"),
    ),
    "broken-off": (
        *in_band(UP, "ibbx", CONTENT)[:-4], iq(DOWN, "x1", closing("ibbx")), iq(UP, "x1", typed="result"),
        (UP, f"<message to='{BOB}' type='chat'><body>why not?</body></message>"),
    ),
}
