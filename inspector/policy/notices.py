"""Texts for people, with variables: notify and placeholder.

`{reference}` is left in place: the engine knows it when it carries the verdict out, and puts it in with str.replace.
"""

from __future__ import annotations

VARIABLES = ("reference", "rule", "user", "protocol")
MOST = 1000
"""Longest text, in characters: more than a client shows at once."""


class Template:
    """A text with variables, taken apart once. Braces have no other use than to name a variable."""

    __slots__ = ("_pieces", "source")

    def __init__(self, source: str) -> None:
        self.source = source
        self._pieces, unknown = _split(source)
        if unknown:
            raise ValueError(f"unknown variables: {unknown}")

    @staticmethod
    def unknown(source: str) -> list[str]:
        """What stands in braces and is no variable."""
        return _split(source)[1]

    def fill(self, rule: str, user: str | None, protocol: str | None) -> str:
        """The text, all but `{reference}`. Braces in a name become parentheses: nobody names himself `{reference}`."""
        values = {"rule": rule, "user": user or "unknown", "protocol": protocol or "unknown", "reference": None}
        parts = []
        for index, piece in enumerate(self._pieces):
            if index % 2 == 0:
                parts.append(piece)
            else:
                value = values[piece]
                parts.append("{reference}" if value is None else value.replace("{", "(").replace("}", ")"))
        return "".join(parts)


def _split(source: str) -> tuple[list[str], list[str]]:
    """Pieces, text and variable in turn, beginning with text; and what in braces is no variable."""
    pieces, unknown = [""], []
    rest = source
    while True:
        text, brace, rest = rest.partition("{")
        if "}" in text:
            unknown.append("}")
        pieces[-1] += text
        if not brace:
            return pieces, unknown
        name, end, rest = rest.partition("}")
        if not end or name not in VARIABLES:
            unknown.append(name)
        else:
            pieces += [name, ""]
