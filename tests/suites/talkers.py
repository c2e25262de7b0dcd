"""A small XMPP server and its users, beside the IRC ones of test_crash.py: XMPP names messages by an id."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import threading
from collections import Counter, defaultdict

from tests.suites.test_crash import Client

_UNIT = re.compile(r"<stream:stream[^>]*>|<(auth|iq|message)\b.*?</\1>|<presence/>", re.DOTALL)
_ID = re.compile(r"\sid=['\"]([^'\"]+)['\"]")
_BODY = re.compile(r"<body>(.*?)</body>", re.DOTALL)
HEADER = (
    "<stream:stream from='x.test' id='s1' version='1.0' xmlns='jabber:client'"
    " xmlns:stream='http://etherx.jabber.org/streams'>"
)
MECHANISMS = (
    "<stream:features><mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>"
    "</stream:features>"
)
BIND = "<stream:features><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>"


class XmppServer:
    """Lets everybody in and counts what they say, by its id."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listener.getsockname()[1])
        self._came: defaultdict[str, Counter[str]] = defaultdict(Counter)
        """Words -> how often they came under which id."""
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self) -> Counter[str]:
        """Words -> how many messages had them. What came again under the same id is one message."""
        with self._lock:
            return Counter({words: len(ids) for words, ids in self._came.items()})

    def again(self) -> set[str]:
        """Words that came again under the same id."""
        with self._lock:
            return {words for words, ids in self._came.items() if any(times > 1 for times in ids.values())}

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        rest, user = "", ""
        with contextlib.suppress(OSError), sock:
            while data := sock.recv(65536):
                rest += data.decode()
                while unit := _UNIT.search(rest):
                    rest = rest[unit.end():]
                    user = self._answer(sock, unit.group(0), user)

    def _answer(self, sock: socket.socket, unit: str, user: str) -> str:
        if unit.startswith("<stream:stream"):
            sock.sendall((HEADER + (BIND if user else MECHANISMS)).encode())
        elif unit.startswith("<auth"):
            token = unit.partition(">")[2].partition("<")[0]
            user = base64.b64decode(token).split(b"\0")[1].decode()
            sock.sendall(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
        elif unit.startswith("<iq"):
            ident = _ID.findall(unit)[0]
            bind = f"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>{user}@x.test/r</jid></bind>"
            sock.sendall(f"<iq type='result' id='{ident}'>{bind if 'xmpp-bind' in unit else ''}</iq>".encode())
        elif unit.startswith("<message"):
            words = _BODY.findall(unit)
            if words:
                with self._lock:
                    self._came[words[0]][_ID.findall(unit)[0]] += 1
        return user

    def close(self) -> None:
        self.listener.close()


class XmppClient(Client):
    """A user of it."""

    def sign_on(self) -> None:
        self._open(b"</stream:features>")
        token = base64.b64encode(f"\0{self.nick}\0secret".encode()).decode()
        self.say(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{token}</auth>")
        self.until(b"<success")
        self.heard = b""
        self._open(b"</stream:features>")
        self.say("<iq type='set' id='b1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        self.until(b"</jid>")
        self.say("<presence/>")

    def _open(self, until: bytes) -> None:
        self.say("<stream:stream to='x.test' version='1.0' xmlns='jabber:client'"
                 " xmlns:stream='http://etherx.jabber.org/streams'>")
        self.until(until)

    def message(self, number: int, words: str) -> str:
        return f"<message type='chat' id='m{number}' to='bob@x.test'><body>no{number}x {words}</body></message>"

    def ping(self, token: str) -> str:
        return f"<iq type='get' id='{token}' to='x.test'><ping xmlns='urn:xmpp:ping'/></iq>"

