"""IRC captured on "any" interface of Linux (cooked, v1)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save, wrapped
from scapy.layers.l2 import CookedLinux

save(__file__, wrapped(irc().packets, lambda packet: CookedLinux(proto=0x0800) / packet), 113)
