"""Texts in UTF-8, CP1252, ISO-2022-JP, with formatting codes and with cipher."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

talk = Conversation(ports=(40003, 6667))
talk.say((
    ("up", "NICK zoe\r\nUSER zoe 0 * :Zoé\r\n"),
    ("down", ":irc.example.net 001 zoe :Welcome zoe\r\n"),
    ("up", "PRIVMSG #atlas :Где находится озеро?\r\n"),
    ("up", "PRIVMSG #atlas :Über die Brücke, dann links – fünf Euro: 5 €\r\n".encode("cp1252")),
    ("up", b"PRIVMSG #atlas :" + "湖は山の向こうです".encode("iso2022_jp") + b"\r\n"),
    ("down", ":yan!y@host PRIVMSG #atlas :\x02bo\x02ld, \x0304,12re\x03d\x0f and \x1dsla\x1dnted\r\n"),
    ("down", ":yan!y@host PRIVMSG zoe :+OK Zm9yIHlvdXIgZXllcyBvbmx5IQ\r\n"),
    ("up", "PRIVMSG yan :?OTRv23?\r\n"),
    ("down", ":yan!y@host PRIVMSG #atlas :\U0001f9ed \U0001f3d4\ufe0f\r\n"),
    ("up", "QUIT :à bientôt\r\n"),
)).close()
save(__file__, talk.packets)
