"""A capture that begins in mid-session, in the middle of a line, where the server marks each text (IDENTIFY-MSG)."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

talk = Conversation(ports=(40005, 6667), handshake=False)
talk.say((
    ("down", "s here is the rest of a line\r\n:irc.example.net 303 mia :\r\n"),
    *(("down", f":ben!b@host PRIVMSG #quarry :+{words}\r\n") for words in (
        "granite today", "marble tomorrow", "mind the cart", "lunch at noon", "who has the rope", "found it",
        "blasting at three", "stand clear", "done for today", "see you at the inn",
    )),
    ("up", "PRIVMSG #quarry :I bring the lamp\r\n"),
    ("down", ":ben!b@host PRIVMSG #quarry :-\x01ACTION lights the lamp\x01\r\n"),
))
save(__file__, talk.packets)
