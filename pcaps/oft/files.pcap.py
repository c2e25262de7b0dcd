"""Files between two AIM users: one that was proposed, several of another's in a row, one through AOL's proxy, a resumed
one, one that nobody proposed, one that says it is compressed."""

import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import START, Conversation, Flaps, name8, save, snac, tlv, user_info

AMY, BEN, PROXY = "10.0.0.5", "10.0.0.9", "10.0.0.20"
SEND_FILE = bytes.fromhex("094613434c7f11d18222444553540000")
AIM = tlv(1, b"\0\x10")
Lines = list[tuple[str, bytes]]


def checksum(content: bytes) -> int:
    found = 0xFFFF
    for index, byte in enumerate(content):
        found -= byte if index & 1 else byte << 8
        found += 0xFFFF if found < 0 else 0
    return found << 16


def header(
    kind: int, name: str, content: bytes, cookie: bytes = bytes(8), *, received: int = 0, compress: int = 0,
    files: tuple[int, int] = (1, 1),
) -> bytes:
    size = len(content)
    raw = b"OFT2" + struct.pack(">HH8s6H", 256, kind, cookie, 0, compress, *files, 1, 1)
    raw += struct.pack(">10I", size, size, 1_700_000_000, checksum(content), 0xFFFF0000, 0, 0, 0xFFFF0000, received,
                       checksum(content) if received == size else 0xFFFF0000)
    raw += b"Cool FileXfer".ljust(32, b"\0") + b"\x20\x1c\x11" + bytes(69 + 16 + 4)
    return (raw + name.encode().replace(b"/", b"\1")).ljust(256, b"\0")


def transfer(there: str, name: str, content: bytes, cookie: bytes, files: tuple[int, int] = (1, 1)) -> Lines:
    """A file from its prompt to its done, in segments of 1,000 bytes."""
    back = "up" if there == "down" else "down"
    return [
        (there, header(0x0101, name, content, files=files)), (back, header(0x0202, name, content, cookie, files=files)),
        *((there, content[at:at + 1000]) for at in range(0, len(content), 1000)),
        (back, header(0x0204, name, content, cookie, received=len(content), files=files)),
    ]


def proposed(cookie: bytes, host: bytes, port: int, name: str, size: int, count: int = 1, proxy: bool = False) -> bytes:
    return tlv(5, b"\0\0" + cookie + SEND_FILE + tlv(0x0A, b"\0\3" if proxy else b"\0\1") + tlv(0x0F)
               + tlv(2, host) + (tlv(0x10) if proxy else tlv(3, host)) + tlv(5, struct.pack(">H", port))
               + tlv(0x2711, struct.pack(">HHI", 2 if count > 1 else 1, count, size) + name.encode() + b"\0"))


def to(cookie: bytes, *tlvs: bytes) -> bytes:
    return snac(4, 6, cookie + b"\0\2" + name8("Ben") + b"".join(tlvs) + tlv(3), 0x20)


def of(cookie: bytes, *tlvs: bytes) -> bytes:
    return snac(4, 7, cookie + b"\0\2" + user_info("Ben", AIM) + b"".join(tlvs), 0x80000100)


def flow(number: int, client: str, server: str, port: int, lines: Lines) -> list[object]:
    return Conversation(client=client, server=server, ports=(41000 + number, port), at=START + 5 + number).say(
        lines, wait=0.01).close().packets


SEEDS = b"kind;row;day\n" + b"".join(b"tulip %d;%d;%d\n" % (n, n % 7, n * 3 % 31) for n in range(200))
BEACH, DUNES = bytes(range(256)) * 9, bytes(range(255, -1, -1)) * 5
NOTES = b"The soil wants lime, and less rain.\n" * 40
OWN, SEVERAL, PROXIED, LATER = b"1000001\0", b"2000001\0", b"1000002\0", b"2000002\0"

bos = Flaps(0x56C2, 0x198A)
bos.down(b"\0\0\0\1", 1).up(b"\0\0\0\1" + tlv(6, b"ticket-of-amy-" * 18), 1)
bos.down(snac(1, 0x0F, user_info("Amy Gardener", AIM), 3)).up(snac(1, 2, struct.pack(">4H", 1, 4, 0x110, 0x8F1), 4))
bos.up(to(OWN, proposed(OWN, bytes((10, 0, 0, 5)), 5190, "seeds.csv", len(SEEDS))))
bos.down(of(OWN, tlv(5, b"\0\2" + OWN + SEND_FILE)))
bos.down(of(SEVERAL, proposed(SEVERAL, bytes((10, 0, 0, 9)), 4443, "photos", len(BEACH) + len(DUNES), 3)))
bos.up(to(SEVERAL, tlv(5, b"\0\2" + SEVERAL + SEND_FILE)))
bos.up(to(PROXIED, proposed(PROXIED, bytes((10, 0, 0, 20)), 4660, "notes.txt", len(NOTES), proxy=True)))
bos.down(of(LATER, proposed(LATER, bytes((10, 0, 0, 9)), 4444, "dunes.raw", len(DUNES))))

talk = Conversation(client=AMY, server="10.0.0.8", ports=(40201, 443)).say(bos.lines, wait=0.05)
head = struct.pack(">H", 0x044A)
packets = [
    *flow(1, BEN, AMY, 5190, transfer("down", "seeds.csv", SEEDS, OWN)),
    *flow(2, AMY, BEN, 4443, [
        *transfer("down", "photos/beach.raw", BEACH, SEVERAL, (3, 3)),
        *transfer("down", "photos/empty", b"", SEVERAL, (3, 2)),
        *transfer("down", "photos/dunes.raw", DUNES, SEVERAL, (3, 1)),
    ]),
    *flow(3, AMY, PROXY, 5190, [
        ("up", b"\0\x32" + head + b"\0\2\0\0\0\0\2\x20" + name8("Amy Gardener") + PROXIED + tlv(1, SEND_FILE)[:19]),
        ("down", b"\0\x10" + head + b"\0\3\0\0\0\0\2\x20" + b"\x12\x34\x0a\0\0\x14"),
        ("down", b"\0\x0a" + head + b"\0\5\0\0\0\0\2\x20"), *transfer("up", "notes.txt", NOTES, PROXIED),
    ]),
    *flow(4, AMY, BEN, 4444, [
        ("down", header(0x0101, "dunes.raw", DUNES)), ("up", header(0x0205, "dunes.raw", DUNES, LATER, received=500)),
        ("down", header(0x0106, "dunes.raw", DUNES, LATER, received=500)),
        ("up", header(0x0207, "dunes.raw", DUNES, LATER, received=500)), ("down", DUNES[500:]),
        ("up", header(0x0204, "dunes.raw", DUNES, LATER, received=len(DUNES))),
    ]),
    *flow(5, AMY, BEN, 4445, [
        ("down", header(0x0101, "..\\startup\\plan.pdf .exe", NOTES)),
        ("up", header(0x0202, "..\\startup\\plan.pdf .exe", NOTES)), ("down", NOTES),
    ]),
    *flow(6, BEN, AMY, 4446, [
        ("up", header(0x0101, "packed.bin", NOTES, compress=1)), ("down", header(0x0202, "packed.bin", NOTES)),
        ("up", NOTES),
    ]),
]
talk.at = START + 20
talk.say([("up", struct.pack(">BBHH", 0x2A, 4, bos.numbers["up"], 0))]).close()
save(__file__, sorted([*talk.packets, *packets], key=lambda packet: float(packet.time)))
