"""Regular expressions: the only place where `re` is used. Constants of ours, each linear in its text.

A pattern here has no alternative or repeat that can match the same text in two ways, and a row in
tests/wire/test_patterns.py with the text that is worst for it. Patterns of users go to RE2 (`policy`, `scan`).
"""

from __future__ import annotations

import re
from typing import Final

INVISIBLE: Final = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u00ad\u0300-\u036f\u0483-\u0489\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u202a-\u202e\u2060-\u206f\u20d0-\u20ff\u3164\ufe00-\ufe0f\ufe20-\ufe2f"
    "\ufeff\uffa0\ufff0-\ufffb\U000110bd\U000110cd\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d159"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]+"
)
"""What does not show between two letters: controls (but for white space), format and bidirectional controls, variation
selectors, fillers, and the combining marks of Latin, Greek and Cyrillic (Unicode 16, DerivedCoreProperties
Default_Ignorable_Code_Point; blocks Combining Diacritical Marks and its extensions)."""

BLANKS: Final = re.compile("[^\\S ][\\s\u2800]*+| [\\s\u2800]++|\u2800[\\s\u2800]*+")
"""White space that is more than one blank, or another one (Unicode White_Space; the braille blank)."""

ENCLOSED: Final = re.compile("[\u2474-\u2487\u249c-\u24b5\U0001f110-\U0001f129]")
"""A letter or number in brackets of one character."""

ENTITY: Final = re.compile("&(?:#[0-9]{1,40};?|#[xX][0-9a-fA-F]{1,40};?|[A-Za-z][A-Za-z0-9]{1,31};)")
"""A character reference: a numeric one with its semicolon or without, as browsers read it (HTML Living Standard 13.5,
13.2.5.80; XML 1.0 4.1)."""

# -- IRC

IRC_FORMATTING: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
    "(?:(?<=\x03)[0-9]{1,2}(?:,[0-9]{1,2})?|(?<=\x04)[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?"
)
"""One formatting code of a message text: colours, bold, reset …; with them the CTCP marks and all other controls, which
clients swallow or show as a mark (modern-irc, formatting)."""

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

# -- HTML as instant messengers write it

HTML_TAG: Final = re.compile("<[A-Za-z/!?][^<>]*+>")
"""What every reader of HTML takes for a tag; `<3` is none, and a tag ends before the next `<`."""

HTML_SPLIT: Final = re.compile("(<[A-Za-z/!?][^<>]*+>)")
"""The same, kept when a text is split at it."""

HTML_BREAK: Final = re.compile(
    r"(?i)</?(?:br|p|div|tr|li|hr|h[1-6]|table|ul|ol|dl|dt|dd|blockquote|pre|center)(?=[\s/>])[^<>]*+>")
"""A tag that is shown as a line break."""

HTML_TOKEN: Final = re.compile(
    "<[A-Za-z/!?][^<>]*+>|&(?:#[0-9]{1,40};?|#[xX][0-9a-fA-F]{1,40};?|[A-Za-z][A-Za-z0-9]{1,31};)")
"""A tag or a character reference."""

HTML_ENDING: Final = re.compile("""[>"']""")
"""What may end a tag, or begin a value in which nothing ends it (HTML Living Standard 13.2.5.36)."""

RTF_HIDDEN: Final = re.compile(r"\{\\\*[^{}]*+\}")
"""A group that a reader of RTF leaves out when it does not know it."""

RTF_TOKEN: Final = re.compile(
    r"\\'([0-9a-fA-F]{2})|\\u(-?[0-9]{1,6})(?: |\?|\\'[0-9a-fA-F]{2})?|\\([a-zA-Z]{1,32})-?[0-9]{0,10} ?|\\([^a-zA-Z'])"
    r"|[{}\r\n]")
"""What is no letter in RTF: (escaped byte, escaped character, control word, control sign), or a group's end."""

HTML_SURE: Final = re.compile(
    r"(?i)</?(?:html|body|font|br|b|i|u|s|a|p|div|span|img|em|strong|center|h[1-6])(?=[\s/>])[^<>]*+>")
"""A tag that a person does not type by chance."""

HTML_LINK: Final = re.compile(
    r"""(?i)(?<![\w-])(?:href|src)\s*+=\s*+(?:"([^"<>]*+)"|'([^'<>]*+)'|([^\s"'<>]++))""")
"""Where a tag leads."""

HTML_HIDDEN: Final = re.compile(
    r"(?i)<(?!/?(?:html|head|title|meta|body|font|br|b|i|u|s|a|p|div|span|img|em|strong|strike|del|sub|sup|big|small|tt"
    r"|center|pre|code|hr|h[1-6]|table|tbody|tr|td|th|ul|ol|li|dl|dt|dd|blockquote|binary|data)(?=[\s/>]))"
    r"[A-Za-z/!?]([^<>]*+)>")
"""A tag that is no formatting: a reader without HTML shows what stands in it."""

CYRILLIC_1251: Final = re.compile(rb"[\xc0-\xff\xa8\xb8]{3}")
"""Three letters in a row, if the bytes are Windows-1251; Western texts hardly ever have three accents in a row."""

HTML_IMAGE: Final = re.compile(r"(?i)<(?:img|data)(?=\s)[^<>]*+>")
"""A picture in a direct IM, and the head of its bytes behind the words."""

HTML_ATTRIBUTE: Final = re.compile(
    r"""(?i)(?<![\w-])(id|src|size)\s*+=\s*+(?:"([^"<>]*+)"|'([^'<>]*+)'|([^\s"'<>]++))""")
"""What a picture's tag says of it: name, value (in one of three groups)."""

# -- texts in files

FILLER: Final = re.compile(
    "[\\s\x00-\x08\x0e-\x1b\x7f-\x9f\u00ad\u0300-\u036f\u115f\u1160\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164"
    "\ufe00-\ufe0f\ufe20-\ufe2f\ufeff\uffa0\U000e0000-\U000e0fff]{4,}+")
"""A run of blanks, and of what does not show, that may push words apart."""

FILLER_ASCII: Final = re.compile("[\x00-\x20\x7f]{4,}+")
"""The same in a text of ASCII."""

DIGITS: Final = re.compile(rb"(?<![0-9])[0-9]{11,19}+(?![0-9])")
"""A number as long as those of cards and people, in one piece."""

MARKUP_BREAK: Final = re.compile(
    r"(?i)</?(?:(?:[a-z0-9]{1,16}:)?(?:br|p|div|tr|td|th|tc|li|hr|h[1-6]?|table|ul|ol|dl|dt|dd|blockquote|pre|center"
    r"|section|article|header|footer|option|title|c|si|row|cr|tab|table-cell|table-row|line-break|sheet|cell|body|head)"
    r"|text:s)(?=[\s/>])[^<>]*+>")
"""A tag that is shown as a break between words: HTML; paragraphs, cells and tabs of office documents (ECMA-376 parts 1:
17.3, 18.3, 21.1; OpenDocument 1.2 part 1: 5.1, 6.1, 9.1)."""

MARKUP_TAG: Final = re.compile(
    r"""<!--(?:[^-]++|-(?!->))*+(?:-->)?|<[A-Za-z/!?](?:[^<>"'=]++|=\s*+(?:"[^"]*+"|'[^']*+')|["'=])*+>?""")
"""A tag or comment as a browser reads it: a `>` in a quoted value or comment does not end it (HTML Living Standard
13.2.5). One without an end goes to the next `<`, or the text's end."""

MARKUP_HIDDEN: Final = re.compile(
    r"(?i)<(style|script|w:deltext|w:instrtext|noscript|template)(?=[\s>])[^<>]*+>[^<>]*+</\1\s*+>")
"""An element whose words are not shown."""

MARKUP_BETWEEN: Final = re.compile(r">\s++<")
"""White space between the elements of an office document."""

PDF_TOKEN: Final = re.compile(
    r"""\(((?:[^()\\]++|\\[\s\S]|\([^()\\]*+\))*+)\)?|<([0-9A-Fa-f\s]*+)>|(-?[0-9.]{1,12}+)"""
    r"""|(T[djmDJ*]|['"]|(?<![A-Za-z])ET(?![A-Za-z]))"""
    r"|/(?:([A-Za-z0-9_.+\-]{1,64}+)\s{1,4}[0-9.]{1,12}\s{1,4}Tf|[A-Za-z0-9_.+\-]++)|%[^\r\n]*+")
"""In a text block of a PDF: (letters of a string, digits of one, a number, an operator, a font); or another name, a
comment (ISO 32000-1 7.2.3, 7.3.4, 9.3, 9.4.1, 9.4.3)."""

PDF_ESCAPE: Final = re.compile(r"\\([0-7]{1,3}|\r\n|[\s\S])")
"""A backslash in a string of a PDF, and what it speaks of (ISO 32000-1 7.3.4.2)."""

PDF_CHARACTER: Final = re.compile(r"<([0-9A-Fa-f]{2,8})>\s{0,8}<([0-9A-Fa-f]{4,64})>")
"""A code and its letters in a font's table (ISO 32000-1 9.10.3, bfchar)."""

PDF_RANGE: Final = re.compile(r"<([0-9A-Fa-f]{2,8})>\s{0,8}<([0-9A-Fa-f]{2,8})>\s{0,8}<([0-9A-Fa-f]{4,8})>")
"""A range of codes and the first one's letter (ISO 32000-1 9.10.3, bfrange)."""

PDF_LIST: Final = re.compile(r"<([0-9A-Fa-f]{2,8})>\s{0,8}<[0-9A-Fa-f]{2,8}>\s{0,8}\[([^\[\]]*+)\]")
"""A range of codes and the letters of each of them (ISO 32000-1 9.10.3, bfrange)."""

# -- hosts

HOST: Final = re.compile(
    rb"(?<![A-Za-z0-9_\-%])-*+([A-Za-z0-9_%][A-Za-z0-9_\-%]*+(?:\.[A-Za-z0-9_%][A-Za-z0-9_\-%]*+)++)")
"""Labels with dots between, in ASCII or percent-encoded; from the first letter on that may begin one."""

HOST_SIX: Final = re.compile(rb"(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?:\.[0-9]{1,3}){0,3}")
"""What may be an IPv6 address (RFC 4291 2.2); times of day look like it, too."""

# -- numbers of people

DE_TAX_ID: Final = re.compile(rb"\b[1-9][0-9]([ ./]?)[0-9]{3}\1[0-9]{3}\1[0-9]{3}")
"""Eleven digits in groups of 2, 3, 3 and 3 with one sign between them, or in one piece."""

FR_NIR: Final = re.compile(
    rb"\b[1-478]([ .\-]?)[0-9]{2}\1[0-9]{2}\1(?:[0-9]{2}|2[ABab])\1[0-9]{3}\1[0-9]{3}[ .\-/]?[0-9]{2}")
"""Thirteen characters and a key of two digits, likewise."""
