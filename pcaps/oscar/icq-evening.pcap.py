"""ICQ: the roasted login, stored messages, old and relayed messages in their charsets, a request, a short message."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, Flaps, im_text, name8, save, snac, tlv, user_info

HELLO = b"\0\0\0\1"
TICKET = b"ticket-of-1001-" * 17
RELAY = bytes.fromhex("094613494c7f11d18222444553540000")
UTF8 = b"{0946134E-4C7F-11D1-8222-444553540000}"
ICQ = tlv(1, b"\0\x50")


def asked(kind: int, body: bytes = b"") -> bytes:
    block = struct.pack("<IHH", 100100, kind, 2) + body
    return tlv(1, struct.pack("<H", len(block)) + block)


def stored(sender: int, text: bytes) -> bytes:
    return asked(0x41, struct.pack("<IHBBBBBBH", sender, 2003, 5, 17, 9, 30, 1, 0, len(text) + 1) + text + b"\0")


def old(kind: int, text: bytes) -> bytes:
    return tlv(5, struct.pack("<IBBH", 200200, kind, 0, len(text) + 1) + text + b"\0")


def relayed(text: bytes) -> bytes:
    body = struct.pack("<HH", 0x1B, 8) + bytes(25) + struct.pack("<H", 0x0E) + bytes(14)
    body += struct.pack("<BBHHH", 1, 0, 0, 1, len(text) + 1) + text + b"\0" + struct.pack("<II", 0, 0xFFFFFF)
    body += struct.pack("<I", len(UTF8)) + UTF8
    return tlv(5, b"\0\0" + b"4000001\0" + RELAY + tlv(0x0A, b"\0\1") + tlv(0x0F) + tlv(0x2711, body))


def of(channel: int, *tlvs: bytes) -> bytes:
    return snac(4, 7, b"4000001\0" + struct.pack(">H", channel) + user_info("200200", ICQ) + b"".join(tlvs), 0x80000100)


login = Flaps(5, 100)
login.down(HELLO, 1).up(HELLO + tlv(1, b"100100") + tlv(2, b"\x92\x43\xe2\xb4") + tlv(3, b"ICQ Inc. - Example"), 1)
login.down(tlv(1, b"100100") + tlv(5, b"10.0.0.8:5190") + tlv(6, TICKET), 4)

bos = Flaps(0x1230, 0x7A2B)
bos.down(HELLO, 1).up(HELLO + tlv(6, TICKET), 1)
bos.down(snac(1, 0x0F, user_info("100100", ICQ, tlv(6, b"\0\0\0\0")), 3))
bos.up(snac(1, 2, b"", 4)).up(snac(1, 0x1E, tlv(6, b"\0\0\0\x20"), 5))
bos.up(snac(0x15, 2, asked(0x3C), 0x10002))
bos.down(snac(0x15, 3, stored(200200, "привет из теплицы".encode("cp1251")), 0x10002, 1))
bos.down(snac(0x15, 3, asked(0x42, b"\0"), 0x10002))
bos.up(snac(4, 6, b"4000002\0\0\1" + name8("200200") + im_text("вечером приду".encode("cp1251"), 3) + tlv(3), 0x20))
bos.up(snac(4, 6, b"4000003\0\0\1" + name8("200200") + im_text(b"if a <b then c & d") + tlv(6), 0x21))
bos.up(snac(4, 6, b"4000004\0\0\4" + name8("200200") + old(1, b"do you know the purple elephant?") + tlv(6), 0x22))
bos.down(of(4, old(4, b"look at this\xfehttp://tulips.example/")))
bos.down(of(4, old(6, b"rose\xfeRosa\xfeRed\xferosa@garden.example\xfe1\xfelet me in please")))
bos.down(of(2, relayed("через сервер, карта 4111 1111 1111 1111".encode())))
bos.up(snac(0x15, 2, asked(0x7D0, struct.pack("<HH", 0x1482, 1) + bytes(20)
       + b"<icq_sms_message><destination>+15550100</destination><text>call me back</text></icq_sms_message>"), 0x23))
bos.up(snac(0x15, 2, asked(0x7D0, struct.pack("<HH", 0x042E, 7) + b"secret\0"), 0x24))
bos.up(snac(0x13, 0x18, name8("200200") + b"\0\x11may I be on yours\0\0", 0x25))

first = Conversation(ports=(40210, 5190)).say(login.lines).close()
second = Conversation(server="10.0.0.8", ports=(40211, 5190), at=first.at + 1).say(bos.lines).close()
save(__file__, first.packets + second.packets)
