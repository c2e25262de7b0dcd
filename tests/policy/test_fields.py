"""policy.fields: where values come from."""

from __future__ import annotations

import pytest

from inspector.model import DOWN, UP, Encryption, Event, File, FileOffer, FileStart, GroupChange, Opaque, SignOn, Typing
from inspector.policy.fields import DANGEROUS, EVENTS, FIELDS, FILE_TYPES, IMPLIED, Facts, file_types, peers, scheme
from tests.policy.kit import context, finding, message, rules


@pytest.mark.parametrize(("name", "declared", "types"), [
    ("setup.exe", None, {"executable"}),
    ("Photo.JPG.SCR", None, {"executable"}),
    ("setup.exe. . ", None, {"executable"}),
    ("setup.exe:stream.txt", None, {"text", "executable"}),
    ("run.bat", None, {"script"}),
    ("setup.exe\0.jpg", None, {"executable", "image"}),
    ("setup.exe\u200b", None, {"executable"}),
    ("setup.e\u202exe", None, {"executable"}),
    ("setup.exe/", None, {"executable"}),
    ("photo\u202egpj.exe", None, {"executable"}),
    ("offer.xlsm", None, {"document", "macro_document"}),
    ("archive.tar.gz", None, {"archive"}),
    ("x.jar", None, {"executable", "archive"}),
    ("noending", None, {"unknown"}),
    ("", None, {"unknown"}),
    ("x.abcdef", "application/octet-stream", {"unknown", "application/octet-stream"}),
    ("setup.MSI", None, {"installer", "executable"}),
    ("holiday.lnk", None, {"shortcut", "script"}),
    ("page.html", "text/html; charset=utf-8", {"web", "text/html"}),
    ("x", "application/vnd.ms-excel.sheet.macroEnabled.12",
     {"macro_document", "document", "application/vnd.ms-excel.sheet.macroenabled.12"}),
    ("logo.svg", "image/svg+xml", {"image", "web", "image/svg+xml"}),
    ("photo.jpg", "application/x-msdownload", {"image", "executable", "application/x-msdownload"}),
    ("x", "IMAGE/PNG; charset=x", {"image", "image/png"}),
    ("x", "text/javascript", {"script", "text/javascript"}),
])
def test_file_types(name: str, declared: str | None, types: set[str]) -> None:
    """By the ending as Windows reads it and by the declared type: all that apply, so that neither frees the other."""
    assert set(file_types(FileOffer(file_name=name, declared_type=declared))) == types
    assert file_types(message()) == ()


@pytest.mark.parametrize(("name", "declared", "kinds", "media", "types"), [
    ("photo.jpg", "image/jpeg", ("executable",), "application/x-dosexec", {"executable", "application/x-dosexec"}),
    ("photo.jpg", None, ("image",), "image/jpeg", {"image", "image/jpeg"}),
    ("photo.jpg", "image/jpeg", (), None, {"unknown"}),
    ("photo.jpg", None, ("unknown",), "application/octet-stream", {"unknown", "application/octet-stream"}),
    ("setup.exe", None, (), None, {"executable"}),
    ("setup.exe", None, ("text",), "text/plain", {"executable", "text", "text/plain"}),
    ("notes.txt", "text/javascript", ("text",), None, {"script", "text"}),
    ("x", None, ("installer",), None, {"installer", "executable"}),
    ("x", None, ("shortcut",), None, {"shortcut", "script"}),
    ("x", None, ("script",), "application/x-ms-shortcut", {"shortcut", "script", "application/x-ms-shortcut"}),
    ("x", None, ("text",), "text/html", {"web", "text", "text/html"}),
    ("x", None, (), "font/sfnt", {"font", "font/sfnt"}),
    ("x.doc", None, ("macro_document",), None, {"macro_document", "document"}),
    ("x.pdf", None, ("document", "archive", "script"), None, {"document", "archive", "script"}),
    ("", None, ("font",), "Font/WOFF2; x=y", {"font", "font/woff2"}),
])
def test_file_types_of_content(
    name: str, declared: str | None, kinds: tuple[str, ...], media: str | None, types: set[str],
) -> None:
    """What was read counts; of what only a name says, the dangerous kinds: no content makes an .exe harmless."""
    file = File(file_name=name, declared_type=declared, kinds=kinds, media_type=media, sha256="00")
    assert set(file_types(file)) == types


def test_file_types_of_content_that_was_not_read() -> None:
    """A file that passed unread is what its offer says."""
    assert set(file_types(File(file_name="a.png", kinds=("executable",), media_type="x/y"))) == {"image"}


def test_the_words_of_file_types() -> None:
    """Every kind that is dangerous or implied is a word that a policy may use; no ending has a dot."""
    assert set(FILE_TYPES) > DANGEROUS
    assert set(FILE_TYPES) >= {kind for pair in IMPLIED.items() for kind in (pair[0], *pair[1])}
    for kind, more in IMPLIED.items():
        assert all(FILE_TYPES[kind] <= FILE_TYPES[other] for other in more), kind
    endings = frozenset().union(*FILE_TYPES.values())
    assert not [ending for ending in endings if "." in ending or ending != ending.casefold()]


def test_peers() -> None:
    """Each once, unnamed ones not at all, none where there is no other party."""
    assert peers(message(recipients=("a", "", "b", "a")), UP) == ("a", "b")
    assert peers(message(recipients=("",)), UP) == ()
    assert peers(message(sender="a"), DOWN) == ("a",)
    assert peers(Typing(sender=None), DOWN) == ()
    assert peers(SignOn(user="a", identity="claimed"), UP) == ()
    assert peers(GroupChange(action="join", group="#r", member="a"), UP) == ()
    assert peers(FileStart(transfer="1", offer=FileOffer()), UP) == ()
    assert peers(File(recipients=("a", "b")), UP) == ("a", "b")
    assert peers(File(sender="a"), DOWN) == ("a",)


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
        "message": message(), "file": FileOffer(file_name="a.exe", size=1), "file ": File(file_name="a", size=1),
        "sign_on": SignOn(user="a", identity="claimed"), "group": GroupChange(action="join", group="r"),
        "opaque": Opaque(kind="vcard"), "typing": Typing(),
    }
    within = context()
    rules().enter(within)
    for name, event in ((name.strip(), event) for name, event in made.items()):
        facts = Facts(event, within, UP, 0.0, user="u", identity="authenticated", groups=frozenset({"g"}),
                      finding=finding("r", tags=("t",), pack="p@1"))
        for field in FIELDS.values():
            values = facts.of(field.name)
            if field.events is not None and name not in field.events:
                assert values == (), (name, field.name)
    assert {name.strip() for name in made} <= set(EVENTS)
