"""Segments of both ways out of order, across the wrap of the sequence numbers."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save

talk = Conversation(isn=(2**32 - 60, 2**32 - 100))
talk.say(IRC, acks=False).close()
data = talk.packets[3:-3]
data = [data[at] for pair in range(0, len(data) - 1, 2) for at in (pair + 1, pair)]
times = sorted(packet.time for packet in data)
for packet, time in zip(data, times, strict=True):
    packet.time = time
save(__file__, talk.packets[:3] + data + talk.packets[-3:], 101)
