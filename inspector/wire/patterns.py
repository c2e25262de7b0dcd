"""Regular expressions: the only place where `re` is used. Constants of ours, each linear in its text.

A pattern here has no alternative or repeat that can match the same text in two ways, and a row in
tests/wire/test_patterns.py with the text that is worst for it. Patterns of users go to RE2 (`policy`, `scan`).
"""

from __future__ import annotations

import re
from typing import Final

INVISIBLE: Final = re.compile(
    "[\u00ad\u0300-\u036f\u0483-\u0489\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u1ab0-\u1aff\u1dc0-\u1dff"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\u3164\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\uffa0\ufff9-\ufffb"
    "\U0001d173-\U0001d17a\U000e0001-\U000e007f\U000e0100-\U000e01ef]+"
)
"""What does not show between two letters: format and bidirectional controls, variation selectors, fillers, and the
combining marks of Latin, Greek and Cyrillic (Unicode 16, DerivedCoreProperties Default_Ignorable_Code_Point; blocks
Combining Diacritical Marks and its extensions)."""

ENTITY: Final = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
"""A character reference with its semicolon (HTML Living Standard 13.5, XML 1.0 4.1)."""

# -- IRC

IRC_FORMATTING: Final = re.compile(
    "[\x00-\x04\x0f-\x11\x16\x1d-\x1f]"
    "(?:(?<=\x03)[0-9]{1,2}(?:,[0-9]{1,2})?|(?<=\x04)[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?"
)
"""One formatting code of a message text: colours, bold, reset …; NUL and the CTCP marks with them (modern-irc,
formatting)."""

IRC_UP_LINE: Final = re.compile(
    rb"(?i)(?<![^\r\n]) *+(CAP(?= ++(?:LS|REQ|END|LIST)[ \r\n])|NICK(?= ++:?[^\s:,*?!@]{1,64}+ *+[\r\n])"
    rb"|USER(?= ++[^\s]++ ++[^\s]++ ++[^\s]++ ++[^\r\n]++[\r\n])|PASS(?= ++:?[^\s]++ *+[\r\n])"
    rb"|SERVER(?= ++[^\s]++ ++[0-9]++ ++[^\r\n]++[\r\n])|CAPAB(?= ++:?[A-Z]))"
)
"""A line that a client (or a server, at another) registers with (RFC 2812 3.1, RFC 2813 4.1, IRCv3 capability
negotiation)."""

IRC_DOWN_LINE: Final = re.compile(
    rb"(?<![^\r\n])(?:@[^\s]++ ++)?+"
    rb"(?::(?:[^\s:][^\s]*+ ++(?:NOTICE ++[^\s]++ ++:|CAP ++[^\s]++ ++(?:LS|ACK|NAK)\b|([0-9]{3}) ++[^\s:])"
    rb"|[^\s!@:]++![^\s@]++@[^\s]++ ++(PRIVMSG|NOTICE|JOIN|PART|QUIT|NICK|TOPIC|KICK|MODE|INVITE|AWAY)[ \r\n])"
    rb"|PING ++:?[^\s]++[\r\n]|ERROR ++:|NOTICE ++(?:AUTH|\*) ++:)"
)
"""A line that a server begins with (RFC 2812 5), its numeric; or one about another person, as only a server sends it,
its command."""

IRC_WORDS_LINE: Final = re.compile(
    rb"(?i)(?<![^\r\n]) *+"
    rb"(?:(?:PRIVMSG|NOTICE) ++[^\s:]++ ++:[^\r\n]*+|JOIN ++:?[#&!+][^\s]++(?: ++[^\s]++)?+ *+)[\r\n]"
)
"""A line that says something, without a source."""
