"""What the suite knows to be not found, and why. A test holds that every entry is still true."""

from __future__ import annotations

import msgspec

from tests.evasion.cases import Case


class Known(msgspec.Struct, frozen=True):
    """Cases that reach their reader: the names in a Case ("*": any), and the reason."""

    protocol: str
    disguise: str
    target: str
    writing: str
    reason: str

    def covers(self, case: Case) -> bool:
        """Whether it speaks of this case."""
        return (self.writing == case.writing and self.target in ("*", case.target)
                and self.protocol in ("*", case.protocol) and self.disguise in ("*", case.disguise))


_ELSEWHERE = "The link leads to another host: lookalike letters make another name, and that one is not in the list."
_NO_ADDRESS = "No program reads digits of other scripts as an address: the link leads nowhere."
_MARKED = "A client shows a mark or another letter for each such byte: the words are others."
_SERVERS = "Words of the server itself, which no person wrote; numerics, FAIL and ERROR are not read."

KNOWN: tuple[Known, ...] = (
    *(Known("*", "*", target, writing, _ELSEWHERE) for target, writing in (
        ("domain", "Cyrillic letters"), ("link", "Cyrillic letters"), ("domain", "Greek letters"),
        ("domain", "combining acute"), ("domain", "Hebrew points"), ("domain", "Arabic vowels"),
        ("domain", "Thai marks"), ("domain", "Devanagari nukta"), ("domain", "many marks"),
    )),
    *(Known("*", "*", "address", f"{script} digits", _NO_ADDRESS) for script in (
        "Arabic", "Persian", "Devanagari", "Bengali", "Thai", "Tibetan", "Myanmar", "Khmer", "Lao", "N'Ko", "Tamil")),
    Known("*", "*", "card", "unequal groups",
          "Groups that no card is printed in: every list of numbers would be searched for cards."),
    Known("*", "*", "card", "letters that look like digits", "Letters for digits: words would become numbers."),
    *(Known("oscar", f"HTML, line breaks as blanks, {side}", "card", "half of it overridden",
            "An override of the direction ends with its line: nobody is shown the number.") for side in ("up", "down")),
    Known("*", "*", "private key", "without its header", "Base64 without a header is any data."),
    *(Known("xmpp", f"stanza identifier, {side}", "*", "", "No client shows an identifier.")
      for side in ("up", "down")),
    *(Known("xmpp", f"an extension, element by element, {side}", "*", "",
            "Letters between the elements of an extension that no client knows: none shows them as words.")
      for side in ("up", "down")),
    *(Known("irc", f"name of an offered file, {side}", target, "",
            "The name of a file is no link: its slashes are gone, and no client makes one of it.")
      for side in ("up", "down") for target in ("domain", "IDN domain", "link", "address")),
    *(Known(protocol, f"broken UTF-8 inside the words, {side}", target, "", _MARKED)
      for protocol in ("irc", "dcc") for side in ("up", "down")
      for target in ("rule phrase", "listed phrase", "domain", "link", "address", "card", "IBAN")),
    *(Known("irc", f"{what}, down", "*", "", _SERVERS) for what in ("numeric nobody knows", "FAIL", "ERROR")),
    Known("irc", "INVITE with words, up", "*", "", "INVITE has no words: servers drop what is behind the channel."),
    *(Known("irc", "nick, down", target, "", "A name that somebody has taken: both sides must know it to go on.")
      for target in ("domain", "IDN domain", "address")),
)


def known(case: Case) -> Known | None:
    """The entry that speaks of a case."""
    return next((entry for entry in KNOWN if entry.covers(case)), None)
