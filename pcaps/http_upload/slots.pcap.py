"""Two slots of an upload host, used and fetched over plain HTTP: one connection kept open, chunks, a range; one request
that a server behind another could read in two ways."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import START, Conversation, save

STREAMS = "http://etherx.jabber.org/streams"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
UPLOAD = "urn:xmpp:http:upload:0"
ME, BOB = "amy@garden.example/desk", "bob@meadow.example/barn"
HEAD = f"version='1.0' xmlns='jabber:client' xmlns:stream='{STREAMS}'>"
UP = f"<?xml version='1.0'?><stream:stream to='garden.example' {HEAD}"
DOWN = f"<?xml version='1.0'?><stream:stream from='garden.example' id='4f1' {HEAD}"
HOST, PORT = "10.0.0.7", 5280
NOTES = b"sow on Sunday, water on Monday\n" * 30
MAP = b"GIF89a" + bytes(range(256)) * 4


def slot(ident: str, name: str, size: int, kind: str) -> list[tuple[str, str]]:
    url = f"http://{HOST}:{PORT}/f/{ident}/{name}"
    return [
        ("up", f"<iq type='get' id='{ident}' to='up.garden.example'><request xmlns='{UPLOAD}' filename='{name}' "
               f"size='{size}' content-type='{kind}'/></iq>"),
        ("down", f"<iq type='result' id='{ident}' from='up.garden.example' to='{ME}'><slot xmlns='{UPLOAD}'>"
                 f"<put url='{url}'><header name='Authorization'>Bearer abc</header></put><get url='{url}'/></slot>"
                 "</iq>"),
    ]


def head(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode()


def request(method: str, target: str, *fields: str) -> bytes:
    return head(f"{method} {target} HTTP/1.1", f"Host: {HOST}:{PORT}", *fields)


def answer(status: str, *fields: str) -> bytes:
    return head(f"HTTP/1.1 {status}", *fields)


talk = Conversation(ports=(40120, 5222)).say([
    ("up", UP), ("down", DOWN),
    ("down", f"<stream:features><mechanisms xmlns='{SASL}'><mechanism>PLAIN</mechanism></mechanisms>"
             "</stream:features>"),
    ("up", f"<auth xmlns='{SASL}' mechanism='PLAIN'>AGFteQBub3RoaW5n</auth>"),
    ("down", f"<success xmlns='{SASL}'/>"),
    ("up", UP), ("down", DOWN + f"<stream:features><bind xmlns='{BIND}'/></stream:features>"),
    ("up", f"<iq type='set' id='b1'><bind xmlns='{BIND}'><resource>desk</resource></bind></iq>"),
    ("down", f"<iq type='result' id='b1'><bind xmlns='{BIND}'><jid>{ME}</jid></bind></iq>"),
    *slot("u1", "notes.txt", len(NOTES), "text/plain"), *slot("u2", "map.gif", len(MAP), "image/gif"),
])
chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (MAP[:500], MAP[500:])) + b"0\r\n\r\n"
put = Conversation(server=HOST, ports=(40121, PORT), at=talk.at).say([
    ("up", request("PUT", "/f/u1/notes.txt", "Authorization: Bearer abc", f"Content-Length: {len(NOTES)}",
                   "Expect: 100-continue")),
    ("down", answer("100 Continue")),
    ("up", NOTES), ("down", answer("201 Created", "Content-Length: 0")),
    ("up", request("PUT", "/f/u2/map.gif", "Authorization: Bearer abc", "Transfer-Encoding: chunked") + chunked),
    ("down", answer("201 Created", "Content-Length: 0")),
]).close()
get = Conversation(server=HOST, ports=(40122, PORT), at=START + 20).say([
    ("up", request("GET", "/f/u1/notes.txt") + request("GET", "/f/u2/map.gif", "Range: bytes=512-")),
    ("down", answer("200 OK", "Content-Type: text/plain", f"Content-Length: {len(NOTES)}") + NOTES),
    ("down", answer("206 Partial Content", f"Content-Range: bytes 512-{len(MAP) - 1}/{len(MAP)}",
                    f"Content-Length: {len(MAP) - 512}") + MAP[512:]),
    ("up", request("GET", "/f/u3/none.txt")),
    ("down", answer("404 Not Found", "Content-Type: text/plain", "Content-Length: 10", "Connection: close")
     + b"not here\r\n"),
]).close()
odd = Conversation(server=HOST, ports=(40123, PORT), at=START + 25).say([
    ("up", request("PUT", "/f/u1/notes.txt", "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("down", answer("400 Bad Request", "Content-Length: 0", "Connection: close")),
]).close()
talk.at = START + 30
talk.say([("up", f"<message to='{BOB}' type='chat' id='m1'><body>see the map</body></message>"),
          ("up", "</stream:stream>"), ("down", "</stream:stream>")]).close()
save(__file__, sorted(
    [*talk.packets, *put.packets, *get.packets, *odd.packets], key=lambda packet: float(packet.time)))
