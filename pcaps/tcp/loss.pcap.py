"""The capture lost a segment of each way that the receiver got (he acknowledges it), and one that is sent again."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save

talk = Conversation()
talk.say(IRC[:6])
lost = [talk.up("PRIVMSG #garden :nobody captured this\r\n"), talk.ack(1)]
again = talk.up("PRIVMSG #garden :sent twice, captured once\r\n")
talk.say(IRC[7:10])
again_later = again.copy()
again_later.time = talk.at
talk.packets.append(again_later)
talk.packets = [packet for packet in talk.packets if packet is not lost[0] and packet is not again]
talk.say(IRC[10:]).close()
save(__file__, talk.packets, 101)
