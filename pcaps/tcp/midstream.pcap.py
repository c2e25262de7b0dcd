"""A capture that begins in the middle of a session."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from making import IRC, Conversation, save

talk = Conversation(handshake=False)
talk.say(IRC[4:]).close()
save(__file__, talk.packets, 101)
