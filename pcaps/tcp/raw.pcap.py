"""IRC without a link layer (raw IP)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import irc, save

save(__file__, irc().packets, 101)
