"""Chat messages of exactly 300 bytes, every one different, none of which should match a rule."""

from __future__ import annotations

import random
from functools import cache
from itertools import product
from string import ascii_lowercase

SIZE = 300
TAGS = [("".join(letters)).encode() for letters in product(ascii_lowercase, repeat=3)]
# ruff: noqa: SIM905
WORDS = """about after again along already always another around because before begin behind better between bring
brother build business calendar carry certain change children city clear close coffee cold come country course dark
day different dinner door early earth enough evening every family far father feel few field find first follow food
friend full garden give good great green ground group hand happen hard head hear heavy help here high home hour house
idea important inside interest island just keep kind kitchen land large last later learn leave left letter life light
line listen little live long look made many matter mean meet might mind moment money month more morning most mother
mountain move music name near never next night north nothing notice number office often old only open order other
outside over own page paper part people perhaps person picture piece place plan plant play point probably problem
question quick quiet rain rather reach read ready real reason remember right river road room round run same say school
sea second see sentence several short should side simple since slow small some soon sound south stand start state
station still stone story street strong study sun sure table take talk tell than thank them there thing think though
thought through time today together tomorrow town train travel tree turn under understand until usual very wait walk
want warm watch water way week well west what when where which while white whole window winter with without woman wonder
word work world write year yellow yesterday young""".split()


@cache
def bodies(room: int) -> list[tuple[bytes, bytes]]:
    """500 texts of `room` bytes less the six of a tag, each in two halves between which the tag goes."""
    chance = random.Random(room)
    halves = []
    for _ in range(500):
        text = ""
        while len(text) < room:
            text += chance.choice(WORDS) + chance.choice([" ", " ", " ", " ", ", ", ". ", "? "])
        text = text[: room - 7] + "."
        cut = text.index(" ", room // 3)
        halves.append((text[:cut].encode(), text[cut:].encode()))
    return halves


class Messages:
    """An endless supply: `next()` makes one stanza (XMPP) or line (IRC) of SIZE bytes out of prepared halves."""

    def __init__(self, head: str, tail: str, seed: int) -> None:
        self.head, self.tail = head.encode(), tail.encode()
        self.halves = bodies(SIZE - len(self.head) - len(self.tail))
        self.at = seed * 7919

    def next(self) -> bytes:
        """One message: SIZE bytes, another tag in its middle each time."""
        at = self.at = self.at + 1
        before, after = self.halves[at % 500]
        return b"".join((self.head, before, TAGS[at % 17576], TAGS[at // 17576 % 17576], after, self.tail))


def xmpp(user: str, seed: int) -> Messages:
    """A chat stanza with a body, as a desktop client writes it."""
    jid = f"{user}@bench.test/desk"
    return Messages(f'<message from="{jid}" to="{jid}" id="{user}x" type="chat"><body>', "</body></message>", seed)


def irc(nick: str, seed: int, prefix: str = "") -> Messages:
    """A PRIVMSG line."""
    return Messages(f"{prefix}PRIVMSG {nick} :", "\r\n", seed)


def blob(seed: int) -> Messages:
    """Lines of no protocol that the gateway knows: what relaying alone costs."""
    return Messages("%% ", "\n", seed)
