"""Offers of files and talks: active, passive, resumed, without an address, without sense."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

talk = Conversation(ports=(40002, 6667))
talk.say((
    ("up", "NICK otto\r\nUSER otto 0 * :Otto\r\n"),
    ("down", ":irc.example.net 001 otto :Welcome otto\r\n"),
    ("up", 'PRIVMSG ida :\x01DCC SEND "map of the island.png" 167772165 5001 20480\x01\r\n'),
    ("down", ":ida!i@host PRIVMSG otto :\x01DCC RESUME file.ext 5001 4096\x01\r\n"),
    ("up", "PRIVMSG ida :\x01DCC ACCEPT file.ext 5001 4096\x01\r\n"),
    ("down", ":ida!i@host PRIVMSG otto :\x01DCC SEND tide_tables.csv 167772168 0 512 41\x01\r\n"),
    ("up", "PRIVMSG ida :\x01DCC SEND tide_tables.csv 167772165 5002 512 41\x01\r\n"),
    ("up", "PRIVMSG ida :\x01DCC CHAT chat 0 5003\x01\r\n"),
    ("down", ":ida!i@host PRIVMSG otto :\x01DCC SEND shells and stones.zip fd00::8 5004 99\x01\r\n"),
    ("up", "PRIVMSG ida :\x01DCC SEND ../../x \x02\x03 port\x01\r\nPRIVMSG ida :DCC SEND is only words here 1 2 3\r\n"),
    ("down", ":ida!i@host NOTICE otto :\x01DCC REJECT SEND map of the island.png\x01\r\n"),
    ("up", "PRIVMSG ida :\x01VERSION\x01\r\n"),
    ("down", ":ida!i@host NOTICE otto :\x01VERSION seashell 2.0\x01\r\n"),
    ("up", "QUIT\r\n"),
)).close()
save(__file__, talk.packets)
