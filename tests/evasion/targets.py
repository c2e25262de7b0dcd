"""What must not reach a reader: a target for each kind of look that the scanner has."""

from __future__ import annotations

import base64
import functools
from dataclasses import dataclass

from inspector.scan.scanner import PackScanner
from tests.scan.making import pack, rule
from tests.scan.making import scanner as made


@dataclass(frozen=True)
class Target:
    """`secret`: what is looked for in what the reader sees; it stands between `before` and `after`."""

    kind: str
    """words, host, url, address, number, key: which writings apply."""
    secret: str
    before: str = ""
    after: str = ""
    found: str = ""
    """The rule that must speak."""

    @property
    def text(self) -> str:
        return self.before + self.secret + self.after


_BODY = base64.b64encode(bytes((7 * n + n * n // 3) % 256 for n in range(240))).decode()
PEM = "-----BEGIN PRIVATE KEY-----\n" + "\n".join(
    _BODY[at:at + 64] for at in range(0, len(_BODY), 64)) + "\n-----END PRIVATE KEY-----"

TARGETS: dict[str, Target] = {
    "rule phrase": Target("words", "violet heron project", "about the ", " of ours", "t.phrase"),
    "listed phrase": Target("words", "amber lighthouse ledger", "see ", " today", "t.list"),
    "domain": Target("host", "trap-house.example", "http://", "/pay", "t.list"),
    "IDN domain": Target("idn", "bücherfalle.example", "http://", "/pay", "t.list"),
    "link": Target("url", "shop-ground.example/kit/run", "http://", " is it", "t.list"),
    "address": Target("address", "198.51.100.77", "http://", "/a", "t.list"),
    "card": Target("number", "5105 1051 0510 5100", "pay with ", " please", "dlp.card_number"),
    "IBAN": Target("iban", "DE89370400440532013000", "send it to ", " please", "dlp.iban"),
    "private key": Target("key", PEM, "", "", "dlp.private_key"),
}
"""Name -> target. Card and account numbers are the published examples of their kinds."""

_LIST = (
    "kind,value,severity,description\n"
    "phrase,amber lighthouse ledger,high,d\ndomain,trap-house.example,high,d\ndomain,bücherfalle.example,high,d\n"
    "url,http://shop-ground.example/kit/run,high,d\nip,198.51.100.77,high,d\n"
)


@functools.cache
def scanner() -> PackScanner:
    """A scanner that knows the targets."""
    yara = rule("phrase", '$a = "violet heron project" nocase', "$a", scope="both")
    return made(pack(yara, list=_LIST))
