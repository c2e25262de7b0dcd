"""A session that ends with RST, and another one on the same ports."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save

one = Conversation().say(IRC[:6])
one._send(0, "RA")
two = Conversation(isn=(900_000, 800_000), at=one.at + 1).say(IRC[:2]).close()
save(__file__, one.packets + two.packets, 101)
