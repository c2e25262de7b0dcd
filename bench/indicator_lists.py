"""Indicator lists in any number, as a pack folder: what the benchmarks load.

Half of the rows are domains, a quarter links, the rest addresses, hashes and phrases. None is in a text of the bench.
Always the same for the same number.

    python -m bench.indicator_lists 1000000 /tmp/packs      writes /tmp/packs/listed/
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from pathlib import Path

from bench import realistic_rules

KINDS = ("domain", "url", "domain", "ip", "domain", "url", "domain", "sha256", "domain", "url", "domain", "md5",
         "domain", "url", "domain", "sha256", "domain", "url", "domain", "phrase")
"""Kinds of twenty rows: of a million rows 50,000 are phrases."""


def rows(count: int, seed: int = 9) -> Iterator[str]:
    """Lines of a list, its header first."""
    chance = random.Random(seed)
    words = realistic_rules.words()
    yield "kind,value,severity,description,reference\n"
    for number in range(count):
        one, other = words[number % len(words)], words[chance.randrange(len(words))]
        kind = KINDS[number % len(KINDS)]
        value = {
            "domain": f"{one}-{other}{number}.example",
            "url": f"cdn{number}.{one}.example/{other}/{number:x}.zip",
            "ip": f"2001:db8:{number >> 16:x}:{number & 0xffff:x}::1",
            "sha256": f"{number:08x}" * 8, "md5": f"{number:08x}" * 4,
            # Of three words and a number: no text of the bench has it.
            "phrase": f"{one} {other} campaign {number}",
        }[kind]
        yield f"{kind},{value},high,seen in campaign {number % 977},https://lists.example/{number}\n"


def write_pack(folder: Path, count: int, seed: int = 9) -> Path:
    """Write the pack into `folder`/listed (made when missing); returns that folder."""
    pack = folder / "listed"
    pack.mkdir(parents=True, exist_ok=True)
    with (pack / "list.csv").open("w", encoding="utf-8") as out:
        out.writelines(rows(count, seed))
    (pack / "pack.yaml").write_text(
        f"name: listed\nversion: '{count}.{seed}'\ndescription: Indicators for the benchmarks\nlicense: Apache-2.0\n"
        "content:\n  - {file: list.csv, kind: indicators}\n",
        encoding="utf-8",
    )
    return pack


if __name__ == "__main__":
    print(write_pack(Path(sys.argv[2]), int(sys.argv[1])))
