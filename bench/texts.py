"""Chat messages of exactly 300 bytes, every one different: words of the rules' own vocabulary, no rule matches."""

from __future__ import annotations

from functools import cache
from itertools import product
from string import ascii_lowercase

from bench import realistic_rules

SIZE = 300
TAGS = [("".join(letters)).encode() for letters in product(ascii_lowercase, repeat=3)]


@cache
def bodies(room: int) -> list[tuple[bytes, bytes]]:
    """500 texts of `room` bytes less the six of a tag, each in two halves between which the tag goes."""
    halves = []
    for words in realistic_rules.texts(500, room - 6, room):
        text = words.ljust(room - 6, ".")
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
