"""Chat messages of exactly 300 bytes, every one different, in which no rule matches.

Two kinds of texts: of everyday words (the usual figure), and of the rules' own vocabulary, where every other word is
part of some rule, so that the prefilter often has to ask YARA.
"""

from __future__ import annotations

import random
import struct
from functools import cache
from itertools import product
from string import ascii_lowercase

from bench import realistic_rules

SIZE = 300
TAGS = [("".join(letters)).encode() for letters in product(ascii_lowercase, repeat=3)]
SMALL = """
a about all an and are as at be but by can do for from get go had has have he her here him his how i if in
into is it just like me my no not now of ok on one or our out she so some than that the their them then there
they this to up us was we well were what when where who will with would yes you your
""".split()
EVERYDAY = """
after again along already always another around asked back bring bus came car children city coffee cold come
could dark did door down each eat evening ever every feel few food found friend gave give going good got great
had half happy hard help home hope house idea kids kind know last late leave let little long look lot lovely
made make many maybe meet mind morning much mum need never new nice night nothing off office old only other
over park people perhaps place please pretty quite rain read really right room said same saw say school see
sent should show since sister sleep soon sorry station still stop sure take talk tell thanks thing think
though thought time tired today together told tomorrow tonight took town train trip true try under until very
wait walk want warm water way week weekend went while why window without work world write year yesterday
""".split()


@cache
def everyday(count: int, length: int) -> list[str]:
    """Texts of everyday words. Words that rules are made of stand in them too, but never two in a row."""
    chance = random.Random(length)
    theirs = set(realistic_rules.words())
    out = []
    for _ in range(count):
        words = [chance.choice(EVERYDAY)]
        while len(" ".join(words)) < length:
            word = chance.choice(SMALL if chance.random() < 0.45 or words[-1] in theirs else EVERYDAY)
            words.append(word + chance.choice(("", "", "", "", "", "", ",", ".", "?")))
        out.append(" ".join(words)[:length])
    return out


@cache
def bodies(room: int, common: bool) -> list[tuple[bytes, bytes]]:
    """500 texts of `room` bytes less the six of a tag, each in two halves between which the tag goes."""
    halves = []
    for words in (everyday if common else realistic_rules.texts)(500, room - 6):
        text = words.ljust(room - 6, ".")
        cut = text.index(" ", room // 3)
        halves.append((text[:cut].encode(), text[cut:].encode()))
    return halves


class Messages:
    """An endless supply: `next()` makes one stanza (XMPP) or line (IRC) of SIZE bytes out of prepared halves."""

    def __init__(self, head: str, tail: str, seed: int, common: bool = True) -> None:
        self.head, self.tail = head.encode(), tail.encode()
        self.halves = bodies(SIZE - len(self.head) - len(self.tail), common)
        self.at = seed * 7919

    def next(self) -> bytes:
        """One message: SIZE bytes, another tag in its middle each time."""
        at = self.at = self.at + 1
        before, after = self.halves[at % 500]
        return b"".join((self.head, before, TAGS[at % 17576], TAGS[at // 17576 % 17576], after, self.tail))


def xmpp(user: str, seed: int, common: bool = True, link: bool = False) -> Messages:
    """A chat stanza with a body, as a desktop client writes it; with a link in front where wanted."""
    jid = f"{user}@bench.test/desk"
    head = f'<message from="{jid}" to="{jid}" id="{user}x" type="chat"><body>'
    if link:
        head += f"https://www.shop-{user}.example.net/offers/{seed:x}?page=2 "
    return Messages(head, "</body></message>", seed, common)


def irc(nick: str, seed: int, prefix: str = "") -> Messages:
    """A PRIVMSG line."""
    return Messages(f"{prefix}PRIVMSG {nick} :", "\r\n", seed)


def blob(seed: int) -> Messages:
    """Lines of no protocol that the gateway knows: what relaying alone costs."""
    return Messages("%% ", "\n", seed)


class Icbm:
    """An endless supply of OSCAR messages: one FLAP frame of SIZE bytes each, numbered, channel 1 of ICBM."""

    def __init__(self, up: bool, name: str, seed: int, number: int) -> None:
        other = bytes([len(name)]) + name.encode()
        snac = struct.pack(">HHHI", 4, 6 if up else 7, 0, 1) + b"cookie00\0\1" + other
        if not up:
            snac += struct.pack(">HHHHHHH", 0, 2, 1, 2, 0x10, 3, 4) + b"\x3f\0\0\0"
        # TLV 2: features, then one fragment with its charset and the text.
        room = SIZE - 6 - len(snac) - 4 - 5 - 8
        self.head = snac + struct.pack(">HHBBHBBBHHH", 2, 5 + 8 + room, 5, 1, 1, 1, 1, 1, room + 4, 0, 0)
        self.words = Messages("", "", seed)
        self.words.halves = bodies(room, True)
        self.number = number

    def next(self) -> bytes:
        """One message: SIZE bytes, another tag in its middle each time."""
        frame = flap(self.number, 2, self.head + self.words.next())
        self.number = (self.number + 1) & 0x7FFF
        return frame


def flap(number: int, channel: int, payload: bytes) -> bytes:
    """A frame of OSCAR."""
    return struct.pack(">BBHH", 0x2A, channel, number, len(payload)) + payload
