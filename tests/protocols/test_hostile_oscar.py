"""OSCAR under attack: lengths that lie at every level, floods, and what must never be told."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inspector.classify.probes import classifier
from inspector.engine.kit import Kit
from inspector.engine.session import Session as EngineSession
from inspector.engine.world import SharedMemory, World
from inspector.model import (
    BROKEN,
    DOWN,
    PASSED,
    UP,
    Action,
    Address,
    Chunk,
    Flow,
    Frame,
    Input,
    Kept,
    Limits,
    Note,
    Rules,
    Scan,
    Scanned,
    Send,
    Verdict,
    Way,
)
from inspector.protocols.oscar import DROP_LYING, KEEP_PATH, SPEC, OscarDecoder
from tests.engine.toy import ToyPolicy, ToyScanner
from tests.protocols.test_oscar import (
    BOS,
    COOKIE,
    HELLO,
    ICQ,
    LOGIN,
    TALKS,
    TICKET,
    Item,
    Leases,
    Session,
    flap,
    fragment,
    guid,
    im,
    numbered,
    offered,
    redirect,
    snac,
    u16,
)

WORDS = b"secret words of the garden"


# -- bytes with every length in them known


class L:
    """A length, and what it counts. `form`: bytes, negative for little-endian; `extra`: what it counts beside."""

    def __init__(self, form: int, *inner: Part, extra: int = 0) -> None:
        self.form, self.inner, self.extra = form, inner, extra


class N:
    """A number of entries, which lies as a length does."""

    def __init__(self, form: int, number: int) -> None:
        self.form, self.number = form, number


Part = bytes | L | N


def spell(parts: Sequence[Part]) -> tuple[bytes, list[tuple[int, int]]]:
    """(the bytes, (offset, form) of every length in them)."""
    out = b""
    places: list[tuple[int, int]] = []
    for part in parts:
        if isinstance(part, bytes):
            out += part
            continue
        size, order = abs(part.form), "big" if part.form > 0 else "little"
        places.append((len(out), part.form))
        inner, deeper = spell(part.inner) if isinstance(part, L) else (b"", [])
        number = len(inner) + part.extra if isinstance(part, L) else part.number
        out += number.to_bytes(size, order)  # type: ignore[arg-type]
        places += [(len(out) + at, form) for at, form in deeper]
        out += inner
    return out, places


def tlv(kind: int, *inner: Part) -> tuple[Part, ...]:
    return u16(kind), L(2, *inner)


def info(name: bytes, *tlvs: tuple[Part, ...]) -> tuple[Part, ...]:
    flat = [part for entry in tlvs for part in entry]
    return L(1, name), u16(0), N(2, len(tlvs)), *flat


def piece(text: bytes) -> tuple[Part, ...]:
    return b"\1\1", L(2, u16(0), u16(0), text)


def le(number: int, form: str = "<H") -> bytes:
    return struct.pack(form, number)


SOMEONE = info(b"654321", tlv(1, u16(0x50)), tlv(3, bytes(4)))
FEATURES: tuple[Part, ...] = b"\5\1", L(2, b"\1")
BLOCK = tlv(2, *FEATURES, *piece(WORDS))
RELAY: tuple[Part, ...] = (
    L(-2, le(8), bytes(25)), L(-2, bytes(14)), b"\1\0", le(0), le(1), L(-2, WORDS, b"\0"), le(0, "<I"), le(0, "<I"))
CASES: dict[str, tuple[Way, int, int, tuple[Part, ...]]] = {
    "im": (UP, 4, 6, (COOKIE, u16(1), L(1, b"bob"), *BLOCK, *tlv(3))),
    "im of two fragments": (UP, 4, 6, (COOKIE, u16(1), L(1, b"bob"),
                                       *tlv(2, *FEATURES, *piece(WORDS[:7]), *piece(WORDS[7:])))),
    "heard": (DOWN, 4, 7, (COOKIE, u16(1), *SOMEONE, *BLOCK, *tlv(0x16, bytes(4)))),
    "old icq": (DOWN, 4, 7, (COOKIE, u16(4), *SOMEONE, *tlv(5, le(654321, "<I"), b"\1\0", L(-2, WORDS, b"\0")))),
    "relay": (DOWN, 4, 7, (COOKIE, u16(2), *SOMEONE, *tlv(5, u16(0), COOKIE, guid("1349"), *tlv(0x0A, u16(1)),
                                                         *tlv(0x2711, *RELAY)))),
    "offer": (UP, 4, 6, (COOKIE, u16(2), L(1, b"bob"), *tlv(3), *tlv(
        5, u16(0), COOKIE, guid("1343"), *tlv(0x0A, u16(1)), *tlv(3, bytes(4)), *tlv(5, u16(9)),
        *tlv(0x2711, u16(1), u16(1), bytes(4), WORDS, b"\0")))),
    "invitation": (DOWN, 4, 7, (COOKIE, u16(2), *SOMEONE, *tlv(
        5, u16(0), COOKIE, bytes.fromhex("748f2420628711d18222444553540000"), *tlv(0x0C, WORDS),
        *tlv(0x2711, u16(4), L(1, b"room"), u16(0))))),
    "room": (UP, 0x0E, 5, (COOKIE, u16(3), *tlv(1), *tlv(5, *tlv(2, b"us-ascii"), *tlv(1, WORDS)))),
    "room heard": (DOWN, 0x0E, 6, (COOKIE, u16(3), *tlv(3, *SOMEONE), *tlv(1), *tlv(5, *tlv(1, WORDS)))),
    "stored": (DOWN, 0x15, 3, (*tlv(1, L(-2, le(1, "<I"), le(0x41), le(2), le(7, "<I"), le(2003), bytes(6),
                                         L(-2, WORDS, b"\0"))),)),
    "contacts": (UP, 0x13, 8, (L(2, b"Dave"), u16(1), u16(7), u16(0), L(2, *tlv(0x13C, WORDS)))),
    "group": (UP, 0x13, 8, (L(2, WORDS), u16(1), u16(7), u16(1), L(2))),
    "authorisation": (UP, 0x13, 0x18, (L(1, b"dave"), L(2, WORDS), u16(0))),
    "profile": (UP, 2, 4, (*tlv(1, b"text/aolrtf"), *tlv(2, WORDS))),
    "away": (DOWN, 2, 6, (*SOMEONE, *tlv(3, b"text/aolrtf"), *tlv(4, WORDS))),
    "status": (UP, 1, 0x1E, (*tlv(0x1D, u16(2), b"\4", L(1, L(2, WORDS), u16(0))),)),
    "presence": (DOWN, 3, 0x0B, info(b"bob", tlv(1, u16(0x10)), tlv(0x1D, u16(2), b"\4", L(1, L(2, WORDS), u16(0))))),
    "error": (DOWN, 4, 1, (u16(4), *tlv(0x1B, WORDS))),
}
NUMBERS = (0, 1, 2, 3, 4, 5, 0x7F, 0x80, 0xFE, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF)


def lies(name: str, extra: bool) -> Iterator[tuple[str, Way, bytes]]:
    """Each length of a SNAC in turn with other numbers than the true one; `extra`: with a block in front of it."""
    way, family, sub, parts = CASES[name]
    if extra:
        parts = (L(2, *tlv(1, u16(3)), *tlv(2, bytes(4))), *parts)
    body, places = spell(parts)
    for at, form in places:
        size, order = abs(form), "big" if form > 0 else "little"
        true = int.from_bytes(body[at:at + size], order)  # type: ignore[arg-type]
        near = {true + step for step in (-5, -4, -3, -2, -1, 1, 2, 3, 4, 5)}
        for number in sorted(near | set(NUMBERS)):
            if number != true and 0 <= number < 256 ** size:
                lie = body[:at] + number.to_bytes(size, order) + body[at + size:]  # type: ignore[arg-type]
                yield f"{at}={number}", way, snac(family, sub, lie, 3, 0x8000 if extra else 0)


def told(frames: Sequence[Frame]) -> bytes:
    """All that can be read of the frames' events."""
    words = [text.plain for frame in frames for event in frame.events for text in event.texts]
    named = [str(getattr(event, field, "")) for frame in frames for event in frame.events
             for field in ("group", "contact", "conversation")]
    return "\n".join(words + named).encode()


def believed(payload: bytes) -> bytes:
    """What a reader finds in the lists of a message, a profile or a room's words who believes every length: words in
    an entry that he does not know are seen by nobody."""
    family, sub, flags = struct.unpack_from(">HHH", payload)
    body = payload[10:]
    if flags & 0x8000:
        body = body[2 + int.from_bytes(body[:2]):]
    at = 10 if family in (4, 0x0E) else 0
    if (family, sub) in ((4, 6), (4, 7), (2, 6)):
        at += 1 + body[at]
    if (family, sub) in ((4, 7), (2, 6)):
        entries, at = int.from_bytes(body[at + 2:at + 4]), at + 4
        while entries:
            at += 4 + int.from_bytes(body[at + 2:at + 4])
            entries -= 1
    found = b""
    wanted = {4: (2, 5), 0x0E: (5,), 2: (2, 4)}.get(family)
    if wanted is None:
        return body[1 + body[0]:] if (family, sub) == (0x13, 0x18) else body
    while at + 4 <= len(body):
        kind, size = struct.unpack_from(">HH", body, at)
        if kind in wanted:
            value = body[at + 4:at + 4 + size]
            found += value if family != 0x0E or value[:2] != bytes(2) else b""
        at += 4 + size
    return found


@pytest.mark.parametrize("extra", [False, True], ids=["", "extra"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_no_length_lets_words_by_unseen(name: str, extra: bool) -> None:
    """Whatever one length says instead, at any level: the words are read, or the frame is called a lie; what is called
    a lie and is a message does not pass. Nothing is raised, and the next frame is read as ever."""
    for what, way, payload in lies(name, extra):
        session = Session(ICQ[:4], edits=frozenset({DROP_LYING}))
        (frame,) = session.feed(way, session.write(way, payload))
        sent = [p for w, _, p in session.apply(frame) if w is way]
        lying = any(odd.name in ("oscar.lying_length", "oscar.icq_request") for odd in frame.oddities)
        unseen = not lying and sent and WORDS not in told([frame])
        assert not unseen or WORDS not in believed(payload), f"{what}: {payload.hex()}"
        if frame.edit == DROP_LYING:
            assert sent == [], what
        session.say(UP, im("654321", fragment(b"after")))
        assert b"after" in repr(session.events[-1]).encode(), what


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_is_true_passes_and_is_read(name: str) -> None:
    """The same SNACs with true lengths: no lie, the words told, all of it passed on, with an extra block too."""
    way, family, sub, parts = CASES[name]
    for front, flags in (((), 0), ((L(2, *tlv(1, u16(3))),), 0x8000)):
        session = Session(ICQ[:4], edits=frozenset({DROP_LYING}))
        payload = snac(family, sub, spell((*front, *parts))[0], 3, flags)
        (frame,) = session.feed(way, session.write(way, payload))
        assert [odd.name for odd in frame.oddities] == []
        assert WORDS in told([frame])
        assert session.apply(frame) == [(way, 2, payload)]


@pytest.mark.parametrize("name", sorted(CASES))
@settings(max_examples=25)
@given(data=st.data())
def test_several_lies_at_once_are_survived_and_masked(name: str, data: st.DataObject) -> None:
    """Two or three lengths lie together, and what is then read is masked or refused: no exception, whole frames,
    numbers without a hole."""
    way, family, sub, parts = CASES[name]
    body, places = spell(parts)
    changed = bytearray(body)
    for at, form in data.draw(st.lists(st.sampled_from(places), min_size=2, max_size=3)):
        number = data.draw(st.sampled_from(NUMBERS)) % 256 ** abs(form)
        changed[at:at + abs(form)] = number.to_bytes(abs(form), "big" if form > 0 else "little")
    session = Session(ICQ[:4])
    (frame,) = session.feed(way, session.write(way, snac(family, sub, bytes(changed), 3)))
    verdicts = []
    for event in frame.events:
        masks = tuple((i, 0, len(text.plain)) for i, text in enumerate(event.texts) if text.editable)
        verdicts.append(data.draw(st.sampled_from((
            PASSED, Verdict(Action.BLOCK, "r"), Verdict(Action.BLOCK, "r", placeholder="[gone]"),
            Verdict(Action.REDACT, "r", masks=masks)))))
    for act in session.decoder.apply(frame, verdicts):
        if isinstance(act, Send):
            session.check(act)
    session.say(UP, im("654321", fragment(b"after")))


@given(length=st.integers(0, 0xFFFF), cut=st.integers(1, 40))
def test_a_flap_length_that_lies_ends_in_a_fault_or_waits(length: int, cut: int) -> None:
    """The next frame then begins where it does not: what follows is a fault, once, or waits for the rest."""
    session = Session()
    good = session.write(UP, im("bob", fragment(b"before")))
    bad = session.write(UP, im("bob", fragment(WORDS)))
    after = session.write(UP, im("bob", fragment(b"after"))) * 3
    data = good + bad[:4] + u16(length) + bad[6:] + after
    frames = [frame for at in range(0, len(data), cut) for frame in session.feed(UP, data[at:at + cut])]
    assert b"".join(frame.raw for frame in frames) == data[:sum(len(frame.raw) for frame in frames)]
    assert sum(len(frame.raw) for frame in frames) + session.decoder.pending(UP) == len(data)
    faults = [frame for frame in frames if frame.kind == BROKEN]
    assert len(faults) <= 1
    if faults:
        assert frames.index(faults[0]) >= 1
        assert not any(frame.events for frame in frames[frames.index(faults[0]):])


# -- floods


def flood(frames: Callable[[int], bytes], size: int) -> bytes:
    """About so many bytes of frames in a row."""
    out = bytearray()
    number = 3
    while len(out) < size:
        out += frames(number)
        number += 1
    return bytes(out)


FLOODS: dict[str, Callable[[int], bytes]] = {
    "keep-alives": lambda n: flap(n, b"", 5),
    "errors": lambda n: flap(n, b"x", 3),
    "empty data": lambda n: flap(n, b"", 2),
    "empty snacs": lambda n: flap(n, snac(4, 6), 2),
    "messages": lambda n: flap(n, im("bob", fragment(b"x"), more=b""), 2),
    "new names": lambda n: flap(n, im(f"peer{n}", fragment(b"x"), more=b""), 2),
    "offers": lambda n: flap(n, offered(f"peer{n}", guid("1343"), more=b""), 2),
    "services": lambda n: flap(n, snac(1, 4, u16(0x0E), n), 2),
    "hellos": lambda n: flap(n, HELLO, 1),
}


def drive(data: bytes, piece_size: int, verdict: Verdict = PASSED) -> tuple[float, OscarDecoder]:
    """(seconds that reading and writing took, the decoder) for a client's flood behind a sign-on."""
    decoder = OscarDecoder(
        Flow("f", Address("10.0.0.5", 4), Address("192.0.2.1", 5190)), Limits(), SharedMemory(100),
        frozenset({DROP_LYING, KEEP_PATH}))
    for way, said in numbered(BOS, 0, 0):
        for frame in decoder.feed(Chunk(way, 1.0, said)):
            decoder.apply(frame, [PASSED] * len(frame.events))
    start = time.process_time()
    for at in range(0, len(data), piece_size):
        for frame in decoder.feed(Chunk(UP, 2.0, data[at:at + piece_size])):
            decoder.apply(frame, [verdict] * len(frame.events))
    return time.process_time() - start, decoder


@pytest.mark.parametrize("name", sorted(FLOODS))
def test_a_flood_of_small_frames_is_linear_and_keeps_nothing(name: str) -> None:
    """A mebibyte of the smallest frames, in one read: sixteen times the bytes take nearer 16 than 256 times as long,
    and what the decoder remembers is bounded, refused or not."""
    refused = Verdict(Action.BLOCK, "r", notice="No.")
    for verdict, size in ((PASSED, 1 << 20), (refused, 1 << 18)):
        large, small = flood(FLOODS[name], size), flood(FLOODS[name], size >> 4)
        least = min(drive(small, len(small), verdict)[0] for _ in range(2))
        took, decoder = drive(large, len(large), verdict)
        assert took < 80 * max(least, 1e-3)
        assert len(decoder._offers) <= Limits().oscar_offers
        assert len(decoder._asked) <= 64
        assert len(decoder._ours) <= 64
        assert max(map(len, decoder._peers)) <= 128
        assert max(map(len, decoder._owed)) <= 32
        assert decoder.pending(UP) == 0


def test_a_dribbled_flood_costs_what_its_bytes_cost() -> None:
    """One byte a read: as many looks as bytes, none of them at what was looked at before."""
    small, large = (flood(FLOODS["messages"], size) for size in (1 << 13, 1 << 16))
    least = min(drive(small, 1)[0] for _ in range(3))
    assert drive(large, 1)[0] < 40 * max(least, 1e-3)


# -- what must never be told

SECRETS = ("c0ffee", "\\xc0\\xff\\xee", "ÀÿîÀÿî", "0123456789abcdef", "30313233343536373839616263646566", "geheim",
           "\\x86T", "8654e2b5", "room ticket", "726f6f6d207469636b6574", "sesam")


def secretive() -> Iterator[tuple[str, list[tuple[Way, bytes]]]]:
    """Conversations with passwords, digests and cookies in them, whole and spoiled at any place."""
    talks: dict[str, list[Item]] = {
        "login": LOGIN, "bos": BOS, "icq": ICQ,
        "closing": [*ICQ[:2], (DOWN, 4, b"\0\5\0\x0bexample:443" + struct.pack(">HH", 6, len(TICKET)) + TICKET)],
        "service": [*BOS, (UP, 2, snac(1, 4, u16(0x0E), 77)), (DOWN, 2, snac(1, 5, redirect(b"a:1")[10:], 77)),
                    (DOWN, 2, snac(1, 0x12, u16(0) + redirect(b"b:2")[10:]))],
        "change": [*ICQ[:4], (UP, 2, snac(7, 4, struct.pack(">HH", 2, 5) + b"sesam" + struct.pack(">HH", 0x12, 6)
                                          + b"geheim"))],
    }
    for name, items in talks.items():
        for spoil in (0, 1, 3, 7):
            cut = [(way, channel, payload[:max(0, len(payload) - spoil)]) for way, channel, payload in items]
            yield f"{name}-{spoil}", numbered(cut)
            yield f"{name}-{spoil}-flipped", numbered([(way.other, channel, p) for way, channel, p in cut])


@pytest.mark.parametrize(
    ("name", "said"), [*secretive(), *TALKS.items()], ids=lambda value: value if isinstance(value, str) else "")
def test_no_secret_reaches_what_is_told(name: str, said: list[tuple[Way, bytes]]) -> None:
    """Passwords, digests and cookies: in no event, oddity or fault, in no row of the log, in no act but the bytes that
    are passed on, and in nothing that is remembered."""
    del name
    memory = Leases(Address("203.0.113.4", 9400))
    decoder = OscarDecoder(
        Flow("f", Address("10.0.0.5", 4), Address("192.0.2.1", 5190)), Limits(), memory, frozenset({KEEP_PATH}))
    heap: list[object] = []
    for way, data in said:
        for frame in decoder.feed(Chunk(way, 1.0, data)):
            heap += [frame.kind, frame.events, frame.oddities, frame.fault, frame.group]
            if frame.fault is None:
                acts = decoder.apply(frame, [PASSED] * len(frame.events))
                heap += [act for act in acts if not isinstance(act, Send)]
    heap += [memory.leased, memory._entries, decoder._offers, decoder._asked, decoder._peers]
    kit = Kit(classifier((SPEC,)), Rules(1, ToyPolicy(), ToyScanner()), Limits(), archive="full")
    world = World(kit.limits)
    session = EngineSession(Flow("f", Address("10.0.0.5", 1), Address("192.0.2.1", 5190), opened=1.0), kit, world)
    inputs: list[Input] = [Chunk(way, 1.0, data) for way, data in said]
    while inputs:
        for effect in session.step(inputs.pop(0), world):
            if isinstance(effect, Note):
                heap.append(effect.row)
                if effect.durable:
                    inputs.append(Kept(effect.id, 1.0))
            elif isinstance(effect, Scan):
                inputs.append(Scanned(effect.id, 1.0))
    everything = repr(heap)
    assert len(everything) > 100
    for secret in SECRETS:
        assert secret not in everything
