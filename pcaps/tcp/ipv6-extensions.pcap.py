"""IRC over IPv6 with hop-by-hop and destination options."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import CLIENT6, SERVER6, irc, save
from scapy.layers.inet6 import IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop

packets = []
for packet in irc(client=CLIENT6, server=SERVER6).packets:
    payload = packet.payload
    packet.remove_payload()
    new = packet / IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / payload
    new.time = packet.time
    packets.append(new)
save(__file__, packets, 101)
