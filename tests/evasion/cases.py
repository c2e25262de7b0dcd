"""The cases: every disguise of every protocol of the registry, with every target, under both policies."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from inspector.model import Way
from inspector.protocols.registry import BY_NAME, SPECS
from tests.evasion.line import Line
from tests.evasion.reading import leaks
from tests.evasion.targets import TARGETS, Target
from tests.evasion.ways import Disguise, Said
from tests.evasion.writings import WRITINGS, written

ACTIONS = ("block", "redact")


@dataclass(frozen=True)
class Case:
    """One secret on one way; `writing` "" is the plain one."""

    protocol: str
    disguise: str
    target: str
    writing: str = ""

    def __str__(self) -> str:
        return f"{self.protocol}: {self.disguise}: {self.target}" + (f": {self.writing}" if self.writing else "")

    @property
    def how(self) -> Disguise:
        return disguises(self.protocol)[self.disguise]

    @property
    def what(self) -> Target:
        return TARGETS[self.target]


@functools.cache
def disguises(protocol: str) -> dict[str, Disguise]:
    """DISGUISES of the protocol's test module."""
    module = importlib.import_module(f"tests.protocols.test_{protocol}")
    found: dict[str, Disguise] = module.DISGUISES
    return found


@functools.cache
def parts(case: Case) -> tuple[str, tuple[str, ...]] | None:
    """(text to be said, spellings that must not be seen); None: the writing does not apply."""
    made = written(case.what, case.writing)
    if made is None:
        return None
    before, secret, after = made
    return before + secret + after, (case.what.secret, secret)


@functools.cache
def said(case: Case) -> tuple[tuple[Way, bytes], ...] | None:
    """The units of a case; None: it cannot be said so, or no reader would see it."""
    made = parts(case)
    units = case.how.say(made[0]) if made else None
    if units is None:
        return None
    assert made is not None
    arriving = b"".join(data for way, data in units if way is case.how.way)
    return tuple(units) if leaks(case.how.read(arriving), made[1]) else None


def protocol_cases(protocol: str | None = None, wanted: Callable[[Case], bool] = lambda case: True) -> Iterator[Case]:
    """Every disguise (of one protocol) with every plain target that it can carry."""
    for spec in SPECS:
        if protocol is None or spec.name == protocol:
            for disguise in disguises(spec.name):
                for target in TARGETS:
                    case = Case(spec.name, disguise, target)
                    if wanted(case) and said(case) is not None:
                        yield case


PLAINEST = {"xmpp": ("body, up", "XHTML only, down"), "irc": ("PRIVMSG, up", "PRIVMSG, down"),
            "oscar": ("UTF-8, up", "HTML, down")}
"""The disguises that carry the writings."""


def writing_cases(
    protocol: str, disguise: str, wanted: Callable[[Case], bool] = lambda case: True,
) -> Iterator[Case]:
    """Every writing of every target in one disguise."""
    for target in TARGETS:
        for writing in WRITINGS:
            case = Case(protocol, disguise, target, writing)
            if wanted(case) and said(case) is not None:
                yield case


def line(case: Case, action: str, number: int = 0, world: object = None) -> Line:
    """A session at the point where the case begins."""
    how = case.how
    made = Line(BY_NAME[case.protocol], action, how.expected, world, number, how.off)  # type: ignore[arg-type]
    for way, data in how.before:
        made.feed(way, data)
    return made


def arrived(case: Case, session: Line, at: int) -> list[str]:
    """What the reader sees of what was sent to him; `at`: where the case began."""
    return case.how.read(bytes(session.sent[case.how.way][0 if case.how.whole else at:]))


def play(case: Case, action: str, units: Said | None = None) -> tuple[str, bool]:
    """(outcome, whether the reader sees the secret)."""
    made = parts(case)
    session = line(case, action)
    at = len(session.sent[case.how.way])
    for way, data in units if units is not None else said(case) or ():
        session.feed(way, data)
    session.wait()
    assert made is not None
    return session.outcome, leaks(arrived(case, session, at), made[1])
