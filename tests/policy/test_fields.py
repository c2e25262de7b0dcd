"""policy.fields: where values come from."""

from __future__ import annotations

import pytest

from inspector.model import DOWN, UP, Encryption, Event, FileOffer, GroupChange, Opaque, SignOn, Typing
from inspector.policy.fields import EVENTS, FIELDS, Facts, file_types, peers, scheme
from tests.policy.kit import context, finding, message, rules


@pytest.mark.parametrize(("name", "declared", "types"), [
    ("setup.exe", None, {"executable"}),
    ("Photo.JPG.SCR", None, {"executable"}),
    ("setup.exe. . ", None, {"executable"}),
    ("setup.exe:stream.txt", None, {"text", "executable"}),
    ("run.bat", None, {"script"}),
    ("offer.xlsm", None, {"document", "macro_document"}),
    ("archive.tar.gz", None, {"archive"}),
    ("x.jar", None, {"executable", "archive"}),
    ("noending", None, set()),
    ("", None, set()),
    ("photo.jpg", "application/x-msdownload", {"image", "executable", "application/x-msdownload"}),
    ("x", "IMAGE/PNG; charset=x", {"image", "image/png"}),
    ("x", "text/javascript", {"script", "text/javascript"}),
])
def test_file_types(name: str, declared: str | None, types: set[str]) -> None:
    """By the ending as Windows reads it and by the declared type: all that apply, so that neither frees the other."""
    assert set(file_types(FileOffer(file_name=name, declared_type=declared))) == types
    assert file_types(message()) == ()


def test_peers() -> None:
    """Each once, unnamed ones not at all, none where there is no other party."""
    assert peers(message(recipients=("a", "", "b", "a")), UP) == ("a", "b")
    assert peers(message(recipients=("",)), UP) == ()
    assert peers(message(sender="a"), DOWN) == ("a",)
    assert peers(Typing(sender=None), DOWN) == ()
    assert peers(SignOn(user="a", identity="claimed"), UP) == ()
    assert peers(GroupChange(action="join", group="#r", member="a"), UP) == ()


@pytest.mark.parametrize(("event", "value"), [
    (message(), "none"), (message(encryption=Encryption("full", "otr")), "otr"),
    (message(encryption=Encryption("none")), None), (Opaque(kind="x", encryption=Encryption("metadata", "ox")), "ox"),
    (Typing(), None),
])
def test_scheme(event: Event, value: str | None) -> None:
    """The scheme; "none" where content is readable; unknown where it is not and nobody knows how."""
    assert scheme(event) == value


def test_every_field_has_a_value_or_none_for_every_event() -> None:
    """The plain interpreter can ask any field of any event; those the table denies an event are unknown there."""
    made: dict[str, Event] = {
        "message": message(), "file": FileOffer(file_name="a.exe", size=1),
        "sign_on": SignOn(user="a", identity="claimed"), "group": GroupChange(action="join", group="r"),
        "opaque": Opaque(kind="vcard"), "typing": Typing(),
    }
    within = context()
    rules().enter(within)
    for name, event in made.items():
        facts = Facts(event, within, UP, 0.0, user="u", identity="authenticated", groups=frozenset({"g"}),
                      finding=finding("r", tags=("t",), pack="p@1"))
        for field in FIELDS.values():
            values = facts.of(field.name)
            if field.events is not None and name not in field.events:
                assert values == (), (name, field.name)
    assert set(made) <= set(EVENTS)
