"""How a text can be disguised in IRC: commands, tags, codes, charsets, line ends, batches."""

from __future__ import annotations

from collections.abc import Callable

from inspector.model import DOWN, UP, Way
from tests.evasion.reading import decoded, generous
from tests.evasion.ways import Disguise, Said

BEFORE: Said = [
    (UP, b"CAP LS 302\r\nNICK alice\r\nUSER alice 0 * :Alice Adams\r\n"),
    (DOWN, b":irc.example.net CAP * LS :sasl=PLAIN batch echo-message message-tags draft/multiline\r\n"),
    (UP, b"CAP REQ :batch message-tags draft/multiline\r\n"),
    (DOWN, b":irc.example.net CAP alice ACK :batch message-tags draft/multiline\r\n"),
    (UP, b"CAP END\r\n"),
    (DOWN, b":irc.example.net 001 alice :Welcome\r\n:irc.example.net 005 alice CHANTYPES=# :are supported\r\n"),
    (UP, b"JOIN #garden\r\n"),
    (DOWN, b":alice!~a@192.0.2.7 JOIN #garden\r\n"),
]
_FROM = b":bob!b@192.0.2.8 "


def read(data: bytes) -> list[str]:
    """Each line in any charset without codes; all texts behind one another, as a window shows them."""
    shown = generous(data)
    for text in decoded(data):
        lines = text.replace("\r", "\n").replace("\0", "\n").split("\n")
        shown.append("".join(line.partition(" :")[2] for line in lines))
        shown += [line.replace("\\s", " ").replace("\\:", ";") for line in lines]
    shown.append(data.decode("utf-16-le", "ignore"))
    return shown


Line = Callable[[Way, bytes], bytes]


def _to(way: Way, command: bytes = b"PRIVMSG", target: bytes = b"bob") -> bytes:
    return command + b" " + target + b" :" if way is UP else _FROM + command + b" alice :"


def _words(code: bytes = b"", command: bytes = b"PRIVMSG", before: bytes = b"", after: bytes = b"") -> Line:
    """A text with a code behind each character (never inside one)."""

    def line(way: Way, text: bytes) -> bytes:
        if code:
            text = b"".join(bytes((byte,)) + (code if byte < 128 else b"") for byte in text)
        return _to(way, command) + before + text + after + b"\r\n"

    return line


def _tag_value(text: bytes) -> bytes:
    """As the value of a tag (IRCv3 message-tags, escaping values)."""
    return text.replace(b"\\", b"\\\\").replace(b";", b"\\:").replace(b" ", b"\\s")


def _encoded(line: Line, codec: str = "utf-8") -> Callable[[Way, str], bytes | None]:
    def say(way: Way, text: str) -> bytes | None:
        if "\n" in text or "\r" in text:
            return None
        try:
            return line(way, text.encode(codec))
        except UnicodeEncodeError:
            return None

    return say


def _japanese(way: Way, text: bytes) -> bytes:
    """Escapes of ISO-2022-JP that change nothing, between the letters."""
    return _to(way) + "\x1b(B".join(text.decode()).encode() + b"\r\n"


def _marked(way: Way, text: bytes) -> bytes:
    """A letter of another charset in front makes the whole look like CP1252."""
    return _to(way) + b"caf\xe9 " + text + b"\r\n"


_BOTH: dict[str, Callable[[Way, str], bytes | None]] = {
    "PRIVMSG": _encoded(_words()),
    "NOTICE": _encoded(_words(command=b"NOTICE")),
    "command in small letters": _encoded(_words(command=b"pRiVmSg")),
    "bold inside the words": _encoded(_words(b"\x02")),
    "colours inside the words": _encoded(_words(b"\x0304")),
    "colours with background": _encoded(_words(b"\x0304,01")),
    "colour codes of two digits before digits": _encoded(_words(b"\x0301\x0f")),
    "colours without a number": _encoded(_words(b"\x0f\x03\x0f")),
    "hexadecimal colours": _encoded(_words(b"\x04FF0000")),
    "italics, underline, reverse, reset": _encoded(_words(b"\x1d\x1f\x16\x0f")),
    "strikethrough, monospace": _encoded(_words(b"\x1e\x11")),
    "other controls inside the words": _encoded(_words(b"\x05\x06\x7f")),
    "escapes of terminals": _encoded(_words(b"\x1b\x0f")),
    "ACTION": _encoded(_words(before=b"\x01ACTION ", after=b"\x01")),
    "ACTION without its end": _encoded(_words(before=b"\x01ACTION ")),
    "ACTION in small letters": _encoded(_words(before=b"\x01action ", after=b"\x01")),
    "ACTION with colours": _encoded(_words(b"\x0305", before=b"\x01ACTION ", after=b"\x01")),
    "ACTION inside of words": _encoded(_words(before=b"look \x01ACTION ", after=b"\x01 there")),
    "behind a CTCP of its own": _encoded(_words(before=b"\x01VERSION\x01 ")),
    "CTCP marks inside the words": _encoded(_words(b"\x01")),
    "CTCP quotes inside the words": _encoded(_words(b"\x10")),
    "CTCP nobody knows": _encoded(_words(before=b"\x01FROB ", after=b"\x01")),
    "CTCP PING": _encoded(_words(before=b"\x01PING ", after=b"\x01")),
    "answer to a CTCP": _encoded(_words(command=b"NOTICE", before=b"\x01VERSION ", after=b"\x01")),
    "CTCP CLIENTINFO with a colon": _encoded(_words(before=b"\x01CLIENTINFO :", after=b"\x01")),
    "byte order mark": _encoded(_words(before=b"\xef\xbb\xbf")),
    "CP1252": _encoded(_words(before=b"\x93caf\xe9\x94 "), "cp1252"),
    "CP1252 inside UTF-8": _encoded(_marked),
    "broken UTF-8 behind": _encoded(_words(after=b" \xff\xfe")),
    "broken UTF-8 inside the words": _encoded(_words(b"\xe9")),
    "bytes that no charset has": _encoded(_words(b"\x81")),
    "escapes of ISO-2022-JP": _encoded(_japanese),
    "ISO-2022-JP around the words": _encoded(_words(before=b"\x1b$B$3$s\x1b(B ")),
    "JIS Roman letters": _encoded(_words(before=b"\x1b(J", after=b"\x1b(B")),
    "line feed alone": _encoded(lambda way, text: _to(way) + text + b"\n"),
    "carriage return alone": _encoded(lambda way, text: _to(way) + text + b"\r" + _to(way) + b"hi\r\n"),
    "two carriage returns": _encoded(lambda way, text: _to(way) + text + b"\r\r\n"),
    "NUL behind": _encoded(_words(after=b"\0")),
    "NUL inside the words": _encoded(_words(b"\0")),
    "blanks in front": _encoded(lambda way, text: b"   " * (way is UP) + _to(way) + text + b"\r\n"),
    "many blanks": _encoded(lambda way, text: _to(way).replace(b" ", b"    ") + text + b"\r\n"),
    "without a colon": lambda way, text: None if " " in text or "\n" in text else (
        _to(way)[:-1] + text.encode() + b"\r\n"),
    "parameters without a colon": _encoded(lambda way, text: _to(way)[:-1] + text.lstrip(b":") + b"\r\n"),
    "a colon behind the first word": _encoded(lambda way, text: _to(way)[:-1] + text.replace(b" ", b" :", 1) + b"\r\n"),
    "value of a client's tag": _encoded(lambda way, text: (
        b"@+example.org/note=" + _tag_value(text) + b" " + _to(way) + b"hi\r\n")),
    "TAGMSG": _encoded(lambda way, text: (
        b"@+example.org/note=" + _tag_value(text)
        + (b" TAGMSG bob\r\n" if way is UP else b" " + _FROM + b"TAGMSG alice\r\n"))),
    "behind tags": _encoded(lambda way, text: b"@time=2026-01-05T10:00:00.000Z;msgid=a " + _to(way) + text + b"\r\n"),
    "behind long tags": _encoded(lambda way, text: b"@+a=" + b"x" * 3000 + b" " + _to(way) + text + b"\r\n"),
    "behind a long text": _encoded(_words(before=b"la " * 110)),
    "multiline": lambda way, text: _multiline(way, text, 1_000_000),
    "multiline, ten characters a line": lambda way, text: _multiline(way, text, 10),
    "TOPIC": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"TOPIC #garden :" + text + b"\r\n"),
    "PART": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"PART #garden :" + text + b"\r\n"),
    "QUIT": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"QUIT :" + text + b"\r\n"),
    "KICK": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"KICK #garden dave :" + text + b"\r\n"),
    "AWAY": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"AWAY :" + text + b"\r\n"),
    "real name": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"SETNAME :" + text + b"\r\n"),
    "WALLOPS": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"WALLOPS :" + text + b"\r\n"),
    "name of an offered file": _encoded(lambda way, text: (
        _to(way) + b'\x01DCC SEND "' + text.replace(b"/", b"_") + b'" 3221225991 5000 99\x01\r\n')),
    "command nobody knows": _encoded(lambda way, text: (b"" if way is UP else _FROM) + b"FROB bob :" + text + b"\r\n"),
    "nick": lambda way, text: None if " " in text or "\n" in text else (
        (b"" if way is UP else _FROM) + b"NICK :" + text.encode() + b"\r\n"),
}
_UP: dict[str, Callable[[Way, str], bytes | None]] = {
    "several targets": _encoded(lambda way, text: b"PRIVMSG bob,#garden,carol :" + text + b"\r\n"),
    "a hundred targets": _encoded(
        lambda way, text: b"PRIVMSG " + b",".join(b"n%d" % n for n in range(100)) + b" :" + text + b"\r\n"),
    "channel": _encoded(lambda way, text: b"PRIVMSG #garden :" + text + b"\r\n"),
    "operators of a channel": _encoded(lambda way, text: b"PRIVMSG @#garden :" + text + b"\r\n"),
    "with a source": _encoded(lambda way, text: b":alice PRIVMSG bob :" + text + b"\r\n"),
    "with another's source": _encoded(lambda way, text: b":carol!c@x PRIVMSG bob :" + text + b"\r\n"),
    "SQUERY": _encoded(lambda way, text: b"SQUERY somebody :" + text + b"\r\n"),
    "CPRIVMSG": _encoded(lambda way, text: b"CPRIVMSG bob #garden :" + text + b"\r\n"),
    "KILL": _encoded(lambda way, text: b"KILL bob :" + text + b"\r\n"),
    "INVITE with words": _encoded(lambda way, text: b"INVITE carol #garden :" + text + b"\r\n"),
    "MemoServ": _encoded(lambda way, text: b"PRIVMSG MemoServ :SEND bob " + text + b"\r\n"),
    "to a service by its short name": _encoded(lambda way, text: b"MS SEND bob " + text + b"\r\n"),
    "word of a login to somebody": _encoded(lambda way, text: b"PRIVMSG bob :identify " + text + b"\r\n"),
    "REDACT": _encoded(lambda way, text: b"REDACT #garden m1 :" + text + b"\r\n"),
}
_DOWN: dict[str, Callable[[Way, str], bytes | None]] = {
    "channel": _encoded(lambda way, text: _FROM + b"PRIVMSG #garden :" + text + b"\r\n"),
    "numeric with an away text": _encoded(lambda way, text: b":irc.example.net 301 alice bob :" + text + b"\r\n"),
    "numeric with a topic": _encoded(lambda way, text: b":irc.example.net 332 alice #garden :" + text + b"\r\n"),
    "numeric nobody knows": _encoded(lambda way, text: b":irc.example.net 987 alice :" + text + b"\r\n"),
    "real name in WHOIS": _encoded(
        lambda way, text: b":irc.example.net 311 alice bob ~b 192.0.2.8 * :" + text + b"\r\n"),
    "NOTICE of a server": _encoded(lambda way, text: b":irc.example.net NOTICE alice :" + text + b"\r\n"),
    "history": _encoded(lambda way, text: (
        b":irc.example.net BATCH +h chathistory #garden\r\n@batch=h " + _FROM + b"PRIVMSG #garden :" + text
        + b"\r\n:irc.example.net BATCH -h\r\n")),
    "own words coming back": _encoded(lambda way, text: b":alice!~a@192.0.2.7 PRIVMSG #garden :" + text + b"\r\n"),
    "without a source": _encoded(lambda way, text: b"PRIVMSG alice :" + text + b"\r\n"),
    "FAIL": _encoded(lambda way, text: b"FAIL FROB CODE :" + text + b"\r\n"),
    "ERROR": _encoded(lambda way, text: b"ERROR :" + text + b"\r\n"),
}


def _multiline(way: Way, text: str, size: int) -> bytes:
    """One message over a batch of lines."""
    source = b"" if way is UP else _FROM
    target = b"bob" if way is UP else b"alice"
    out = source + b"BATCH +m draft/multiline " + target + b"\r\n"
    for line in text.replace("\r", "").split("\n"):
        pieces = [line[at:at + size] for at in range(0, len(line), size)] or [""]
        for number, piece in enumerate(pieces):
            concat = b";draft/multiline-concat" if number else b""
            out += b"@batch=m" + concat + b" " + source + b"PRIVMSG " + target + b" :" + piece.encode() + b"\r\n"
    return out + source + b"BATCH -m\r\n"


def _disguise(way: Way, line: Callable[[Way, str], bytes | None]) -> Disguise:
    def say(text: str) -> Said | None:
        said = line(way, text)
        return None if said is None else [(way, said)]

    return Disguise(way, say, read, BEFORE, harmless=lambda number: _to(way) + b"the tulips are out %d\r\n" % number)


DISGUISES: dict[str, Disguise] = {
    **{f"{name}, up": _disguise(UP, line) for name, line in {**_BOTH, **_UP}.items()},
    **{f"{name}, down": _disguise(DOWN, line) for name, line in {**_BOTH, **_DOWN}.items()},
}
