"""XMPP: names of tags and people, as they are compared and written."""

from __future__ import annotations

import pytest

from inspector.protocols.xmpp.names import (
    as_compared,
    attribute,
    domain_of,
    host_and_port,
    number_of,
    one_line,
    split_tag,
    time_of,
)


@pytest.mark.parametrize(("jid", "compared"), [
    ("Amy@Garden.Example/Desk", "amy@garden.example/Desk"),
    ("amy@garden.example.", "amy@garden.example"),
    ("\uff21my@garden.example/x/Y", "amy@garden.example/x/Y"),
])
def test_people_are_compared_as_servers_do(jid: str, compared: str) -> None:
    """Case, width and a last dot tell no two addresses apart; the resource does (RFC 7622 §3)."""
    assert as_compared(jid) == compared


def test_a_domain_is_what_stands_behind_the_last_at_sign() -> None:
    """Whoever is named, his server is compared in lower case, without a last dot."""
    assert domain_of("amy@Garden.Example./desk") == "garden.example"
    assert domain_of("garden.example") == "garden.example"


@pytest.mark.parametrize(("address", "found"), [
    ("chat.example", ("chat.example", 5222)),
    (" chat.example:99 ", ("chat.example", 99)),
    ("[2001:db8::1]:99", ("2001:db8::1", 99)),
    ("2001:db8::1", ("2001:db8::1", 5222)),
    ("chat.example:0", ("", 0)),
    ("chat.example:99999", ("", 0)),
    ("chat example", ("", 0)),
    ("[2001:db8::1", ("", 0)),
    ("", ("", 0)),
])
def test_where_a_client_is_sent(address: str, found: tuple[str, int]) -> None:
    """Host and port of RFC 6120 §4.9.3.19, the usual port where none is named; what is no address is none."""
    assert host_and_port(address) == found


def test_numbers_and_times_are_what_they_say_or_nothing() -> None:
    """Digits of other scripts and endless ones are no numbers; both forms of time are read, others are not."""
    assert [number_of(text) for text in (" 12 ", "-1", "\u0661", "9" * 19, "")] == [12, None, None, None, None]
    assert time_of("2002-09-10T23:08:25Z") == time_of("20020910T23:08:25") == 1031699305.0
    assert [time_of(stamp) for stamp in (None, "", "soon", "2" * 41)] == [None] * 4


def test_what_is_written_stays_inside_its_attribute() -> None:
    """Neither quotes nor line ends of a peer's leave the place where they are written."""
    assert attribute("to", "a'b<c") == " to='a&apos;b&lt;c'"
    assert attribute("to", None) == ""
    assert one_line("one\r\ntwo\t<three>") == "one  two &lt;three&gt;"


def test_a_tag_has_a_namespace_or_none() -> None:
    """The names that ElementTree writes are taken apart."""
    assert split_tag("{jabber:client}message") == ("jabber:client", "message")
    assert split_tag("message") == ("", "message")
