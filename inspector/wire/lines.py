"""Lines out of a byte stream: LF, CRLF or a lone CR end one; nothing longer than a bound is ever held.

RFC 1459 2.3 asks for CRLF; real servers also take LF alone and (ngircd) CR alone, so all three end a line. A CR that is
the last byte so far is held until the next byte tells whether an LF belongs to it. A line longer than the bound comes
as pieces of exactly the bound, the last one shorter, so that pieces do not depend on how the stream was cut.
"""

from __future__ import annotations

from inspector.model import FIRST, LAST, MORE, WHOLE, Part

Piece = tuple[bytes, Part]
"""(the bytes with their line end, whole | first | more | last)."""


class Lines:
    """Cuts one way of a stream into lines of at most `limit` bytes, line end included."""

    __slots__ = ("_held", "_inside", "busy", "limit", "ragged")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._held = b""
        self._inside = False
        self.busy = False
        """Not at a line's start: something is held, or pieces of a long line are out."""
        self.ragged = False
        """The last line ended with a lone CR: a reader that knows none but LF is still inside it."""

    @property
    def pending(self) -> int:
        """Bytes held that are not yet a line or a piece of one."""
        return len(self._held)

    def feed(self, data: bytes) -> list[Piece]:
        """The lines and pieces that `data` completes, in order; joined with what is pending they are what was fed."""
        held = self._held
        if held:
            if held[-1] != 13 and b"\n" not in data and b"\r" not in data and len(held) + len(data) <= self.limit:
                self._held = held + data
                return []
            data = held + data
        if not data:
            return []
        out: list[Piece] = []
        lines = data.splitlines(True)
        last = lines.pop()
        for line in lines:
            self._cut(line, True, out)
        self._held = self._cut(last, last[-1] == 10, out)
        self.busy = self._inside or bool(self._held)
        if out:
            self.ragged = out[-1][0][-1] == 13
        return out

    def flush(self) -> Piece | None:
        """What is held, as it stands (the stream ended, or bytes were lost behind it)."""
        held, inside = self._held, self._inside
        self._held, self._inside, self.busy, self.ragged = b"", False, False, False
        if not held:
            return None
        return held, LAST if inside else WHOLE

    def _cut(self, line: bytes, whole: bool, out: list[Piece]) -> bytes:
        """Append the pieces of `line`; the rest that is not complete is returned."""
        limit = self.limit
        at = 0
        while len(line) - at > limit:
            out.append((line[at:at + limit], MORE if self._inside else FIRST))
            self._inside = True
            at += limit
        if at:
            line = line[at:]
        if not whole:
            return line
        out.append((line, LAST if self._inside else WHOLE))
        self._inside = False
        return b""
