"""pcapng with a client on Ethernet and another one on raw IP, one after the other packet by packet."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save, wrapped
from scapy.layers.l2 import Ether

one = wrapped(irc().packets, lambda packet: Ether(src="02:00:00:00:00:05", dst="02:00:00:00:00:07") / packet)
two = irc(client="10.0.0.6", ports=(40001, 6667)).packets
save(__file__, [packet for pair in zip(one, two, strict=True) for packet in pair])
