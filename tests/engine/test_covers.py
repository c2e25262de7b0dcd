"""A release covers the legs that follow it, and nothing else."""

from __future__ import annotations

import msgspec

from inspector.engine.covers import SEALED, Covers, digest_of, digest_of_texts
from inspector.model import DOWN, UP, Encryption, Message, Text, Way
from tests.engine.toy import cover
from tests.playbook import START


def covered(covers: Covers, event: Message, user: str = "ann", way: Way = UP, flow: str = "f") -> bool:
    return covers.find(event, digest_of_texts(event.texts), "toy", user, way, flow, START) is not None


HELD_TEXT = (Text("body", "please hold this"),)


def test_nobody_is_nobody_s_sender() -> None:
    """A message without a writer is not covered by a release of one without."""
    covers = Covers(8)
    covers.add(cover(sender=""), START)
    assert not covered(covers, Message(recipients=("bob",), texts=HELD_TEXT), way=DOWN)


def test_only_readers_know_a_writer_by_the_room() -> None:
    """Going up nobody is the room."""
    covers = Covers(8)
    covers.add(cover(sender="ann@a", conversation="room@muc", recipients=("room@muc",)), START)
    message = Message(
        sender="room@muc/x", conversation="room@muc", recipients=("room@muc",), texts=HELD_TEXT, in_room=True)
    assert not covered(covers, message, "eve@a")
    assert covered(covers, message, "eve@a", DOWN)


def test_a_reader_is_no_room() -> None:
    """What was released for one person he cannot send on to others: to them he is both writer and conversation."""
    covers = Covers(8)
    covers.add(cover(sender="ann@a", conversation="bob@a", recipients=("bob@a",)), START)
    message = Message(sender="bob@a/x", conversation="bob@a", recipients=("carol@a",), texts=HELD_TEXT)
    assert not covered(covers, message, "carol@a", DOWN)
    leg = Message(sender="ann@a/x", conversation="ann@a", recipients=("bob@a",), texts=HELD_TEXT)
    assert covered(covers, leg, "bob@a", DOWN)


def test_a_slash_is_a_resource_only_behind_an_address() -> None:
    """Names of channels may hold one: another channel is another conversation."""
    covers = Covers(8)
    covers.add(cover(conversation="#plan/open", recipients=("#plan/open",)), START)
    assert not covered(covers, Message(conversation="#plan/x", recipients=("#plan/x",), texts=HELD_TEXT))
    assert covered(covers, Message(conversation="#plan/open", recipients=("#plan/open",), texts=HELD_TEXT))


def test_a_release_covers_so_many_sessions_only() -> None:
    """Who signs on again and again does not say it for ever, and the memory of it is bounded."""
    covers = Covers(8, readers=3)
    covers.add(cover(), START)
    message = Message(sender="ann", recipients=("bob",), texts=HELD_TEXT)
    assert [covered(covers, message, flow=str(n)) for n in range(5)] == [True, True, True, False, False]


def test_a_digest_of_nothing_covers_nothing() -> None:
    """A file that was not read whole has none."""
    covers = Covers(8)
    covers.add(cover(digest=""), START)
    assert covers.find(Message(sender="ann", recipients=("bob",)), "", "toy", "ann", UP, "f", START) is None


def test_what_could_not_be_read_has_no_digest_and_is_not_covered() -> None:
    """All encrypted messages show the same words beside what is encrypted: a release of one is none of the next."""
    secret = Message(sender="ann", recipients=("bob",), texts=HELD_TEXT, encryption=Encryption("none", "omemo"))
    assert digest_of(secret) == ""
    assert digest_of(msgspec.structs.replace(secret, encryption=Encryption("metadata", "omemo"))) == ""
    assert digest_of(Message(sender="ann")) == ""
    assert digest_of(Message(sender="ann", texts=(Text("body", ""),))) == ""
    assert digest_of(msgspec.structs.replace(secret, encryption=Encryption())) == digest_of_texts(HELD_TEXT)


def test_the_same_ciphertext_is_the_same_message() -> None:
    """Where the decoder tells it apart from others, a release of an encrypted message covers its legs, that one's."""
    secret = Message(sender="ann", recipients=("bob",), texts=HELD_TEXT, encryption=Encryption("metadata", "omemo"),
                     sealed="aa")
    digest = digest_of(secret)
    assert digest.startswith(SEALED)
    others = [msgspec.structs.replace(secret, **change) for change in (
        {"sealed": "ab"}, {"sealed": ""}, {"sealed": None}, {"texts": ()}, {"encryption": Encryption()})]
    assert len({digest, *map(digest_of, others)}) == 6
    assert digest_of(msgspec.structs.replace(secret, texts=(), sealed="")) == "", "nothing of it is known"
    covers = Covers(8)
    covers.add(cover(digest=digest), START)
    assert covers.find(secret, digest, "toy", "bob", DOWN, "g", START) is not None


def test_covers_are_bounded_and_forgotten_in_time() -> None:
    """The oldest goes first; those whose time is over go with the next one that comes."""
    covers = Covers(2)
    for number in range(3):
        covers.add(cover(hold=f"h{number}", digest=str(number)), START)
    message = Message(sender="ann", recipients=("bob",))
    found = [covers.find(message, str(number), "toy", "ann", UP, "f", START) for number in range(3)]
    assert [each.hold if each else None for each in found] == [None, "h1", "h2"]
    covers.add(cover(hold="h9", until=START + 9000), START + 700)
    assert covers.find(message, "2", "toy", "ann", UP, "g", START) is None


def test_in_a_room_the_reader_s_leg_names_the_writer_by_the_room() -> None:
    """The same conversation says that it is the same message."""
    covers = Covers(8)
    covers.add(cover(sender="ann@example", conversation="room@muc", recipients=("room@muc",)), START)
    leg = Message(
        sender="room@muc/Ann", conversation="room@muc", texts=(Text("body", "please hold this"),), in_room=True)
    digest = digest_of_texts(leg.texts)
    assert covers.find(leg, digest, "toy", "bob@example", DOWN, "g", START) is not None
    other = msgspec.structs.replace(leg, sender="eve@example", conversation="eve@example")
    assert covers.find(other, digest, "toy", "bob@example", DOWN, "h", START) is None
