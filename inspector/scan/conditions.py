"""Which strings a rule's condition cannot be true without.

Source: the YARA manual, "Conditions" (4.5). The condition is not evaluated: it is taken apart at its `or` and `and`,
and what a part needs is told where that is certain. `needs` answers None wherever the condition could be true although
no string matched, or where that is not understood: such a rule runs on every text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from inspector.scan.yararules import Token, number

Needs = frozenset[str]
"""Names of strings ("$a"): the condition is false when none of them matched. Empty: it is always false."""

DEPTH = 40
"""Deepest nesting of parentheses that is read."""

_OPEN = {"(": 1, "[": 1, ")": -1, "]": -1}


class _Analysis:
    def __init__(
        self, names: Sequence[str], price: Callable[[Needs], float | None], rules: Mapping[str, Needs | None],
    ) -> None:
        self.names = names
        self.price = price
        self.rules = rules

    def needs(self, tokens: Sequence[str], depth: int = 0) -> Needs | None:
        if depth > DEPTH or not tokens:
            return None
        parts = _split(tokens, "or")
        if len(parts) > 1:
            sets = [self.needs(part, depth + 1) for part in parts]
            if any(one is None for one in sets):
                return None
            return frozenset().union(*(one for one in sets if one is not None))
        parts = _split(tokens, "and")
        if len(parts) > 1:
            return self.cheapest([self.needs(part, depth + 1) for part in parts])
        if tokens[0] == "(" and _closing(tokens, 0) == len(tokens) - 1:
            return self.needs(tokens[1:-1], depth + 1)
        return self.leaf(tokens, depth)

    def cheapest(self, sets: Sequence[Needs | None]) -> Needs | None:
        """Of several sets that are each needed the one that is rarest; one that has a price, if any has."""
        known = [one for one in sets if one is not None]
        prices = [(price, one) for one in known if (price := self.price(one)) is not None]
        if prices:
            return min(prices, key=lambda pair: (pair[0], sorted(pair[1])))[1]
        return known[0] if known else None

    def leaf(self, tokens: Sequence[str], depth: int) -> Needs | None:
        first = tokens[0]
        if first == "false" and len(tokens) == 1:
            return frozenset()
        if first in self.names or first == "$":
            return frozenset({first}) if len(tokens) == 1 or tokens[1] in ("at", "in") else None
        if first[0] == "#" and len(tokens) == 3:
            return self.count("$" + first[1:], tokens[1], tokens[2])
        if first[0] == "@" and (len(tokens) == 3 or (len(tokens) == 6 and tokens[1] == "[" and tokens[3] == "]")):
            name = "$" + first[1:]
            # The place of a string that did not match is undefined, and no comparison with it is true.
            simple = tokens[-2] in ("==", "<", ">", "<=", ">=") and _number(tokens[-1]) is not None
            return frozenset({name}) if simple and (name in self.names or name == "$") else None
        if len(tokens) == 1 and first in self.rules:
            return self.rules[first]
        if first == "for":
            return self.loop(tokens, depth)
        if len(tokens) >= 3 and tokens[1] == "of":
            found, rest = self.members(tokens[2:])
            if found is None or (rest and rest[0] not in ("in", "at")):
                return None
            return self.quantified(first, found)
        return None

    def count(self, name: str, operator: str, text: str) -> Needs | None:
        value = _number(text)
        if value is None or (name not in self.names and name != "$"):
            return None
        positive = (operator == ">" and value >= 0) or (operator in (">=", "==") and value >= 1)
        return frozenset({name}) if positive else None

    def loop(self, tokens: Sequence[str], depth: int) -> Needs | None:
        """for QUANTITY of SET : ( BODY ), whose body needs the string it is about."""
        if len(tokens) < 6 or tokens[2] != "of":
            return None
        found, rest = self.members(tokens[3:])
        if found is None or len(rest) < 3 or rest[0] != ":" or rest[1] != "(" or _closing(rest, 1) != len(rest) - 1:
            return None
        if self.needs(rest[2:-1], depth + 1) != frozenset({"$"}):
            return None
        return self.quantified(tokens[1], found)

    def quantified(self, quantity: str, found: Sequence[str]) -> Needs | None:
        if quantity == "all":
            least = len(found)
        elif quantity == "any":
            least = 1
        else:
            value = _number(quantity)
            if value is None:
                return None
            least = value
        if least < 1:
            return None
        if least > len(found):
            return frozenset()
        # At least `least` of n match: of any n - least + 1 of them one matches. Take the rarest ones.
        priced = [(self.price(frozenset({name})), name) for name in found]
        ordered = sorted(priced, key=lambda pair: (pair[0] is None, pair[0] or 0.0, pair[1]))
        return frozenset(name for _, name in ordered[: len(found) - least + 1])

    def members(self, tokens: Sequence[str]) -> tuple[list[str] | None, Sequence[str]]:
        """The strings of a set, and the tokens behind it. None: not understood (a set of rules is not)."""
        if tokens[0] == "them":
            return (list(self.names) or None), tokens[1:]
        end = _closing(tokens, 0)
        if tokens[0] != "(" or end < 0:
            return None, ()
        found: list[str] = []
        inside = list(tokens[1:end])
        if inside[:2] == ["$", "*"]:
            inside[:2] = ["$*"]
        for i, token in enumerate(inside):
            if i % 2:
                if token != ",":
                    return None, ()
            elif token in self.names:
                found.append(token)
            elif token[0] == "$" and token.endswith("*"):
                found.extend(name for name in self.names if name.startswith(token[:-1]))
            else:
                return None, ()
        return (list(dict.fromkeys(found)) or None), tokens[end + 1:]


def needs(
    condition: Sequence[Token], names: Sequence[str], price: Callable[[Needs], float | None],
    rules: Mapping[str, Needs | None],
) -> Needs | None:
    """The strings (of `names`) of which at least one matched whenever the condition is true; None: not certain.

    Each of `names` is one string: give anonymous ones names of their own that begin with "$".
    `price` says how often one of a set is in a harmless text (None: it cannot be looked for); where there is a choice
    the cheapest set is taken. `rules`: what other rules need, by name, for conditions that name them.
    """
    return _Analysis(names, price, rules).needs([token.text for token in condition])


def _number(text: str) -> int | None:
    try:
        return number(text)
    except ValueError:
        return None


def _closing(tokens: Sequence[str], at: int) -> int:
    """Where the parenthesis at `at` is closed; -1: nowhere."""
    depth = 0
    for i in range(at, len(tokens)):
        depth += _OPEN.get(tokens[i], 0)
        if depth == 0:
            return i
    return -1


def _split(tokens: Sequence[str], word: str) -> list[Sequence[str]]:
    """The tokens between the occurrences of a word outside all parentheses."""
    parts: list[Sequence[str]] = []
    depth = start = 0
    for i, token in enumerate(tokens):
        depth += _OPEN.get(token, 0)
        if depth == 0 and token == word:
            parts.append(tokens[start:i])
            start = i + 1
    parts.append(tokens[start:])
    return parts
