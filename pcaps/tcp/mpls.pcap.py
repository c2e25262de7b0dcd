"""IRC behind two MPLS labels (RFC 3032)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save, wrapped
from scapy.layers.l2 import Ether
from scapy.packet import Raw

save(__file__, wrapped(
    irc().packets,
    lambda packet: Ether(src="02:00:00:00:00:05", dst="02:00:00:00:00:07", type=0x8847) / Raw(b"\x00\x01\x00\x40")
    / Raw(b"\x00\x02\x01\x40") / packet,
))
