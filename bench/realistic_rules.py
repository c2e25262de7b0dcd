"""Realistic message rules in any number, as a pack folder: what the benchmarks load.

The rules are like those people write for chat: a phrase of two common English words, sometimes two phrases that must
both be there, any of three, a regular expression with a gap, a hexadecimal string. Always the same for the same
number and seed. No rule matches a text made of `words()` by `texts()`: nothing matching is what is measured.

    python bench/realistic_rules.py 1000 /tmp/pack      writes /tmp/pack/realistic/
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

_FIRST = """
account action address advice amount answer area article balance bank basket benefit birthday block board body bonus book
border branch budget building business button buyer camera campaign candidate capital card career category center chance
change channel charge chart choice citizen claim class client clothes coach code collection college color column comment
community company computer concept condition contact content contest contract copy corner couple coupon course cousin
credit culture customer damage danger dealer debate decision degree delivery demand deposit design detail device dinner
direction discount discussion district doctor document dollar domain download dream driver economy edition education
effect effort election employee energy engine entry estate evening event exchange exercise expert export factor family
father fashion feature field figure finance finger flight floor flower folder forest format fortune freedom friend fund
future garden guest guide habit health history holiday hospital hotel house husband image income industry insurance
interest internet interview invoice island jacket journal journey judge justice keyboard kitchen knowledge label
language lawyer leader league lesson letter level library license light limit link listing loan location lottery lunch
machine magazine manager market master material matter meal measure media medicine meeting member memory menu merchant
message method minister minute mirror mission mobile model moment money month morning mother motor mountain movie museum
music nation nature network news night number object offer office officer online opinion option order owner package page
painting paper parcel parent partner party passage passport password patient pattern payment pension people period
person phone photo picture piece pilot place planet plant plate player pocket point police policy position post power
practice prescription present press price prince printer prize problem process product profile profit program project
promise property public purchase purpose quality quarter question quiz race radio rate reader reason receipt record
region rent repair reply report request research reserve result review reward risk river road role room rule safety
salary sale sample savings scene schedule school science score screen season seat second secret section security seller
senate series service session shape share ship shirt shoes shop show side sign signal silver single sister site skill
smile society software soldier song sound source space speech speed sport spring staff stage standard star start state
station status stock store story stranger street student studio study style subject success sugar summer supply support
surface survey symbol system table talent target task tax teacher team technology telephone television temple term
theater theory thing ticket time title today tool topic tour town track trade traffic train travel treasure treatment
trial trip trouble truck trust truth type uncle union unit user vacation value vehicle version video view village violence
visit voice volume voter wallet warning watch water wealth weather website wedding weekend weight wife window winner
winter witness woman word work worker world writer yard year youth zone
""".split()
_SECOND = """
accepted active again alert alone approved attached awaits away back begins best blocked brings broken bundle calls cancels
central certified cheap checked claimed classic clears clever closed cold comes complete confirmed counts covered daily
deeper delayed denied direct doubled early easy empty ends enough equal exact exclusive expired expires express extended
extra fails fair fast final fixed follows foreign found free fresh frozen full gains global golden grows guaranteed
handed heavy hidden higher holds hot huge illegal included instant intact invited joined kept largest lasting later
latest leads legal limited listed local locked longer lost lower lucky main major matched missing modern monthly moved
native needed newest next offered official older opened optional ordered outside overdue paid partial pending perfect
personal plus popular posted premium prepared private proven quick quiet ready real rebate recent reduced refund refused
regular released removed renewed repeated required reserved resets returned reviewed safe saved sealed searched selected
sends sent serious shared sharp shipped signed simple slow smart sold solid special stolen stopped strong suspended
switched taken tested thanks tight tiny total traced transfer unlimited unlocked updated upgraded urgent used useful valid
verified virtual wanted weekly winning wins wired wrong yearly
""".split()


def words() -> list[str]:
    """The vocabulary of rules and texts."""
    return sorted({*_FIRST, *_SECOND})


def rules(count: int, seed: int = 7) -> str:
    """Source of `count` YARA rules of a pack named "realistic"."""
    rnd = random.Random(seed)
    phrases = [f"{a} {b}" for a in _FIRST for b in _SECOND]
    rnd.shuffle(phrases)
    at = 0

    def phrase() -> str:
        nonlocal at
        at += 1
        return phrases[at % len(phrases)]

    out: list[str] = []
    for i in range(count):
        kind = i % 10
        if kind < 5:
            strings, condition = [f'$a = "{phrase()}" nocase'], "$a"
        elif kind < 7:
            strings = [f'$a = "{phrase()}" nocase', f'$b = "{phrase()}" nocase']
            condition = "all of them"
        elif kind == 7:
            strings = [f'${c} = "{phrase()}" nocase wide ascii' for c in "abc"]
            condition = "any of them"
        elif kind == 8:
            strings = [f"$a = /{phrase()}[ \\-_:]{{1,3}}(now|today|here)/i"]
            condition = "$a"
        else:
            strings = [f"$a = {{ {phrase().encode().hex(' ')} [0-8] 3a 2f 2f ?? 2e }}"]
            condition = "$a"
        body = "\n        ".join(strings)
        out.append(
            f"rule realistic_{i:05d}\n{{\n    meta:\n        id = \"realistic.rule_{i:05d}\"\n"
            f"        severity = \"medium\"\n        description = \"Phrase {i}\"\n        scope = \"message\"\n"
            f"    strings:\n        {body}\n    condition:\n        {condition}\n}}\n"
        )
    return "\n".join(out)


def write_pack(folder: Path, count: int, seed: int = 7) -> Path:
    """Write the pack into `folder`/realistic (made when missing); returns that folder."""
    pack = folder / "realistic"
    pack.mkdir(parents=True, exist_ok=True)
    (pack / "rules.yar").write_text(rules(count, seed), encoding="utf-8")
    (pack / "pack.yaml").write_text(
        f"name: realistic\nversion: '{count}.{seed}'\ndescription: Rules for the benchmarks\nlicense: Apache-2.0\n"
        "content:\n  - {file: rules.yar, kind: yara}\n",
        encoding="utf-8",
    )
    return pack


def texts(count: int, length: int = 300, seed: int = 8) -> list[str]:
    """Different ASCII texts of words of the rules' vocabulary, in an order in which no rule matches."""
    rnd = random.Random(seed)
    small = ["the", "a", "of", "and", "to", "we", "is", "for", "you", "on", "at", "with", "my", "it", "this", "from"]
    out: list[str] = []
    for _ in range(count):
        parts: list[str] = []
        size = 0
        while size < length:
            # A small word between two of the vocabulary: no phrase of two of them ever stands in the text.
            parts += [rnd.choice(_FIRST if rnd.random() < 0.6 else _SECOND), rnd.choice(small)]
            size = sum(map(len, parts)) + len(parts)
        out.append(" ".join(parts)[:length])
    return out


if __name__ == "__main__":
    print(write_pack(Path(sys.argv[2]), int(sys.argv[1])))
