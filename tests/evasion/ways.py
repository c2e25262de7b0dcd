"""What a protocol's test module says of how a text can be disguised in it.

`DISGUISES` of tests/protocols/test_<name>.py: name -> Disguise. The suite says every target through each of them, cut,
dribbled, pipelined, interleaved and out of order, and looks at what reaches the reader with `read`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from inspector.model import Expect, Way

Said = list[tuple[Way, bytes]]


@dataclass(frozen=True)
class Disguise:
    """One way to write a text in a protocol."""

    way: Way
    """Where its reader is."""
    say: Callable[[str], Said | None]
    """The units that say a text (line breaks may stand in it); None: this text cannot be said so."""
    read: Callable[[bytes], list[str]]
    """What the reader's client would show of the bytes that came: a decoder of the test's own, generous in doubt."""
    before: Said
    """What both sides have said before: the sign-on."""
    expected: Expect | None = None
    """What announced the connection."""
    harmless: Callable[[int], bytes] | None = None
    """The n-th unit of talk that may stand around it, going the same way; None: nothing may."""
    mend: Callable[[Said], Said] | None = None
    """Numbers the units of a longer talk anew, where they are numbered."""
    off: frozenset[str] = frozenset()
    """Edits that an operator has switched off where it can be said so at all."""
    whole: bool = False
    """`read` is given all that was sent that way, from the first byte: what came before is needed to read it."""
