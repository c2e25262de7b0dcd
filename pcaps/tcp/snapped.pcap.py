"""Captured with a snap length that cuts long segments."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save
from scapy.packet import Raw

talk = Conversation()
talk.say(IRC[:5]).say([("up", "PRIVMSG #garden :" + "long " * 60 + "\r\n")]).say(IRC[5:]).close()
cut = []
for packet in talk.packets:
    new = Raw(bytes(packet)[:160])
    new.time, new.wirelen = packet.time, len(bytes(packet))
    cut.append(new)
save(__file__, cut, 101)
