"""Makes synthetic captures: a conversation of two ends, segment by segment, built by scapy.

Used by the `.pcap.py` scripts, each of which writes the capture of its own name beside itself:

    python pcaps/tcp/vlan.pcap.py

The same script gives the same bytes each time. Ends are inside (10.0.0.0/8, fd00::/8), words are invented.
"""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from scapy.layers.inet import IP, TCP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet, Raw

CLIENT, SERVER = "10.0.0.5", "10.0.0.7"
CLIENT6, SERVER6 = "fd00::5", "fd00::7"
START = 1_700_000_000.0

IRC: tuple[tuple[str, str], ...] = (
    ("up", "NICK amy\r\nUSER amy 0 * :Amy\r\n"),
    ("down", ":irc.example.net 001 amy :Welcome to the example network amy\r\n"),
    ("up", "JOIN #garden\r\n"),
    ("down", ":amy!amy@host JOIN #garden\r\n:irc.example.net 366 amy #garden :End of /NAMES list.\r\n"),
    ("up", "PRIVMSG #garden :The tulips are out.\r\n"),
    ("down", ":bob!bob@host PRIVMSG #garden :Lovely! Red or yellow?\r\n"),
    ("up", "PRIVMSG bob :Have you seen the purple elephant?\r\n"),
    ("down", "PING :irc.example.net\r\n"),
    ("up", "PONG :irc.example.net\r\n"),
    ("up", "PRIVMSG #garden :Both. See you on Sunday.\r\n"),
    ("up", "QUIT :home\r\n"),
    ("down", "ERROR :Closing link: amy (home)\r\n"),
)
"""A short evening on IRC: a sign-on, a room, one message that the golden policy refuses."""


class Conversation:
    """A TCP connection as packets, in the order in which they pass; `packets` may be changed at will afterwards."""

    def __init__(
        self, client: str = CLIENT, server: str = SERVER, ports: tuple[int, int] = (40000, 6667), at: float = START,
        isn: tuple[int, int] = (1000, 5000), handshake: bool = True,
    ) -> None:
        self.ends = (client, server)
        self.ports = ports
        self.at = at
        self.next = [isn[0], isn[1]]
        self.packets: list[Packet] = []
        if handshake:
            self._send(0, "S", 1)
            self._send(1, "SA", 1)
            self._send(0, "A")

    def _send(self, end: int, flags: str, count: int = 0, data: bytes = b"") -> Packet:
        network: type[Packet] = IPv6 if ":" in self.ends[0] else IP
        segment = network(src=self.ends[end], dst=self.ends[1 - end]) / TCP(
            sport=self.ports[end], dport=self.ports[1 - end], flags=flags, seq=self.next[end] % 2**32,
            ack=self.next[1 - end] % 2**32 if "A" in flags else 0,
        )
        if network is IP:
            segment.id = len(self.packets) + 1
        if data:
            segment /= Raw(data)
        segment.time = self.at
        self.at = round(self.at + 0.01, 6)
        self.next[end] += len(data) + count
        self.packets.append(segment)
        return segment

    def up(self, data: bytes | str) -> Packet:
        """The client sends; the packet."""
        return self._send(0, "PA", 0, data.encode() if isinstance(data, str) else data)

    def down(self, data: bytes | str) -> Packet:
        """The server sends; the packet."""
        return self._send(1, "PA", 0, data.encode() if isinstance(data, str) else data)

    def ack(self, end: int) -> Packet:
        """A bare ACK of the client (0) or the server (1)."""
        return self._send(end, "A")

    def say(self, lines: Iterable[tuple[str, str | bytes]], wait: float = 0.2, acks: bool = True) -> Conversation:
        """A dialogue, each segment acknowledged by the other end."""
        for way, data in lines:
            self.at = round(self.at + wait, 6)
            (self.up if way == "up" else self.down)(data)
            if acks:
                self.ack(1 if way == "up" else 0)
        return self

    def close(self) -> Conversation:
        """FIN of both ends, the server first."""
        self._send(1, "FA", 1)
        self._send(0, "FA", 1)
        self._send(1, "A")
        return self


def irc(**more: Any) -> Conversation:
    """The whole evening, from SYN to FIN."""
    return Conversation(**more).say(IRC).close()


class Flaps:
    """An OSCAR dialogue: payloads in, numbered FLAP frames out, in `lines` as `Conversation.say` takes them."""

    def __init__(self, up: int = 0x56C2, down: int = 100) -> None:
        self.lines: list[tuple[str, bytes]] = []
        self.numbers = {"up": up, "down": down}

    def _add(self, way: str, payload: bytes, channel: int) -> Flaps:
        self.lines.append((way, struct.pack(">BBHH", 0x2A, channel, self.numbers[way], len(payload)) + payload))
        self.numbers[way] = (self.numbers[way] + 1) % 2**16
        return self

    def up(self, payload: bytes = b"", channel: int = 2) -> Flaps:
        """The client's next frame."""
        return self._add("up", payload, channel)

    def down(self, payload: bytes = b"", channel: int = 2) -> Flaps:
        """The server's next frame."""
        return self._add("down", payload, channel)


def snac(family: int, subtype: int, body: bytes = b"", request: int = 1, flags: int = 0) -> bytes:
    """A SNAC, the payload of FLAP's channel 2."""
    return struct.pack(">HHHI", family, subtype, flags, request) + body


def tlv(kind: int, value: bytes = b"") -> bytes:
    """Type, length, value, 16 bits each."""
    return struct.pack(">HH", kind, len(value)) + value


def name8(name: str) -> bytes:
    """A screen name with its 8-bit length."""
    return bytes([len(name)]) + name.encode()


def user_info(name: str, *tlvs: bytes) -> bytes:
    """A user-info block: name, warning level, counted list."""
    return name8(name) + struct.pack(">HH", 0, len(tlvs)) + b"".join(tlvs)


def im_text(text: bytes, charset: int = 0) -> bytes:
    """The text block of a channel-1 message: features and one fragment."""
    return tlv(2, b"\5\1\0\1\1" + struct.pack(">BBHHH", 1, 1, len(text) + 4, charset, 0) + text)


def wrapped(packets: Sequence[Packet], wrap: Callable[[Packet], Packet]) -> list[Packet]:
    """Each packet in another link layer, at its own time."""
    out = []
    for packet in packets:
        new = wrap(packet)
        new.time = packet.time
        out.append(new)
    return out


def save(script: str, packets: Sequence[Packet], link: int | None = None) -> None:
    """Write the capture that belongs to a script (its name without .py): .pcap, .pcapng or .pcap.gz.

    `link`: the link type of all packets; None: Ethernet or raw IP, as each packet begins.
    """
    path = Path(script).with_suffix("")
    frames = []
    for packet in packets:
        data = bytes(packet)
        own = 101 if isinstance(packet, (IP, IPv6)) else 1
        frames.append((float(packet.time), own if link is None else link, data, packet.wirelen or len(data)))
    whole = _pcapng(frames) if path.suffix == ".pcapng" else _pcap(frames)
    if path.suffix == ".gz":
        # By GzipFile: what gzip.compress says of the system differs between releases of Python.
        with path.open("wb") as file, gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed:
            packed.write(whole)
    else:
        path.write_bytes(whole)


def _pcap(frames: Sequence[tuple[float, int, bytes, int]]) -> bytes:
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, frames[0][1])]
    for at, _, frame, wire in frames:
        second, micro = divmod(round(at * 1_000_000), 1_000_000)
        out += [struct.pack("<IIII", second, micro, len(frame), wire), frame]
    return b"".join(out)


def _pcapng(frames: Sequence[tuple[float, int, bytes, int]]) -> bytes:
    """An interface for each link type, the second with its time in nanoseconds."""
    links = sorted({link for _, link, _, _ in frames})
    out = [struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)]
    for number, link in enumerate(links):
        options = struct.pack("<HHB3xHH", 9, 1, 9 if number else 6, 0, 0)
        out.append(struct.pack("<IIHHI", 1, 32, link, 0, 0) + options + struct.pack("<I", 32))
    for at, link, frame, wire in frames:
        number = links.index(link)
        ticks = round(at * 1_000_000) * (1000 if number else 1)
        padded = frame + bytes(-len(frame) % 4)
        length = 32 + len(padded)
        head = struct.pack("<IIIIIII", 6, length, number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), wire)
        out += [head, padded, struct.pack("<I", length)]
    return b"".join(out)
