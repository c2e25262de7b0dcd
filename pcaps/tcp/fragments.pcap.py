"""IRC in IPv4 fragments of 24 bytes, the last one first."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save

packets = []
for packet in irc().packets:
    pieces = packet.fragment(24)
    for piece in reversed(pieces):
        piece.time = packet.time
    packets += reversed(pieces)
save(__file__, packets, 101)
