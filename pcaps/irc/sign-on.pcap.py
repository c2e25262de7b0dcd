"""A modern client: capabilities, SASL, an account, labels, echoes, history, a message of several lines."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import Conversation, save

talk = Conversation(ports=(40001, 6667))
talk.say((
    ("up", "CAP LS 302\r\nNICK wilma\r\nUSER wilma 0 * :Wilma of the mill\r\n"),
    ("down", ":irc.example.net NOTICE * :*** Looking up your hostname\r\n"
             ":irc.example.net CAP * LS * :sasl=PLAIN,EXTERNAL batch echo-message\r\n"
             ":irc.example.net CAP * LS :labeled-response server-time message-tags standard-replies\r\n"),
    ("up", "CAP REQ :sasl batch echo-message labeled-response server-time message-tags standard-replies\r\n"),
    ("down", ":irc.example.net CAP wilma ACK :sasl batch echo-message labeled-response server-time message-tags "
             "standard-replies\r\n"),
    ("up", "AUTHENTICATE PLAIN\r\n"),
    ("down", "AUTHENTICATE +\r\n"),
    ("up", "AUTHENTICATE d2lsbWEAd2lsbWEAZmxvdXI=\r\n"),
    ("down", ":irc.example.net 900 wilma wilma!wilma@10.0.0.5 miller :You are now logged in as miller\r\n"
             ":irc.example.net 903 wilma :SASL authentication successful\r\n"),
    ("up", "CAP END\r\n"),
    ("down", ":irc.example.net 001 wilma :Welcome to the Mill, wilma\r\n"
             ":irc.example.net 005 wilma NETWORK=Mill CASEMAPPING=ascii CHANTYPES=# :are supported by this server\r\n"
             ":irc.example.net 422 wilma :MOTD File is missing\r\n"),
    ("up", "@label=a1 JOIN #mill\r\n"),
    ("down", "@label=a1 :wilma!wilma@10.0.0.5 JOIN #mill\r\n"
             ":irc.example.net 332 wilma #mill :Rye on Monday, oats on Friday\r\n"
             ":irc.example.net 366 wilma #mill :End of /NAMES list.\r\n"
             ":irc.example.net BATCH +h chathistory #mill\r\n"
             "@batch=h;time=2023-11-13T18:00:00.000Z;msgid=h1 :fred!f@host PRIVMSG #mill :The wheel is stuck again.\r\n"
             "@batch=h;time=2023-11-13T18:02:00.000Z;msgid=h2 :fred!f@host PRIVMSG #mill :Solved with butter.\r\n"
             ":irc.example.net BATCH -h\r\n"),
    ("up", "@label=a2 PRIVMSG #mill :Butter? Try oil next time.\r\n"),
    ("down", "@label=a2;msgid=m1;time=2023-11-14T09:00:00.000Z :wilma!wilma@10.0.0.5 PRIVMSG #mill "
             ":Butter? Try oil next time.\r\n"),
    ("up", "@label=a3 BATCH +q draft/multiline #mill\r\n@batch=q PRIVMSG #mill :Two sacks of rye\r\n"
           "@batch=q PRIVMSG #mill :and one of\r\n@batch=q;draft/multiline-concat PRIVMSG #mill : oats\r\n"
           "BATCH -q\r\n"),
    ("down", "@msgid=m2;time=2023-11-14T09:01:00.000Z;account=fredacct :fred!f@host PRIVMSG wilma :On my way!\r\n"
             "@+typing=active :fred!f@host TAGMSG #mill\r\n"),
    ("up", "@+draft/react=\U0001f33e;+draft/reply=m2 TAGMSG fred\r\n"
           "PRIVMSG fred,barney :\x01ACTION opens the gate\x01\r\n"),
    ("down", ":wilma!wilma@10.0.0.5 NICK :wilma_away\r\n:fred!f@host QUIT :dinner\r\n"),
    ("up", "AWAY :grinding until five\r\nQUIT :the wind has dropped\r\n"),
    ("down", "ERROR :Closing Link: wilma_away (Quit: the wind has dropped)\r\n"),
)).close()
save(__file__, talk.packets)
