"""Chats by DCC CHAT: one offered by our user, a passive one; words refused and masked, an offer inside of a chat, an
endless line."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import START, Conversation, save

OTTO, IDA = "10.0.0.5", "10.0.0.8"

talk = Conversation(client=OTTO, ports=(40002, 6667))
talk.say((
    ("up", "NICK otto\r\nUSER otto 0 * :Otto\r\n"),
    ("down", ":irc.example.net 001 otto :Welcome otto\r\n"),
    ("up", "PRIVMSG ida :\x01DCC CHAT chat 167772165 5001\x01\r\n"),
    ("down", ":ida!i@10.0.0.8 PRIVMSG otto :\x01DCC CHAT CHAT 167772168 0 7\x01\r\n"),
    ("up", "PRIVMSG ida :\x01DCC CHAT CHAT 167772165 5002 7\x01\r\n"),
))
first = Conversation(client=IDA, server=OTTO, ports=(41001, 5001), at=START + 5)
first.say((
    ("up", "good evening otto\n"),
    ("down", "good evening ida, have you seen the purple elephant?\r\n"),
    ("up", "\x01ACTION shakes her head\x01\n"),
    ("down", "my card is 4111 1111 1111 1111 if you need it\r\n"),
    ("up", "grüße von der küste\n".encode("cp1252")),
    ("up", "\x01DCC SEND shells.zip 167772168 5009 99\x01\n"),
    ("down", "perhaps tomorrow"),
)).close()
second = Conversation(client=IDA, server=OTTO, ports=(41002, 5002), at=START + 8)
second.say((("up", "\x02the other\x02 line\r\n"), ("down", "\r\nis open, too\r\n"), ("up", "x" * 17000 + "\n"))).close()
talk.at = START + 12
talk.say((("up", "QUIT\r\n"),)).close()
save(__file__, sorted([*talk.packets, *first.packets, *second.packets], key=lambda packet: float(packet.time)))
