"""IRC in a VLAN in a VLAN (802.1ad)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save, wrapped
from scapy.layers.l2 import Dot1Q, Ether

save(__file__, wrapped(
    irc().packets,
    lambda packet: Ether(src="02:00:00:00:00:05", dst="02:00:00:00:00:07", type=0x88A8) / Dot1Q(vlan=7) / Dot1Q(vlan=9)
    / packet,
))
