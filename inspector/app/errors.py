"""The one exception by which a command tells its user that something is wrong."""

from __future__ import annotations

FAILED = 1
"""Exit status: "no", or it could not be done."""
WRONG_USE = 2
"""Exit status: the command line is wrong."""
INTERNAL = 70
"""Exit status: a fault of ours (EX_SOFTWARE of sysexits.h)."""


class UserError(Exception):
    """A fault that the user can mend.

    `sentence`: what is printed on stderr after "inspector: "; it names what and where. Several faults are several
    lines of it. `exit`: the process's exit status, FAILED or WRONG_USE.
    """

    def __init__(self, sentence: str, exit: int = FAILED) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit = exit
