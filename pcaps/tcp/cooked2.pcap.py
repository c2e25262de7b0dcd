"""IRC captured on "any" interface of Linux (cooked, v2)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save, wrapped
from scapy.packet import Raw

save(__file__, wrapped(irc().packets, lambda packet: Raw(b"\x08\x00" + bytes(18)) / packet), 276)
