"""IRC in a VLAN (802.1Q)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save, wrapped
from scapy.layers.l2 import Dot1Q, Ether

save(__file__, wrapped(
    irc().packets, lambda packet: Ether(src="02:00:00:00:00:05", dst="02:00:00:00:00:07") / Dot1Q(vlan=7) / packet,
))
