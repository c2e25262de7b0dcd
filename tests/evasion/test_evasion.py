"""Nothing slips through: every disguise of every protocol, with every target, cut and mixed in every way.

What is sent is read by decoders of the test's own. Cases that are known not to be found are in known.py.
"""

from __future__ import annotations

import functools
import importlib
import io
import itertools
import random
import zlib
from collections.abc import Iterator

import pytest

from inspector.app.scan import Inspection
from inspector.classify.probes import classifier
from inspector.drivers.pcap import Capture
from inspector.engine.world import World
from inspector.model import UP, Limits, Spec
from inspector.protocols.registry import BY_NAME, SPECS
from tests.drivers.crafted import ACK, CLIENT, SERVER, SYN, ether, ip4, pcap, tcp
from tests.evasion import known, page
from tests.evasion.cases import (
    ACTIONS,
    PLAINEST,
    Case,
    arrived,
    disguises,
    line,
    parts,
    play,
    protocol_cases,
    said,
    writing_cases,
)
from tests.evasion.line import rules
from tests.evasion.reading import leaks
from tests.evasion.targets import TARGETS
from tests.evasion.ways import Said

TALKING = [spec for spec in SPECS if "message" in spec.can]


def chosen(case: Case, count: int) -> bool:
    """Whether the short run takes a case: `count` of 36, the same ones each time, spread over all."""
    return zlib.crc32(str(case).encode()) % 36 < count and known.known(case) is None


def either(case: Case) -> str:
    """One of the policies."""
    return ACTIONS[zlib.crc32(str(case).encode()) // 36 % 2]


def judged(case: Case, action: str, units: Said | None = None) -> None:
    """Play a case; its secret must not arrive."""
    outcome, seen = play(case, action, units)
    assert not seen, (str(case), action, outcome)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_every_protocol_says_how_it_can_disguise_a_text(spec: Spec) -> None:
    """DISGUISES is there; it is empty only where no messages are carried, and each one says something that is seen."""
    module = importlib.import_module(f"tests.protocols.test_{spec.name}")
    assert isinstance(module.DISGUISES, dict)
    assert bool(module.DISGUISES) == ("message" in spec.can)
    for name in module.DISGUISES:
        assert any(said(Case(spec.name, name, target)) is not None for target in TARGETS), name


@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_disguises_of_the_protocol(spec: Spec) -> None:
    """A part of them, under either policy (the long run takes all)."""
    count = 0
    for case in protocol_cases(spec.name, lambda case: chosen(case, 7)):
        judged(case, either(case))
        count += 1
    assert count > 4


@pytest.mark.long
@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_all_disguises_of_the_protocol(spec: Spec) -> None:
    """Every disguise, every target, both policies."""
    for case in protocol_cases(spec.name, lambda case: known.known(case) is None):
        for action in ACTIONS:
            judged(case, action)


@pytest.mark.parametrize(("protocol", "disguise"), [
    (protocol, disguise) for protocol, names in PLAINEST.items() for disguise in names], ids=lambda name: name)
def test_writings_of_the_text(protocol: str, disguise: str) -> None:
    """Letters, blanks, marks, directions, numbers and links in other spellings: a part of them."""
    for case in writing_cases(protocol, disguise, lambda case: chosen(case, 6)):
        judged(case, either(case))


@pytest.mark.long
@pytest.mark.parametrize("protocol", [spec.name for spec in TALKING])
def test_all_writings_in_all_disguises(protocol: str) -> None:
    """Every writing of every target in the plainest disguises, a twelfth of them in every other that hides nothing."""
    listed = {entry.disguise for entry in known.KNOWN if entry.protocol == protocol}
    for disguise in disguises(protocol):
        if disguise not in listed:
            plain = disguise in PLAINEST.get(protocol, ())
            for case in writing_cases(protocol, disguise, functools.partial(chosen, count=36 if plain else 3)):
                for action in ACTIONS:
                    judged(case, action)


# -- how it comes


def wired(case: Case) -> Said:
    units = said(case)
    assert units is not None
    return list(units)


def cut_at(units: Said, at: int) -> Said:
    """The units in two segments each way, cut at one byte of them all."""
    out: Said = []
    for way, data in units:
        out += [(way, piece) for piece in (data[:at], data[at:]) if piece] if 0 < at < len(data) else [(way, data)]
        at -= len(data)
    return out


def dribbled(units: Said) -> Said:
    """One byte a segment."""
    return [(way, bytes((byte,))) for way, data in units for byte in data]


def one_of_each(protocol: str) -> Iterator[Case]:
    """For each disguise a target that is found in it, taken in turn."""
    for number, name in enumerate(disguises(protocol)):
        names = list(TARGETS)
        fit = (
            case for target in names[number % len(names):] + names[:number % len(names)]
            if known.known(case := Case(protocol, name, target)) is None and said(case) is not None
        )
        yield from itertools.islice(fit, 1)


@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_cut_and_dribbled(spec: Spec) -> None:
    """One byte a segment, and cut in two at some bytes (the long run cuts at every one)."""
    draw = random.Random(4)
    for number, case in enumerate(one_of_each(spec.name)):
        units = wired(case)
        size = sum(len(data) for _, data in units)
        if number % 2 == 0:
            judged(case, ACTIONS[number // 2 % 2], cut_at(units, draw.randrange(1, size)))
        elif number % 4 == 1 and size < 4000:
            judged(case, ACTIONS[number // 4 % 2], dribbled(units))


@pytest.mark.long
@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_cut_at_every_byte(spec: Spec) -> None:
    """Every disguise with one target, cut in two at every byte; another one dribbled."""
    for number, case in enumerate(one_of_each(spec.name)):
        units = wired(case)
        size = sum(len(data) for _, data in units)
        for at in range(1, size, 1 if size < 2000 else 37):
            judged(case, ACTIONS[(number + at) % 2], cut_at(units, at))
        judged(case, ACTIONS[number % 2], dribbled(units))


@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_pipelined(spec: Spec) -> None:
    """A dozen messages in one segment, the disguised one among them: the others arrive, it does not."""
    for number, case in enumerate(one_of_each(spec.name)):
        how = case.how
        units = wired(case)
        if how.harmless is None or len(units) > 1 or (number % 3 and len(disguises(spec.name)) > 30):
            continue
        batch: Said = [(how.way, how.harmless(n)) for n in range(12)]
        batch[number % 11:number % 11] = units
        batch = how.mend(batch) if how.mend is not None else batch
        session = line(case, ACTIONS[number % 2])
        at = len(session.sent[how.way])
        session.feed(how.way, b"".join(data for _, data in batch))
        session.wait()
        shown = arrived(case, session, at)
        made = parts(case)
        assert made is not None
        assert not leaks(shown, made[1]), str(case)
        quitting = session.over or case.disguise.startswith(("QUIT", "ERROR", "PART", "KILL"))
        assert quitting or leaks(shown, ["the tulips are out"]), str(case)


@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_interleaved(spec: Spec) -> None:
    """Eight sessions of one world, their pieces in turn: nobody's words are read as another's."""
    cases = [case for case in one_of_each(spec.name) if len(wired(case)) == 1][:160]
    for first in range(0, len(cases), 8):
        world = World(Limits())
        group = cases[first:first + 8]
        lines = [line(case, ACTIONS[n % 2], n, world) for n, case in enumerate(group)]
        starts = [len(session.sent[case.how.way]) for session, case in zip(lines, group, strict=True)]
        waiting = [dribbled(wired(case)) if len(wired(case)[0][1]) < 600 else wired(case) for case in group]
        while any(waiting):
            for session, pieces in zip(lines, waiting, strict=True):
                if pieces:
                    some = pieces[:7]
                    session.feed(some[0][0], b"".join(data for _, data in some))
                    del pieces[:7]
        for session, case, at in zip(lines, group, starts, strict=True):
            session.wait()
            made = parts(case)
            assert made is not None
            assert not leaks(arrived(case, session, at), made[1]), str(case)


# -- in pieces

PIECES: dict[str, tuple[tuple[str, ...], str]] = {
    "card in two": (("my card 5105 1051", "0510 5100"), "dlp.card_number"),
    "card in four": (("5105", "1051", "0510", "5100 ok"), "dlp.card_number"),
    "card in eight": (("51", "05", "10", "51", "05", "10", "51", "00"), "dlp.card_number"),
    "card, hyphens at the ends": (("5105-", "1051-", "0510-5100"), "dlp.card_number"),
    "card, small talk between": (("5105 1051", "wait", "are you there?", "0510", "so", "5100"), "dlp.card_number"),
    "card, other digits": (("５１０５ １０５１", "०५१० ५१००"), "dlp.card_number"),
    "card, hidden characters": (("5105\u200b1051", "\u200b0510\u00ad5100"), "dlp.card_number"),
    "card behind a long text": (("la la la " * 12 + "5105 1051", "0510 5100"), "dlp.card_number"),
    "IBAN in three": (("DE89 3704", "0044 0532", "0130 00"), "dlp.iban"),
    "link in three": (("http://trap-", "house.exam", "ple/pay"), "t.list"),
    "link, dot alone": (("see trap-house", ".example/pay"), "t.list"),
    "address in three": (("http://198.51", ".100", ".77/a"), "t.list"),
}


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("protocol", PLAINEST)
def test_pieces_in_several_messages(protocol: str, name: str) -> None:
    """The piece that completes a number or link is refused, and the event names the others."""
    pieces, rule = PIECES[name]
    for disguise in PLAINEST[protocol]:
        case = Case(protocol, disguise, "card")
        units: Said = []
        for piece in pieces:
            units += case.how.say(piece) or []
        assert len(units) == len(pieces)
        session = line(case, "block")
        for way, data in case.how.mend(units) if case.how.mend is not None else units:
            assert session.outcome == "passed"
            session.feed(way, data)
        assert session.outcome == "refused", name
        (found,) = [row["findings"] for row in session.rows if row["event"] == "verdict" and row["did"] == "block"]
        assert [one["rule"] for one in found] == [rule]
        assert "begun in" in found[0]["detail"]


# -- in captures


def segments(case: Case, draw: random.Random) -> bytes:
    """A capture of a case: its last unit in small segments, out of order, sent twice, overlapping."""
    port = min(BY_NAME[case.protocol].ports, default=4000)
    frames = [ip4(tcp(40000, port, 0, 0, SYN)), ip4(tcp(port, 40000, 0, 1, SYN | ACK), SERVER, CLIENT)]
    at = {0: 1, 1: 1}
    units = [*case.how.before, *wired(case)]

    def segment(way: int, start: int, data: bytes) -> bytes:
        if way is UP:
            return ip4(tcp(40000, port, start, at[1], ACK, data))
        return ip4(tcp(port, 40000, start, at[0], ACK, data), SERVER, CLIENT)

    for number, (way, data) in enumerate(units):
        begin = at[way]
        if number < len(case.how.before):
            frames.append(segment(way, begin, data))
        else:
            cuts = sorted({0, len(data), *(draw.randrange(len(data)) for _ in range(6))})
            pieces = list(itertools.pairwise(cuts))
            extra = [(max(a - draw.randrange(9), 0), min(b + draw.randrange(9), len(data))) for a, b in pieces]
            mixed = pieces + draw.sample(extra, len(extra) // 2)
            draw.shuffle(mixed)
            frames += [segment(way, begin + a, data[a:b]) for a, b in mixed]
        at[way] += len(data)
    return pcap([(1000.0 + 0.01 * number, ether(frame)) for number, frame in enumerate(frames)])


def captured(case: Case, seed: int) -> None:
    """Read a capture of a case: the verdict says that it would be refused."""
    rows: list[dict[str, object]] = []
    inspection = Inspection(rules("block"), classifier(SPECS), SPECS, Limits(), rows.append)
    inspection.capture(Capture(io.BytesIO(segments(case, random.Random(seed))), "x.pcap", Limits()))
    asked = {row["asked"] for row in rows if row["event"] == "verdict"}
    assert asked & {"block", "cut"}, (str(case), asked)


def capturable(protocol: str) -> list[Case]:
    """Cases whose protocol is recognised in a capture, and whose words are events there (edits are off)."""
    return [case for case in one_of_each(protocol) if case.how.expected is None]


@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_segments_overlap_and_come_out_of_order(spec: Spec) -> None:
    """Read from a capture: segments in any order, repeated and overlapping, give the same verdict."""
    for number, case in enumerate(capturable(spec.name)):
        if number % 4 == 0:
            captured(case, number)


@pytest.mark.long
@pytest.mark.parametrize("spec", TALKING, ids=lambda spec: spec.name)
def test_all_segments_overlap_and_come_out_of_order(spec: Spec) -> None:
    """Every disguise so, in five orders."""
    for case in capturable(spec.name):
        for seed in range(5):
            captured(case, seed)


# -- what is known


def test_what_is_known_not_to_be_found_is_not_found() -> None:
    """Every entry of the list still holds, for each case it covers in the plainest disguises or its own."""
    def listed(case: Case) -> bool:
        return known.known(case) is not None

    used = set()
    own = [Case(one.protocol, one.disguise, one.target, one.writing) for one in known.KNOWN
           if one.writing and "*" not in (one.protocol, one.disguise, one.target)]
    for case in [*protocol_cases(None, listed), *own, *(
        case for case in writing_cases("xmpp", PLAINEST["xmpp"][0], listed)
    )]:
        used.add(known.known(case))
        assert play(case, "block")[1], f"found: {case}"
    assert used == set(known.KNOWN)


def test_the_page_names_every_disguise() -> None:
    """docs/evasion.md has a row for each disguise and writing, and each that is known not to be found."""
    page.checked()
