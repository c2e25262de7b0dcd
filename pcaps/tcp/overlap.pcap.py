"""The same bytes sent again, some of them with other content: what came first was read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save

talk = Conversation()
talk.say(IRC[:4])
first = talk.up("PRIVMSG #garden :what was read\r\n")
second = first.copy()
second.load = b"PRIVMSG #garden :what was FAKE\r\n"
second.time = talk.at
talk.packets.append(second)
talk.ack(1)
third = first.copy()
third.time = talk.at
talk.packets.append(third)
talk.say(IRC[5:]).close()
save(__file__, talk.packets, 101)
