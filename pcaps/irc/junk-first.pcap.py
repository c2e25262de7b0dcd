"""Blank and senseless lines in front, LF alone, blanks everywhere, commands in any case, several targets."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

talk = Conversation(ports=(40004, 8080))
talk.say((
    ("up", "\r\n\r\nHELLO THERE\r\n \r\nnick   kim\n"),
    ("down", ":relay.example NOTICE AUTH :*** Checking ident\r\n"),
    ("up", "  uSeR kim x y Kim of the hills\n"),
    ("down", ":relay.example 451 * :You have not registered\r\n:relay.example 001 kim :Welcome\r\n"),
    ("up", "    JOIN      #hills,#valley  stone\n"),
    ("down", ":kim!k@host JOIN #hills\r\n:kim!k@host JOIN :#valley\r\n"),
    ("up", " PRIVMSG     #hills   :  indented words  \nprivmsg #hills,#valley,lee short\n\n\r\r\nPRIVMSG lee :\n"),
    ("down", ":lee!l@host PRIVMSG kim ::-)\r\n:lee!l@host KICK #hills kim :too many blanks\r\n"),
    ("up", "TOPIC #valley :Sheep, mostly\nMODE #valley +k stone\nPART #valley :up the hill\nQUIT\n"),
)).close()
save(__file__, talk.packets)
