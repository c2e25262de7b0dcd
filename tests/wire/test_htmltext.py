"""HTML texts in charsets of their own label."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.model import CLEAR, Text
from inspector.wire import htmltext


@pytest.mark.parametrize(("data", "charset", "text"), [
    (b"hello", 0, "hello"),
    ("grün".encode(), 0, "grün"),
    ("grün".encode(), 0x0D, "grün"),
    ("grün".encode("latin-1"), 3, "grün"),
    ("“grün”".encode("cp1252"), 0, "“grün”"),
    ("привет".encode("utf-16-be"), 2, "привет"),
    ("привет".encode("utf-16-be") + b"x", 2, "привет"),
    (b"\x81\x8d", 3, "\x81\x8d"),
])
def test_texts_are_read_by_label_and_by_what_they_are(data: bytes, charset: int, text: str) -> None:
    """ASCII, UTF-8, Latin-1 as Windows-1252, UTF-16 without its odd byte; nothing is refused."""
    assert htmltext.decode(data, charset)[0] == text


@given(st.binary(max_size=60), st.sampled_from((0, 2, 3, 0x0D, 9, 0x1234)), st.booleans())
def test_decoding_is_undone_by_encoding(data: bytes, charset: int, icq: bool) -> None:
    """What was decoded is written back as the same bytes: a mask changes only what it covers."""
    text, codec = htmltext.decode(data, charset, icq)
    assert htmltext.encode(text, codec) == (data[:len(data) & ~1] if charset == 2 else data)


@pytest.mark.parametrize(("charset", "icq", "text"), [(0, True, "привет"), (3, True, "привет"), (0, False, "ïðèâåò")])
def test_russian_between_icq_numbers_is_windows_1251(charset: int, icq: bool, text: str) -> None:
    """Elsewhere the same bytes are Western letters."""
    assert htmltext.decode("привет".encode("cp1251"), charset, icq)[0] == text


def test_what_is_shown_leads_and_hides_is_told() -> None:
    """Shown words, the target of a link, and what stands in a tag that no reader shows."""
    found, places = htmltext.texts('<HTML>go <A HREF="http://x.example/?a&amp;b">there</A><!-- psst --></HTML>')
    assert found == (
        Text("body", "go there"), Text("url", "http://x.example/?a&b"), Text("markup", "-- psst --", None, False))
    assert places[2] is None
    assert htmltext.texts("") == ((), ())


def test_lone_surrogates_and_nul_do_not_leave() -> None:
    """A lone surrogate would make the log fail; NUL is shown by nobody."""
    assert htmltext.clean("a\ud800b\0") == "a\ufffdb"
    assert htmltext.clean("a\0b") == "ab"
    assert htmltext.scalars("a\ud800b\0") == "a\ufffdb\0"
    assert htmltext.texts("\ud800")[0][0].plain == "\ufffd"


def test_a_mask_covers_characters_and_what_is_behind_them() -> None:
    """A reference becomes one star, tags stay, a line break stays, spans outside the text are nothing."""
    text = "<B>a&amp;b</B><BR>c"
    found, places = htmltext.texts(text)
    assert found[0].plain == "a&b\nc"
    assert htmltext.masked(text, places, [(0, 1, 9)]) == "<B>a**</B><BR>*"
    assert htmltext.masked(text, places, [(0, -3, 1), (7, 0, 5), (0, 4, 2)]) == "<B>*&amp;b</B><BR>c"
    link = '<A HREF="ab&amp;c">x</A>'
    assert htmltext.masked(link, htmltext.texts(link)[1], [(1, 1, 3)]) == '<A HREF="a**c">x</A>'
    hidden = "a<!-- b -->"
    assert htmltext.masked(hidden, htmltext.texts(hidden)[1], [(1, 0, 3)]) == hidden


def test_the_wire_s_form_is_kept_where_showing_loses_something() -> None:
    """Evidence beyond the plain text: line breaks of markup, brackets that look like tags; not for mere formatting."""
    for text, kept in (("<B>a</B>", False), ("a&amp;b", False), ("a<BR>b", True), ("&lt;b&gt;", True)):
        assert htmltext.written(text, htmltext.texts(text)[0]) == (text if kept else None)
    assert htmltext.written('<IMG SRC="x">', htmltext.texts('<IMG SRC="x">')[0]) is None
    assert htmltext.written("", ()) is None


def test_ciphers_are_known_by_their_beginning() -> None:
    """OTR and its kind: metadata only."""
    assert htmltext.encryption("hello") == CLEAR
    assert htmltext.encryption("?OTR:AAMD").scheme == "otr"
    assert htmltext.encryption("*** Encrypted with").inspectable == "metadata"


def test_a_placeholder_is_one_escaped_line() -> None:
    """Words of ours cannot become markup; what is not ASCII goes as UTF-16 with the label that says so."""
    assert htmltext.placeholder("no <b>\r\n& more\0") == (b"no &lt;b&gt;  &amp; more ", 0)
    assert htmltext.placeholder("für") == ("für".encode("utf-16-be"), 2)
    assert len(htmltext.placeholder("x" * 5000)[0]) == 1000


@pytest.mark.parametrize(("data", "other"), [
    ("secret".encode("utf-16-le"), "secret"), (b"secret", "secret"), ("secret".encode("utf-16-be"), None),
    ("секрет да".encode("utf-16-be"), None), ("\ufeffsecret".encode("utf-16-le"), "\ufeffsecret"),
])
def test_another_reading_of_wide_letters(data: bytes, other: str | None) -> None:
    """Letters with the little end first, or labelled as wide without being so; nothing for what is as it says."""
    assert htmltext.otherwise(data.decode("utf-16-be"), "utf-16-be") == other


@pytest.mark.parametrize(("text", "label"), [
    ("ｅｖｉｌ．ｅｘａｍｐｌｅ", 0), ("привет мир", 0), ("Գաղտնի", 0), ("𝐬𝐞𝐜𝐫𝐞𝐭", 3), ("秘密です", 0),
    ("s\u3164e\u3164c\u3164r\u3164e\u3164t", 0), ("secret\u3164", 3),
])
def test_utf_16_that_is_labelled_otherwise_is_read_as_such_too(text: str, label: int) -> None:
    """Letters beyond ASCII in UTF-16 under the label of bytes: what a client reads that knows better is looked at."""
    for behind in (b"", *((b"!",) if len(text) > 5 else ())):  # half a letter too much
        read, codec = htmltext.decode(text.encode("utf-16-be") + behind, label)
        assert read != text
        assert htmltext.otherwise(read, codec) == text


@pytest.mark.parametrize(("data", "label"), [
    (b"plain words", 0), ("Grüße aus München und Umgebung".encode("cp1252"), 3), ("Grüße, Zoë!!".encode(), 0x0D),
    ("Привет, как дела?".encode("cp1251"), 3), (b"two\r\nlines", 0), (b"od\x01", 0),
    ("Grüße aus München!".encode("cp1252"), 3), ("grüße".encode("cp1252"), 3),
])
def test_usual_texts_are_read_in_one_way(data: bytes, label: int) -> None:
    """What is a text of bytes, by its look, is not searched a second time."""
    assert htmltext.otherwise(*htmltext.decode(data, label)) is None
