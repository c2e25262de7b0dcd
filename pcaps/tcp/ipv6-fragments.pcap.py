"""IRC in IPv6 fragments, every second pair exchanged."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import CLIENT6, SERVER6, irc, save
from scapy.layers.inet6 import IPv6ExtHdrFragment, fragment6

packets = []
for number, packet in enumerate(irc(client=CLIENT6, server=SERVER6).packets):
    payload = packet.payload
    packet.remove_payload()
    whole = packet / IPv6ExtHdrFragment(id=number) / payload
    pieces = fragment6(whole, 104) if len(payload) > 60 else [packet / payload]
    for piece in pieces:
        piece.time = packet.time
    packets += reversed(pieces) if number % 2 else pieces
save(__file__, packets, 101)
