"""Files by DCC SEND: one that is whole, a passive one, an empty one, a resumed one, a short one, one that is longer
than offered."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import START, Conversation, Packet, save

OTTO, IDA = "10.0.0.5", "10.0.0.8"
MAP = bytes(range(256)) * 12
TIDES = b"day;high;low\n" + b"".join(b"%d;%d;%d\n" % (d, d * 37 % 24, d * 41 % 24) for d in range(1, 31))

talk = Conversation(client=OTTO, ports=(40002, 6667))
talk.say((
    ("up", "NICK otto\r\nUSER otto 0 * :Otto\r\n"),
    ("down", ":irc.example.net 001 otto :Welcome otto\r\n"),
    ("up", f'PRIVMSG ida :\x01DCC SEND "map of the island.png" 167772165 5001 {len(MAP)}\x01\r\n'),
    ("down", f":ida!i@10.0.0.8 PRIVMSG otto :\x01DCC SEND tide_tables.csv 167772168 0 {len(TIDES)} 41\x01\r\n"),
    ("up", f"PRIVMSG ida :\x01DCC SEND tide_tables.csv 167772165 5002 {len(TIDES)} 41\x01\r\n"),
    ("down", ":ida!i@10.0.0.8 PRIVMSG otto :\x01DCC SEND empty.txt 0 5003 0\x01\r\n"),
    ("down", ":ida!i@10.0.0.8 PRIVMSG otto :\x01DCC SEND logbook.txt 167772168 5004 1000\x01\r\n"),
    ("up", "PRIVMSG ida :\x01DCC RESUME logbook.txt 5004 900\x01\r\n"),
    ("down", ":ida!i@10.0.0.8 PRIVMSG otto :\x01DCC ACCEPT logbook.txt 5004 900\x01\r\n"),
    ("down", ":ida!i@10.0.0.8 PRIVMSG otto :\x01DCC SEND ../shells.zip 167772168 5005 500\x01\r\n"),
    ("down", ":ida!i@10.0.0.8 PRIVMSG otto :\x01DCC SEND grown.log 167772168 5006 20\x01\r\n"),
))


def transfer(
    number: int, client: str, server: str, port: int, content: bytes, *, up: bool = False, upto: int | None = None,
    base: int = 0,
) -> list[Packet]:
    """A file on a connection of its own, acknowledged in running totals; the sender closes."""
    data = Conversation(client=client, server=server, ports=(41000 + number, port), at=START + 5 + number)
    there, back = ("up", "down") if up else ("down", "up")
    for at in range(0, len(content), 1000):
        piece = content[at:at + 1000]
        total = min(base + at + len(piece), upto or 1 << 32)
        data.say(((there, piece), (back, total.to_bytes(4))), wait=0.02)
    return data.close().packets


packets = [
    *transfer(1, IDA, OTTO, 5001, MAP),
    *transfer(2, IDA, OTTO, 5002, TIDES, up=True),
    *transfer(3, OTTO, IDA, 5003, b""),
    *transfer(4, OTTO, IDA, 5004, b"and so we came home." * 5, base=900),
    *transfer(5, OTTO, IDA, 5005, b"PK\3\4" + b"shell " * 40),
    *transfer(6, OTTO, IDA, 5006, b"twenty bytes of log\n" + b"and more than that\n", upto=20),
]
talk.at = START + 15
talk.say((("up", "QUIT\r\n"),)).close()
save(__file__, sorted([*talk.packets, *packets], key=lambda packet: float(packet.time)))
