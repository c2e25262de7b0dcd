"""Each byte in a segment of its own."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save

talk = Conversation()
for way, line in IRC:
    talk.say([(way, line[at]) for at in range(len(line))], wait=0.0)
save(__file__, talk.close().packets, 101)
