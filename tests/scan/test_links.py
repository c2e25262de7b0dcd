"""Hosts, addresses and links in texts, and their one spelling."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.scan import linear, links
from inspector.wire.patterns import HOST, HOST_SIX


def hosts(text: str) -> list[str]:
    return [one.host for one in links.find(text.encode())]


@pytest.mark.parametrize(("text", "want"), [
    ("see http://user:pw@EVIL.com:80/x", ["evil.com"]), ("Evil.Com.", ["evil.com"]),
    ("(www.evil.com)", ["www.evil.com"]),
    ("http://%65vil.com/", ["evil.com"]), ("http:\\\\evil.com\\x", ["evil.com"]), ("访问evil.com吧", ["evil.com"]),
    ("bücher.example", ["xn--bcher-kva.example"]), ("BÜCHER。example", ["xn--bcher-kva.example"]),
    ("“evil.com”", ["evil.com"]), ("http://0x7f.1/", ["127.0.0.1"]), ("http://2130706433/", ["127.0.0.1"]),
    ("http://0177.0.0.1/", ["127.0.0.1"]), ("ip 10.0.0.1!", ["10.0.0.1"]), ("v1.2.3 and 12.5", []),
    ("http://[2001:db8:0::1]:80/", ["2001:db8::1"]), ("at 12:30:45", []), ("end.Next", ["end.next"]),
    ("2001:DB8:0:0:0:0:0:1", ["2001:db8::1"]), ("http://%65%76%69%6c%2e%63om/", ["evil.com"]),
    ("http://evil%EF%BC%8Ecom", ["evil.com"]), ("http://%32130706433/", ["127.0.0.1"]),
    ("http://a@b@2130706433./", ["127.0.0.1"]), ("http:2130706433", ["127.0.0.1"]),
    ("http:/0x7F000001/", ["127.0.0.1"]), ("http://[64:ff9b::7f00:1]/", ["127.0.0.1"]),
])
def test_hosts_are_found_in_one_spelling(text: str, want: list[str]) -> None:
    """Case, user information, port, final dot, percent-encoding, backslashes, other scripts, numbers as addresses."""
    assert [one for one in hosts(text) if not one.startswith("xn--") or one in want] == want


def test_letters_beside_a_host_belong_to_it() -> None:
    """A letter of an alphabet before an ASCII name makes another name of it; a Han letter does not."""
    assert "evil.com" not in hosts("üevil.com")
    assert "evil.com" not in hosts("evil.comé")
    assert "evil.com" not in hosts("not-evil.com")
    assert "evil.com" in hosts("去evil.com")


@pytest.mark.parametrize(("one", "other"), [
    ("http://evil.com", "https://EVIL.com/"), ("http://evil.com:80/a", "evil.com/a"),
    ("http://evil.com/%7Ea", "http://evil.com/~a"), ("http://evil.com/a#b", "http://evil.com/a"),
    ("http://evil.com/./b/%2E./a", "http://evil.com/a"), ("http://evil.com:00080/a", "http://evil.com:/a"),
    ("http://evil.com/%2f", "http://evil.com/%2F"), ("http:\\\\evil.com\\a", "http://evil.com/a"),
])
def test_links_with_one_spelling(one: str, other: str) -> None:
    """What leads to the same place has the same first spelling."""
    assert [next(link.spellings()) for link in links.find(one.encode())] == [
        next(link.spellings()) for link in links.find(other.encode())
    ]


def test_closing_signs_and_queries() -> None:
    """A link is looked up as it is, without its query, and without the signs that close the sentence."""
    (link,) = links.find(b"(see http://evil.com/a?b=1).")
    assert list(link.spellings()) == ["evil.com/a?b=1).", "evil.com/a", "evil.com/a?b=1)", "evil.com/a?b=1"]


def test_strict_hosts_are_names_only() -> None:
    """A list may not have numbers as names, nor percent-encoding."""
    assert links.host("1.2.3.4", strict=True) is None
    assert links.host("%65vil.com", strict=True) is None
    assert links.host("evil..com") is None
    assert links.host("a" * 64 + ".com") is None


@pytest.mark.parametrize("piece", ["a.", "a.b ", "é.", "::", "1:", "%41.", "http://", "http://a@",
    "ü", "1.1.1.1 ", "。",
                                   "a.b/????"])
def test_finding_is_linear(piece: str) -> None:
    """Twice the text takes about twice as long, whatever it is made of."""
    def seconds(size: int) -> float:
        data = (piece * size).encode()[:size]
        start = time.process_time()
        for link in links.find(data):
            list(link.spellings())
        return time.process_time() - start

    assert seconds(64_000) < 12 * max(seconds(16_000), 0.004)


_TAIL = linear.pattern(rb"(?::([0-9]{1,12})?)?([/\\?#][^\s<>\"\x00-\x1f]*)?")


@given(st.lists(st.sampled_from([
    b":", b"/", b"\\", b"?", b"#", b"80", b"0" * 13, b"a", b" ", b"\x0b", b"\t", b"<", b'"', b"\xc2\xa0", b"\x1f",
    b"x" * 2100,
]), max_size=8).map(b"".join))
def test_the_tail_of_a_link_is_what_its_grammar_says(tail: bytes) -> None:
    """Port, path and query are cut out by hand as an expression would cut them out, whatever follows the host."""
    found = next(links.find(b"see evil.example" + tail), None)
    if found is None or found.host != "evil.example":
        return
    match = _TAIL.match(tail[:links.LINK_BYTES])
    assert (found.port.encode(), found.tail) == (match.group(1) or b"", match.group(2) or b"")


@given(st.lists(st.sampled_from([
    b"/", b"\\", b"?", b"#", b"%41", b"%2e", b"%2F", b".", b"..", b"/./", b"a", b"%", b"=", b"%7E",
]), max_size=9).map(b"".join))
def test_a_plain_tail_takes_a_short_way_to_the_same_spelling(tail: bytes) -> None:
    """What has nothing to be decoded is the same by the short way as by the long one."""
    tail = tail if tail[:1] in (b"/", b"\\", b"?", b"#") else b"/" + tail if tail else b""
    path, mark, query = links._plain(tail)
    assert links.link_key("evil.example", "", tail) == "evil.example" + (path + mark + query).decode("latin-1")


_PLAIN = linear.pattern(rb"(?i)[a-z0-9_%][a-z0-9_\-%]*(?:\.[a-z0-9_%][a-z0-9_\-%]*)+")
_PLAIN_SIX = linear.pattern(rb"(?i)(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?:\.[0-9]{1,3}){0,3}")


@given(st.text("aZ0_-%. /\u00e9", max_size=40).map(str.encode))
def test_hosts_are_cut_as_the_plain_pattern_cuts_them(data: bytes) -> None:
    """What makes the pattern fast (where a host may begin, no way back) changes nothing of what it finds."""
    assert [one.span(1) for one in HOST.finditer(data)] == [one.span() for one in _PLAIN.finditer(data)]


@given(st.text("0aF:. g", max_size=40).map(str.encode))
def test_ipv6_addresses_are_cut_as_re2_cuts_them(data: bytes) -> None:
    """Both engines find the same, and no address is taken for a time of day."""
    spans = [one.span() for one in HOST_SIX.finditer(data)]
    assert spans == [one.span() for one in _PLAIN_SIX.finditer(data)]
    for start, end in spans:
        text = data[start:end]
        if b"::" not in text and text.count(b":") < 6:
            assert links.ip(text.decode()) is None
