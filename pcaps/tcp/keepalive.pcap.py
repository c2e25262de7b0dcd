"""Keep-alives and a zero window with its probes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save
from scapy.packet import Raw

talk = Conversation()
talk.say(IRC[:6])
for _ in range(3):
    probe = talk.ack(0)
    probe.seq -= 1
    probe /= Raw(b"\0")
    talk.ack(1)
talk.ack(1).window = 0
probe = talk.up("P")
talk.next[0] -= 1
talk.ack(1).window = 0
talk.say(IRC[6:]).close()
save(__file__, talk.packets, 101)
