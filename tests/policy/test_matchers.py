"""policy.matchers: globs, names, numbers, windows, networks; all linear in the value."""

from __future__ import annotations

import datetime
import fnmatch
import ipaddress
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.policy.matchers import (
    Glob,
    Names,
    Networks,
    Numbers,
    Pattern,
    PatternSet,
    Truth,
    Window,
    Windows,
    zone_named,
)


@given(st.text(alphabet="ab*", max_size=8), st.text(alphabet="ab", max_size=12))
def test_a_glob_is_what_a_shell_takes_it_for(pattern: str, value: str) -> None:
    """`*` stands for any characters, none included; the same as fnmatch where only stars are special."""
    if "*" in pattern:
        assert Glob(pattern).holds(value) is fnmatch.fnmatchcase(value, pattern)


def test_only_the_star_is_special() -> None:
    """Question marks, brackets and dots stand for themselves."""
    assert Glob("a?[b]*").holds("a?[b].c")
    assert not Glob("a?*").holds("ab")


def test_globs_are_linear() -> None:
    """Many stars over a long value that almost matches do not take quadratic time, let alone exponential."""
    glob = Glob("*a" * 50 + "*b")
    started = time.perf_counter()
    assert not glob.holds("a" * 200_000)
    assert time.perf_counter() - started < 0.5


def test_names_fold_case_only_where_told() -> None:
    """People's names are compared without case, our own words exactly."""
    assert Names(["Bob*", "ALICE"], fold=True).holds("alice")
    assert Names(["Bob*", "ALICE"], fold=True).holds("bOBby")
    assert not Names(["Bob"]).holds("bob")


@pytest.mark.parametrize(("word", "address", "holds"), [
    ("*@example.net", "bob@example.net", True),
    ("*@example.net", "bob@example.net/phone", True),
    ("*@example.net", "eve@evil.example/@example.net", False),
    ("*@example.net", "eve@evil.example/x/bob@example.net", False),
    ("bob@example.net", "Bob@Example.NET/phone", True),
    ("bob@example.net/phone", "bob@example.net/phone", True),
    ("bob@example.net/phone", "bob@example.net/desk", False),
    ("bob@example.net/phone", "bob@example.net", False),
    ("*/phone", "eve@evil.example/phone", True),
    ("*/p*", "eve@evil.example/phone", True),
    ("*", "anybody@example.org/x", True),
    ("example.net", "bob@example.net", False),
])
def test_a_resource_cannot_lend_a_name(word: str, address: str, holds: bool) -> None:
    """The resource of an XMPP address is its owner's free choice: it counts only where the word has one."""
    assert Names([word], fold=True).holds_jid(address) is holds


def test_numbers() -> None:
    """Ranges include their ends; open ends are open."""
    numbers = Numbers([(6660, 6669), (None, 10), (7000, None)])
    assert [value for value in (-1, 10, 10.5, 6659, 6660, 6669, 6670, 6999, 7000, 9e9) if numbers.holds(value)] == [
        -1, 10, 6660, 6669, 7000, 9e9,
    ]
    assert not Numbers([]).holds(0)


def test_pattern_takes_any_text() -> None:
    """Lone surrogates, which a decoder may leave in a text, do not raise."""
    pattern = Pattern(["secret", "(?i)project x"])
    assert pattern.holds("a \ud800 PROJECT X")
    assert not pattern.holds("\ud800")
    assert PatternSet([pattern.joined, "zzz"]).found(["a \ud800", "secret"]) == {-1, 0}
    assert PatternSet(["a"]).found([]) == {-1}


def test_flags_of_one_pattern_do_not_leak_into_the_next() -> None:
    """Patterns of one condition are joined; (?i) holds for its own alone."""
    assert not Pattern(["(?i)abc", "XYZ"]).holds("xyz")


def moment(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def test_windows_follow_the_zone() -> None:
    """Hours are those of the zone, summer time included; the end is not included."""
    zone = zone_named("Europe/Zurich")
    assert zone is not None
    window = Window(frozenset(range(5)), 8 * 60, 18 * 60, zone)
    assert window.holds(moment("2026-07-01T06:00:00+00:00"))
    assert not window.holds(moment("2026-07-01T05:59:59+00:00"))
    assert window.holds(moment("2026-12-01T16:59:59+00:00"))
    assert not window.holds(moment("2026-12-01T17:00:00+00:00"))
    assert not window.holds(moment("2026-12-05T12:00:00+00:00"))


def test_a_window_over_midnight_belongs_to_the_day_it_starts_on() -> None:
    """Friday 22:00 to 06:00 goes on until Saturday 06:00, and does not begin on Friday morning."""
    window = Window(frozenset({4}), 22 * 60, 6 * 60, datetime.UTC)
    assert window.holds(moment("2026-12-04T23:00:00+00:00"))
    assert window.holds(moment("2026-12-05T05:59:00+00:00"))
    assert not window.holds(moment("2026-12-05T06:00:00+00:00"))
    assert not window.holds(moment("2026-12-04T05:00:00+00:00"))


@given(st.floats())
def test_any_time_has_an_answer(at: float) -> None:
    """A capture may claim any time: no exception, and no match outside of the calendar."""
    window = Window(frozenset(range(7)), 0, 24 * 60, datetime.UTC)
    assert window.holds(at) is (0 <= at < 253_000_000_000)


def test_zones() -> None:
    """Names of the time zone database, UTC in any case; nothing else, and no path."""
    assert zone_named("utc") is datetime.UTC
    assert zone_named("Europe/Zurich") is not None
    for name in ("Mars", "../../etc/passwd", "Europe", "", "/etc/localtime", "a\0b"):
        assert zone_named(name) is None, name


def test_networks() -> None:
    """Both families; an IPv4 address written as IPv6 is IPv4; what is no address is in none."""
    networks = Networks([ipaddress.ip_network(text) for text in ("10.0.0.0/8", "fe80::/10", "::1/128")])
    for inside in ("10.255.0.1", "::ffff:10.0.0.1", "fe80::1", "fe80::1%eth0", "::1"):
        assert networks.holds(inside), inside
    for outside in ("11.0.0.1", "::2", "", "chat.example.net", "10.0.0", "::ffff:11.0.0.1"):
        assert not networks.holds(outside), outside


WORDS = st.lists(st.text(alphabet="ab*/", min_size=1, max_size=5), min_size=1, max_size=3)


@given(WORDS, WORDS, st.text(alphabet="ab/", max_size=6))
def test_what_covers_accepts_all_of_it(mine: list[str], theirs: list[str], value: str) -> None:
    """If one list covers another, every value that the other accepts is accepted, as a name and as an XMPP address."""
    one, other = Names(mine, fold=True), Names(theirs, fold=True)
    if one.covers(other):
        assert one.holds(value) or not other.holds(value)
        assert one.holds_jid(value) or not other.holds_jid(value)


def test_what_covers() -> None:
    """Covering is found for lists, globs, ranges, patterns and windows, and only within one kind of matcher."""
    assert Names(["a*", "x"]).covers(Names(["abc", "ab*", "x"]))
    assert not Names(["a*"]).covers(Names(["*a"]))
    assert not Names(["a"]).covers(Names(["a", "b"]))
    assert Numbers([(None, 10)]).covers(Numbers([(3, 4), (None, 2)]))
    assert not Numbers([(1, 10)]).covers(Numbers([(None, 2)]))
    assert not Numbers([(1, 10)]).covers(Numbers([(2, None)]))
    assert Pattern(["a", "b"]).covers(Pattern(["b"]))
    assert not Pattern(["b"]).covers(Pattern(["a", "b"]))
    assert Truth(True).covers(Truth(True))
    assert not Truth(True).covers(Truth(False))
    window = Window(frozenset({1}), 0, 60, datetime.UTC)
    assert Windows([window]).covers(Windows([window]))
    assert not Windows([]).covers(Windows([window]))
    assert not Names(["*"]).covers(Numbers([(1, 1)]))
