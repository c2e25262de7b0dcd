"""IRC on an OpenBSD loopback interface (LOOP, network order)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save, wrapped
from scapy.packet import Raw

save(__file__, wrapped(irc().packets, lambda packet: Raw(b"\0\0\0\x02") / packet), 108)
