"""A direct IM connection: typing, words in three charsets, one refused and one masked message, pictures in a message,
one of them with a size that lies; another through AOL's proxy."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import START, Conversation, Flaps, name8, save, snac, tlv, user_info

AMY, BEN, PROXY = "10.0.0.5", "10.0.0.9", "10.0.0.20"
DIRECT_IM = bytes.fromhex("094613454c7f11d18222444553540000")
AIM = tlv(1, b"\0\x10")
COOKIE = b"1000007\0"
HELLO, TYPING, TYPED, STOPPED = 0x60, 0x0E, 0x06, 0x02
DOT = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def direct(name: str, words: bytes = b"", flags: int = 0, charset: int = 0) -> bytes:
    raw = b"ODC2" + struct.pack(">HHHH8s8xIHxxxxH", 76, 1, 6, 0, COOKIE, len(words), charset, flags)
    return raw.ljust(44, b"\0") + name.encode().ljust(32, b"\0") + words


def picture(number: int, data: bytes, size: int) -> bytes:
    return b'<DATA ID="%d" SIZE="%d">%s</DATA>' % (number, size, data)


bos = Flaps(0x56C2, 0x198A)
bos.down(b"\0\0\0\1", 1).up(b"\0\0\0\1" + tlv(6, b"ticket-of-amy-" * 18), 1)
bos.down(snac(1, 0x0F, user_info("Amy Gardener", AIM), 3)).up(snac(1, 2, struct.pack(">4H", 1, 4, 0x110, 0x8F1), 4))
host = bytes((10, 0, 0, 9))
bos.down(snac(4, 7, COOKIE + b"\0\2" + user_info("Ben", AIM) + tlv(
    5, b"\0\0" + COOKIE + DIRECT_IM + tlv(0x0A, b"\0\1") + tlv(0x0F) + tlv(2, host) + tlv(3, host)
    + tlv(5, b"\x11\x5b")), 0x80000100))
bos.up(snac(4, 6, COOKIE + b"\0\2" + name8("Ben") + tlv(5, b"\0\2" + COOKIE + DIRECT_IM) + tlv(3), 0x20))
talk = Conversation(client=AMY, server="10.0.0.8", ports=(40201, 443)).say(bos.lines, wait=0.05)

near = Conversation(client=AMY, server=BEN, ports=(41001, 4443), at=START + 5).say((
    ("up", direct("amygardener", flags=HELLO)), ("down", direct("ben", flags=HELLO)),
    ("up", direct("amygardener", flags=TYPING)), ("up", direct("amygardener", flags=TYPED)),
    ("up", direct("amygardener", b"<HTML><BODY>Is the <B>bench</B> painted &amp; dry?</BODY></HTML>")),
    ("down", direct("ben", "Ja, in Grün".encode("utf-16-be"), charset=2)),
    ("up", direct("amygardener", "wunderschön".encode("latin-1"), charset=3)),
    ("down", direct("ben", b"<HTML>On it sat <I>the purple</I> elephant</HTML>")),
    ("up", direct("amygardener", b"My card is <B>4111 1111</B> 1111 1111, is it?")),
    ("down", direct("ben", b'<HTML>Look <IMG SRC="bench.gif" ID="1"> and <IMG SRC="dog.gif" ID="2"></HTML>'
                    b"<BINARY>" + picture(1, DOT, len(DOT)) + picture(2, DOT, 20) + b"</BINARY>")),
    ("down", direct("ben", b"I am away from the desk", flags=1)), ("up", direct("amygardener", flags=STOPPED)),
)).close()
mark = struct.pack(">H", 0x044A)
far = Conversation(client=AMY, server=PROXY, ports=(41002, 5190), at=START + 10).say((
    ("up", b"\0\x20" + mark + b"\0\4\0\0\0\0\2\x20" + name8("Amy Gardener") + b"\x12\x34" + b"3000001\0"[:7]),
    ("down", b"\0\x0a" + mark + b"\0\5\0\0\0\0\2\x20"),
    ("down", direct("cleo", flags=HELLO)), ("up", direct("amygardener", flags=HELLO)),
    ("down", direct("cleo", b"Perhaps it rains tomorrow")),
)).close()
talk.at = START + 20
talk.say([("up", struct.pack(">BBHH", 0x2A, 4, bos.numbers["up"], 0))]).close()
save(__file__, sorted([*talk.packets, *near.packets, *far.packets], key=lambda packet: float(packet.time)))
