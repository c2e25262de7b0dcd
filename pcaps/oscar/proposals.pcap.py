"""Proposals of files and their later stages: an offer accepted, one answered by the reader's own address, one through
AOL's relay, one declined, one of direct IM, a name in UTF-16; nothing of a file itself is in it."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, Flaps, name8, save, snac, tlv, user_info

HELLO = b"\0\0\0\1"
AIM = tlv(1, b"\0\x10")
FILE = bytes.fromhex("094613434c7f11d18222444553540000")
DIRECT = bytes.fromhex("094613454c7f11d18222444553540000")


def block(cookie: bytes, service: bytes, *tlvs: bytes, status: int = 0) -> bytes:
    return tlv(5, struct.pack(">H", status) + cookie + service + b"".join(tlvs))


def said(cookie: bytes, *tlvs: bytes, service: bytes = FILE, status: int = 0, request: int) -> bytes:
    body = cookie + b"\0\2" + name8("Ben") + tlv(3) + block(cookie, service, *tlvs, status=status)
    return snac(4, 6, body, request)


def heard(cookie: bytes, *tlvs: bytes, service: bytes = FILE, status: int = 0) -> bytes:
    body = cookie + b"\0\2" + user_info("Ben", AIM) + block(cookie, service, *tlvs, status=status)
    return snac(4, 7, body, 0x80000101)


def stage(number: int) -> bytes:
    return tlv(0x0A, struct.pack(">H", number)) + tlv(0x0F)


def place(host: bytes, port: int, seen: bytes = b"") -> bytes:
    return tlv(2, bytes(4)) + tlv(3, host) + (tlv(4, seen) if seen else b"") + tlv(5, struct.pack(">H", port))


def named(name: bytes, size: int) -> bytes:
    return tlv(0x2711, struct.pack(">HHI", 1, 1, size) + name)


HERE, THERE, RELAY = b"\x0a\0\0\5", b"\xc0\0\2\x28", b"\xc0\0\2\x63"
bos = Flaps(0x1000, 100)
bos.down(HELLO, 1).up(HELLO + tlv(6, b"ticket-of-amy-" * 18), 1)
bos.down(snac(1, 0x0F, user_info("Amy Gardener", AIM), 1))
bos.up(snac(1, 2, struct.pack(">4H", 1, 4, 0x110, 0x8F1), 2))
bos.up(said(b"1000001\0", stage(1), place(HERE, 5190), named(b"seeds.txt\0", 120), request=3))
bos.down(heard(b"1000001\0", status=2))
bos.down(heard(b"2000001\0", stage(1), place(THERE, 4443, THERE), named(b"bulbs\1tulips.jpg\0", 44000)))
bos.up(said(b"2000001\0", stage(2), place(HERE, 4443), request=4))
bos.down(heard(b"2000001\0", status=2))
bos.up(said(b"1000002\0", stage(1), place(HERE, 5190), named("Gärten.pdf\0".encode("utf-16-be"), 900),
            tlv(0x2712, b"unicode-2-0"), request=5))
bos.down(heard(b"1000002\0", stage(2), place(THERE, 4443, THERE)))
bos.up(said(b"1000002\0", stage(3), tlv(0x10), tlv(2, RELAY), tlv(5, b"\x12\x67"), request=6))
bos.down(heard(b"1000002\0", status=2))
bos.down(heard(b"2000002\0", stage(1), place(THERE, 4443, THERE), named(b"spam.exe\0", 666)))
bos.up(said(b"2000002\0", tlv(0x0B, b"\0\1"), status=1, request=7))
bos.up(said(b"1000003\0", stage(1), place(HERE, 5190), service=DIRECT, request=8))
bos.down(heard(b"1000003\0", tlv(0x0B, b"\0\1"), tlv(0x0C, b"not now, please"), service=DIRECT, status=1))
bos.up(b"", 4)
save(__file__, Conversation(ports=(40220, 5190)).say(bos.lines).close().packets)
