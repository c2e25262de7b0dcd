"""Addresses of side connections: one spelling, whoever wrote it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.wire import urls


@pytest.mark.parametrize(("written", "key"), [
    ("https://Up.Example.COM/p/plan.pdf", "up.example.com:443/p/plan.pdf"),
    ("http://up.example.com", "up.example.com:80/"),
    ("HTTPS://u:pw@up.example.com.:5443/a?b=1#c", "up.example.com:5443/a?b=1"),
    ("https://up.example.com/%7ea%2fb%c3%bc ü", "up.example.com:443/~a%2Fb%C3%BC%20%C3%BC"),
    ("https://[2001:DB8::1]:444/x", "[2001:db8::1]:444/x"),
    ("https://[::1]/x", "[::1]:443/x"),
    ("https://up.example.com?q", "up.example.com:443/?q"),
    ("https://up.example.com\\a\\b", "up.example.com:443/a/b"),
    (" https://up.example.com/100% \n", "up.example.com:443/100%25"),
])
def test_one_spelling(written: str, key: str) -> None:
    """Case, default ports, user information, fragments and percent-encoding make no difference."""
    url = urls.read(written)
    assert url is not None
    assert url.key == key
    assert url.key.startswith(url.address)


@pytest.mark.parametrize("written", [
    "", "up.example.com/x", "ftp://up.example.com/x", "https://", "https:///x", "https://up.example.com:0/",
    "https://up.example.com:99999/", "https://up.example.com:8a/", "https://[::1]x/", "https://a b/",
    "https://up.example.com/" + "a" * urls.URL_BYTES,
])
def test_what_is_no_address(written: str) -> None:
    """Another scheme, no host, a port that is none, more than anybody writes."""
    assert urls.read(written) is None


def test_places() -> None:
    """Host and port of a side connection."""
    assert urls.place("Files.Example.", 1080) == "files.example:1080"
    assert urls.place("::1", "5086") == "[::1]:5086"
    assert urls.place("[::1]", 5086) == "[::1]:5086"


@given(st.text(max_size=60))
def test_a_spelling_is_its_own_spelling(text: str) -> None:
    """Spelled twice is spelled once, for any text; reading never raises."""
    urls.read(text)
    urls.read(f"https://h/{text}")
    once = urls.spelled(text)
    assert urls.spelled(once) == once
    assert once.isascii()


def test_linear() -> None:
    """A long target of the worst kind is spelled in time in proportion to its length."""
    started = time.perf_counter()
    urls.spelled("/" + "%" * 200_000)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(("url", "said"), [
    ("https://up.example/g/x.png?sig=1#k", "https://up.example/g/x.png"),
    ("ftp://joe:a@b@files.example/x@y", "ftp://files.example/x@y"),
    ("http://files.example?a@b/c", "http://files.example"),
    ("cid:sha1+00@bob.xmpp.org", "cid:sha1+00@bob.xmpp.org"), ("", ""),
])
def test_what_the_log_may_have_of_an_address(url: str, said: str) -> None:
    """No user information, no query, no fragment, whatever the scheme."""
    assert urls.shown(url) == said
