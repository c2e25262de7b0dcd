"""AIM on port 443: a login by MD5, the session it leads to, a chat room; one message that the golden policy refuses."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, Flaps, im_text, name8, save, snac, tlv, user_info

HELLO = b"\0\0\0\1"
TICKET, ROOM_TICKET = b"ticket-of-amy-" * 18, b"ticket-of-room" * 18
ROOM = "!aol://2719:10-4-garden"
SEND_FILE = bytes.fromhex("094613434c7f11d18222444553540000")
CHAT = bytes.fromhex("748f2420628711d18222444553540000")
AIM = tlv(1, b"\0\x10")


def to(name: str, cookie: bytes, *tlvs: bytes, request: int, channel: int = 1) -> bytes:
    body = cookie + struct.pack(">H", channel) + name8(name) + b"".join(tlvs)
    return snac(4, 6, body + tlv(3), request)


def of(name: str, cookie: bytes, *tlvs: bytes, channel: int = 1) -> bytes:
    return snac(4, 7, cookie + struct.pack(">H", channel) + user_info(name, AIM) + b"".join(tlvs), 0x80000100)


def ack(name: str, cookie: bytes, request: int) -> bytes:
    return snac(4, 0x0C, cookie + b"\0\1" + name8(name), request)


login = Flaps(1, 100)
login.down(HELLO, 1).up(HELLO, 1)
login.up(snac(0x17, 6, tlv(1, b"Amy Gardener")))
login.down(snac(0x17, 7, b"\0\x0a3141592653"))
login.up(snac(0x17, 2, tlv(1, b"Amy Gardener") + tlv(0x25, bytes(range(16))) + tlv(0x4C) + tlv(3, b"Example client")))
login.down(snac(0x17, 3, tlv(1, b"Amy Gardener") + tlv(5, b"10.0.0.8:443") + tlv(6, TICKET)))
login.down(b"", 4)

bos = Flaps(0x56C2, 0x198A)
bos.down(HELLO + tlv(0x8001, b"\0\0\0\2"), 1).up(HELLO + tlv(6, TICKET), 1)
bos.down(snac(1, 3, struct.pack(">6H", 1, 2, 3, 4, 9, 0x13), 0x80000001))
bos.up(snac(1, 0x17, struct.pack(">4H", 1, 4, 4, 1)))
bos.down(snac(1, 0x13, b"\0\5" + tlv(0x0B, b"Welcome to the example network."), 0x80000002))
bos.up(snac(1, 0x0E, b"", 3))
bos.down(snac(1, 0x0F, user_info("Amy Gardener", AIM, tlv(3, b"\x65\x53\xf1\0")), 3))
bos.up(snac(1, 2, struct.pack(">4H", 1, 4, 0x110, 0x8F1), 4))
bos.up(snac(2, 4, tlv(1, b'text/aolrtf; charset="us-ascii"') + tlv(2, b"<HTML>I grow <I>tulips</I></HTML>"), 5))
bos.down(snac(3, 0x0B, user_info("Ben", AIM, tlv(4, b"\0\x09"))
              + user_info("cleo", tlv(1, b"\0\x30"), tlv(0x1D, b"\0\2\4\x0e\0\x0cin the shed!"))))
bos.up(snac(4, 0x14, bytes(8) + b"\0\1" + name8("Ben") + b"\0\2"))
bos.up(to("Ben", b"1000001\0", im_text(b"<HTML><BODY>Are the <B>tulips</B> out?</BODY></HTML>"), request=0x10))
bos.down(ack("Ben", b"1000001\0", 0x10))
bos.down(of("Ben", b"2000001\0", im_text(b'<HTML><BODY BGCOLOR="#ffffff"><FONT FACE="Arial">All of them &amp; the '
                                         b'<A HREF="http://daffodils.example/?a=1&amp;b=2">daffodils</A>'
                                         b"<BR>look!</FONT></BODY></HTML>")))
bos.up(to("Ben", b"1000002\0", im_text("schöne Grüße \U0001f337".encode("utf-16-be"), 2), request=0x11))
bos.up(to("Ben", b"1000003\0", im_text(b"Tell me of the purple elephant"), request=0x12))
bos.up(to("Ben", b"1000004\0", im_text(b"My card is <B>4111 1111</B> 1111 1111, is it?"), request=0x13))
bos.up(to("Ben", b"1000005\0", im_text(b"Perhaps not"), request=0x14))
bos.down(of("Ben", b"2000002\0", im_text(b"away from keyboard"), tlv(4)))
bos.up(snac(0x13, 8, b"\0\4Dora" + struct.pack(">HHH", 1, 7, 0) + b"\0\x0c" + tlv(0x131, b"Dora B. "), 0x15))
bos.down(snac(0x13, 0x0E, b"\0\0", 0x15))
bos.up(to("Ben", b"1000006\0", tlv(5, b"\0\0" + b"1000006\0" + SEND_FILE + tlv(0x0A, b"\0\1") + tlv(0x0F)
       + tlv(3, b"\x0a\0\0\5") + tlv(5, b"\x14\x46") + tlv(0x2711, struct.pack(">HHI", 1, 1, 12008) + b"soup.txt\0")),
          request=0x16, channel=2))
bos.down(of("Ben", b"1000006\0", tlv(5, b"\0\2" + b"1000006\0" + SEND_FILE), channel=2))
bos.down(of("Ben", b"2000003\0", tlv(5, b"\0\0" + b"2000003\0" + CHAT + tlv(0x0A, b"\0\1") + tlv(0x0C, b"Come over!")
         + tlv(0x2711, b"\0\4" + name8(ROOM) + b"\0\0")), channel=2))
bos.up(snac(1, 4, b"\0\x0e" + tlv(1, b"\0\4" + name8(ROOM) + b"\0\0"), 0x17))
bos.down(snac(1, 5, tlv(0x0D, b"\0\x0e") + tlv(5, b"10.0.0.8:443") + tlv(6, ROOM_TICKET), 0x17))
bos.down(snac(4, 1, b"\0\4" + tlv(0x1B, b"cleo is not signed on"), 0x18))
bos.up(b"", 5)
bos.down(snac(3, 0x0C, user_info("Ben", tlv(1, b"\0\0"))))
bos.up(b"", 4)

room = Flaps(7, 100)
room.down(HELLO, 1).up(HELLO + tlv(6, ROOM_TICKET), 1).up(snac(1, 2, b"", 2))
room.down(snac(0x0E, 2, b"\0\4" + name8(ROOM) + b"\0\0\2\0\0"))
room.down(snac(0x0E, 3, user_info("Amy Gardener", AIM) + user_info("Ben", AIM)))
words = tlv(5, tlv(2, b"us-ascii") + tlv(3, b"en") + tlv(1, b"<HTML>what a lovely room</HTML>"))
room.up(snac(0x0E, 5, b"3000001\0\0\3" + tlv(1) + tlv(6) + words, 8))
room.down(snac(0x0E, 6, b"3000001\0\0\3" + tlv(3, user_info("Amy Gardener", AIM)) + tlv(1) + words))
answer = tlv(5, tlv(2, b"unicode-2-0") + tlv(1, "schön".encode("utf-16-be")))
room.down(snac(0x0E, 6, b"3000002\0\0\3" + tlv(3, user_info("Ben", AIM)) + tlv(1) + answer))
room.down(snac(0x0E, 4, user_info("Ben", AIM)))

first = Conversation(ports=(40200, 443)).say(login.lines).close()
second = Conversation(server="10.0.0.8", ports=(40201, 443), at=first.at + 1).say(bos.lines)
third = Conversation(server="10.0.0.8", ports=(40202, 443), at=second.at + 1).say(room.lines).close()
second.at, talked = third.at + 1, len(second.packets)
second.close()
save(__file__, first.packets + second.packets[:talked] + third.packets + second.packets[talked:])
