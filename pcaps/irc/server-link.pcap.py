"""Two servers that link (TS6): no client session."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

talk = Conversation(ports=(40006, 7000))
talk.say((
    ("up", "PASS secretlink TS 6 :0AA\r\nCAPAB :QS EX IE KLN UNKLN ENCAP TB\r\nSERVER east.example 1 :East\r\n"),
    ("down", "PASS otherlink TS 6 :0BB\r\nCAPAB :QS EX IE ENCAP\r\nSERVER west.example 1 :West\r\n"),
    ("up", "SVINFO 6 6 0 :1700000000\r\n:0AA UID lou 1 1700000000 +i lou host 10.0.0.9 0AAAAAAAA :Lou\r\n"
           ":0AA SJOIN 1700000000 #bridge +nt :@0AAAAAAAA\r\n:0AAAAAAAA PRIVMSG #bridge :across the river\r\n"),
    ("down", ":0BB PING west.example :east.example\r\n"),
    ("up", ":0AA PONG east.example :0BB\r\nSQUIT 0BB :maintenance\r\n"),
)).close()
save(__file__, talk.packets)
