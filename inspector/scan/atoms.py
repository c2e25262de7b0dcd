"""Literals that a string of a rule cannot match without: what the prefilter looks for.

An atom set is safe when every match of the string, with its modifiers, contains at least one atom of the set. When in
doubt there is none, and the rule runs always. Too many atoms cost time, never a finding.
"""

from __future__ import annotations

import base64
import itertools

import msgspec

from inspector.scan import expressions
from inspector.scan.expressions import Bytes, Either, Node, Nothing, Repeat, Sequence
from inspector.scan.yararules import String, number

LEAST = 3
"""Bytes of the shortest atom: shorter ones are in every other message."""
_LONGEST = 24
"""Bytes of the longest atom of a plain string: longer ones are not rarer."""
_EXACT = 16
"""Texts an exact expression may stand for before it is taken as vague."""
_XOR_LONGEST = 8
_RARE = 1e-6
"""Literals rarer than this are good enough by themselves: an expression costs more than a literal on every text."""
_GAP = 16
_GAP_RANGE = 8
"""Longest gap between two literals that are looked for as one expression, and how much it may vary: both engines of the
prefilter compile such ones quickly (a class of letters, repeated, costs hyperscan a hundred times more)."""
_COMMON = (
    b"http", b"www.", b"://", b"com", b"the", b"and", b"you", b"ing", b"ion", b"tion", b"this", b"that", b"have",
    b"with", b"for", b"are", b"not", b"your", b"from", b"here", b"what", b"can", b"all", b"his", b"her", b"ent",
)


class Atom(msgspec.Struct, frozen=True, gc=False):
    """What to look for: a literal, or (pattern True) a regular expression that the prefilter's engines share.
    `caseless`: ASCII letters match in either case. `literal` says what it costs: all of the expression's letters."""

    literal: bytes
    caseless: bool = False
    expression: bytes | None = None

    @property
    def source(self) -> bytes:
        return self.literal if self.expression is None else self.expression

    @property
    def pattern(self) -> bool:
        return self.expression is not None


Atoms = frozenset[Atom]


def cost(atoms: Atoms) -> float:
    """How often a set of atoms will be in a harmless message, roughly: the less the better."""
    return sum(_frequency(atom.literal) for atom in atoms)


def _frequency(literal: bytes) -> float:
    length = len(literal.replace(b"\0", b""))
    lowered = literal.lower()
    common = max((len(word) for word in _COMMON if word in lowered), default=0)
    return float(10.0 ** -min(length - 0.7 * common, 16))


def of_string(string: String) -> Atoms | None:
    """Atoms one of which every match of the string contains; None: no safe ones."""
    modifiers = string.modifiers
    if string.kind == "text":
        atoms = _of_text(string)
    else:
        try:
            node = expressions.regex(string.body) if string.kind == "regex" else expressions.hexadecimal(string.body)
        except ValueError:
            return None
        found = required(node)
        if found is None:
            return None
        caseless = string.kind == "regex" and ("i" in string.flags or "nocase" in modifiers)
        atoms = frozenset(
            Atom(form, caseless) for literal in found for form in _widths(_part(literal), modifiers)
        )
        two = _pair(node) if cost(atoms) > _RARE else None
        if two is not None and _frequency(two[0] + two[3]) < cost(atoms) / 4:
            wides = [False, True] if {"wide", "ascii"} <= modifiers else ["wide" in modifiers]
            return frozenset(Atom(two[0] + two[3], caseless, _expression(*two, wide)) for wide in wides)
    if not atoms or any(len(atom.literal) < LEAST for atom in atoms):
        return None
    return atoms


def _widths(literal: bytes, modifiers: frozenset[str]) -> list[bytes]:
    wide = b"".join(bytes((byte, 0)) for byte in literal)
    if "wide" not in modifiers:
        return [literal]
    return [literal, wide] if "ascii" in modifiers else [wide]


def _part(literal: bytes) -> bytes:
    """The part of a literal to look for: one that ends four bytes into a word, behind the longest two neighbours.

    Hyperscan looks at the last eight bytes of a literal first. Where these are a word, every text with that word, and
    every other rule's phrase that ends in it, costs time; half of one word and half of another are rarer by far.
    """
    words = literal.split(b" ")
    best, most, at = len(literal), 0, 0
    for left, right in itertools.pairwise(words):
        at += len(left) + 1
        if len(left) >= 4 and len(right) >= 4 and len(left) + len(right) > most:
            most, best = len(left) + len(right), at + 4
    return literal[max(best - _LONGEST, 0):best]


def _of_text(string: String) -> Atoms | None:
    modifiers = string.modifiers
    if "base64" in modifiers or "base64wide" in modifiers:
        if any(string.arguments.get(name) for name in ("base64", "base64wide")) or len(string.body) < LEAST:
            return None
        atoms: set[Atom] = set()
        for form in _widths(string.body, modifiers):
            for shift in range(3):
                atoms |= {Atom(encoded[:_LONGEST]) for encoded in _base64(form, shift, modifiers)}
        return frozenset(atoms)
    if "xor" in modifiers:
        low, high = 0, 255
        given = string.arguments.get("xor")
        if given:
            try:
                first, dash, last = given.partition("-")
                low = number(first)
                high = number(last) if dash else low
            except ValueError:
                return None
        return frozenset(
            Atom(bytes(byte ^ key for byte in form))
            for form in _widths(string.body[:_XOR_LONGEST], modifiers) for key in range(low, high + 1)
        )
    return frozenset(
        Atom(form, "nocase" in modifiers) for form in _widths(_part(string.body), modifiers)
    )


def _base64(text: bytes, shift: int, modifiers: frozenset[str]) -> list[bytes]:
    """What stays of base64 of a text that begins `shift` bytes into a group of three, whatever stands around it."""
    encoded = base64.b64encode(b"\0" * shift + text).rstrip(b"=")
    first = (0, 2, 3)[shift]
    last = len(encoded) - (1 if (shift + len(text)) % 3 else 0)
    sure = encoded[first:last]
    out = [sure] if "base64" in modifiers else []
    if "base64wide" in modifiers:
        out.append(b"".join(bytes((byte, 0)) for byte in sure))
    return out


def required(node: Node) -> frozenset[bytes] | None:
    """Literals one of which every match of the tree contains; None: nothing is sure. Shorter than LEAST is nothing."""
    candidates: list[frozenset[bytes]] = []
    if isinstance(node, Either):
        sets = [required(part) for part in node.parts]
        whole = exact(node)
        if whole:
            candidates.append(whole)
        if all(one is not None for one in sets):
            candidates.append(frozenset().union(*(one for one in sets if one is not None)))
    elif isinstance(node, Repeat):
        if node.low >= 1:
            inner = required(node.part)
            whole = exact(node)
            candidates.extend(one for one in (inner, whole) if one)
    elif isinstance(node, Sequence):
        run: frozenset[bytes] = frozenset({b""})
        for part in node.parts:
            whole = exact(part)
            if whole is not None and len(run) * len(whole) <= _EXACT:
                run = frozenset(a + b for a in run for b in whole)
                continue
            candidates.append(run)
            run = frozenset({b""})
            if whole is not None and len(whole) <= _EXACT:
                run = whole
                continue
            inner = required(part)
            if inner is not None:
                candidates.append(inner)
        candidates.append(run)
    else:
        whole = exact(node)
        if whole:
            candidates.append(whole)
    usable = [one for one in candidates if one and all(len(literal) >= LEAST for literal in one)]
    return min(usable, key=lambda one: cost(frozenset(map(Atom, one))), default=None)


def _pair(node: Node) -> tuple[bytes, int, int, bytes] | None:
    """The rarest two literals with a small gap between them that every match contains: (first, least and most bytes of
    the gap, second)."""
    best: tuple[bytes, int, int, bytes] | None = None
    first = b""
    low, high = 0, 0
    open_ = True
    for part in [*_flat(node), (b"", 0, None)]:
        literal, least, most = part
        if literal:
            if first and not open_:
                found = (first, low, high, literal)
                if best is None or _frequency(first + literal) < _frequency(best[0] + best[3]):
                    best = found
            first, low, high, open_ = literal, 0, 0, False
        elif most is None:
            open_ = True
        else:
            low, high = low + least, high + most
            open_ = open_ or high > _GAP or high - low > _GAP_RANGE
    return best


def _flat(node: Node) -> list[tuple[bytes, int, int | None]]:
    """A sequence as literals (bytes, 0, 0) and gaps (b"", least, most bytes), neighbouring literals joined."""
    parts: list[tuple[bytes, int, int | None]] = []
    for one in node.parts if isinstance(node, Sequence) else (node,):
        inside = _flat(one) if isinstance(one, Sequence) else [_piece(one)]
        for literal, least, most in inside:
            if literal and parts and parts[-1][0]:
                parts[-1] = (parts[-1][0] + literal, 0, 0)
            elif literal or most != 0:
                parts.append((literal, least, most))
    return parts


def _piece(node: Node) -> tuple[bytes, int, int | None]:
    whole = exact(node)
    if whole is not None and len(whole) == 1:
        return next(iter(whole)), 0, 0
    return b"", *_lengths(node)


def _lengths(node: Node) -> tuple[int, int | None]:
    """The fewest and the most bytes of a match; most None: without end."""
    if isinstance(node, Bytes):
        return 1, 1
    if isinstance(node, Nothing):
        return 0, 0
    if isinstance(node, Repeat):
        least, most = _lengths(node.part)
        return least * node.low, None if most is None or node.high is None else most * node.high
    pairs = [_lengths(part) for part in node.parts]
    mosts = [most for _, most in pairs if most is not None]
    unbounded = len(mosts) < len(pairs)
    if isinstance(node, Either):
        return min(least for least, _ in pairs), None if unbounded else max(mosts)
    return sum(least for least, _ in pairs), None if unbounded else sum(mosts)


def _expression(first: bytes, low: int, high: int, second: bytes, wide: bool) -> bytes:
    """Two literals with a gap as an expression for the prefilter."""
    times = 2 if wide else 1
    one, two = (b"".join(bytes((byte, 0)) for byte in part) if wide else part for part in (first, second))
    gap = rb"[\x00-\xff]{%d,%d}" % (low * times, high * times)
    return hexadecimal(one) + gap + hexadecimal(two)


def hexadecimal(literal: bytes) -> bytes:
    """A literal as an expression."""
    return b"".join(b"\\x%02x" % byte for byte in literal)


def exact(node: Node) -> frozenset[bytes] | None:
    """All texts the tree matches, if they are few; None: many."""
    if isinstance(node, Bytes):
        if node.some is None or len(node.some) > _EXACT:
            return None
        return frozenset(bytes((byte,)) for byte in node.some)
    if isinstance(node, Nothing):
        return frozenset({b""})
    if isinstance(node, Repeat):
        inner = exact(node.part)
        if inner is None or node.high is None or node.high > _EXACT or len(inner) ** node.high > _EXACT:
            return None
        out: set[bytes] = set()
        step: frozenset[bytes] = frozenset({b""})
        for times in range(node.high + 1):
            if times >= node.low:
                out |= step
            step = frozenset(a + b for a in step for b in inner)
        return frozenset(out) if len(out) <= _EXACT else None
    if isinstance(node, Either):
        sets = [exact(part) for part in node.parts]
        if any(one is None for one in sets):
            return None
        joined: frozenset[bytes] = frozenset().union(*(one for one in sets if one is not None))
        return joined if len(joined) <= _EXACT else None
    run: frozenset[bytes] = frozenset({b""})
    for part in node.parts:
        whole = exact(part)
        if whole is None or len(run) * len(whole) > _EXACT:
            return None
        run = frozenset(a + b for a in run for b in whole)
    return run
