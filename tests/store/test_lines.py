"""Lines: order, nulls, times, privacy, and what a terminal may see."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inspector.model import UP, Action, Finding, Hit, Text
from inspector.store.lines import mask, private, render, rfc3339, shown, unknown
from tests.store.rows import T, bare, full, message


def test_the_head_comes_first_and_in_order() -> None:
    """event, schema, id, t, gateway, file (captures only), flow, then the kind's own fields."""
    line = render(message(3, file="a.pcap"), "gw1")
    assert line.startswith(
        b'{"event":"message","schema":1,"id":"00f1-3","t":"2025-11-24T16:00:00.123456Z","gateway":"gw1",'
        b'"file":"a.pcap","flow":"00f1","protocol":"irc","kind":"chat","way":"up","direction":null,"sender":"alice",'
        b'"recipients":["bob"],"user":"alice","identity":null,"conversation":null,"text":"message 3",'
        b'"encryption":{"inspectable":"full","scheme":null},"copy":"no"'
    )


def test_unknown_is_null_never_absent() -> None:
    """A verdict of which nothing is known has all its fields: null, or [] for lists."""
    line = json.loads(render(bare("verdict"), None))
    assert line["rule"] is None and line["gateway"] is None and line["flow"] is None
    assert line["findings"] == [] and line["packs"] == [] and line["recipients"] == []
    assert line["late"] is False
    assert json.loads(render(bare("message"), None))["copy"] == "no"


def test_values_of_the_model_are_written_by_name() -> None:
    """Enumerations, findings, hits and texts of the model may stand in a row as they are."""
    line = json.loads(render(bare(
        "verdict", way=UP, did=Action.BLOCK, action=Action.BLOCK, hits=(Hit("r", Action.CUT, "shadow"),),
        findings=(Finding("dlp", "dlp.iban", "high", spans=((0, 1, 2),)),),
    ), None))
    assert (line["way"], line["did"]) == ("up", "block")
    assert line["hits"] == [{"rule": "r", "action": "cut", "mode": "shadow"}]
    assert line["findings"] == [
        {"detector": "dlp", "rule": "dlp.iban", "severity": "high", "pack": None, "detail": None, "tags": []}]
    line = json.loads(render(message(1, texts=(Text("body", "hi", "en"),)), None))
    assert line["texts"] == [{"part": "body", "text": "hi", "lang": "en"}]


def test_a_contact_lists_block_is_no_action_of_the_gateway() -> None:
    """What a user does to his list is `change`; `action` is only ever what the gateway did."""
    line = json.loads(render(bare("contact", action="block", contact="eve"), None))
    assert line["change"] == "block" and "action" not in line


def test_secrets_and_other_fields_outside_the_catalogue_are_not_written() -> None:
    """A field that docs/events.md does not name never reaches the log, and can be told apart."""
    row = bare("sign_on", user="alice", password="hunter2", token="xoxb-1")
    assert b"hunter2" not in render(row, None) and b"xoxb" not in render(row, None)
    assert unknown(row) == ("password", "token")
    assert unknown(full("message", spans=[])) == ()


def test_an_event_outside_the_catalogue_is_refused() -> None:
    """render raises KeyError for a kind that has no fields."""
    with pytest.raises(KeyError):
        render(bare("nonsense"), None)


@pytest.mark.parametrize(("t", "written"), [
    (0.0, "1970-01-01T00:00:00.000000Z"), (1.9999999, "1970-01-01T00:00:02.000000Z"),
    (T, "2025-11-24T16:00:00.123456Z"), (-5.0, "1970-01-01T00:00:00.000000Z"),
    (1e30, "9999-12-31T23:59:59.999999Z"), (math.nan, "1970-01-01T00:00:00.000000Z"),
    (253402300799.99999999, "9999-12-31T23:59:59.999999Z"), (math.inf, "9999-12-31T23:59:59.999999Z"),
])
def test_times(t: float, written: str) -> None:
    """Microseconds in UTC; a capture's impossible times become the nearest possible ones."""
    assert rfc3339(t) == written


@given(st.text())
def test_any_text_makes_one_harmless_line_of_the_same_json(text: str) -> None:
    """Whatever a peer writes, the line is JSON of the same text, and printable."""
    line = render(message(1, text=text), "gw1").decode()
    assert line.isprintable()
    assert json.loads(line)["text"] == text


def test_lone_surrogates_and_huge_numbers_do_not_break_a_line() -> None:
    """What JSON in UTF-8 cannot hold is replaced, not raised."""
    line = json.loads(render(message(1, text="a\ud800b", sent_at=2.0**70), None))
    assert line["text"] == "a?b" and line["sent_at"].startswith("9999-")
    assert json.loads(render(bare("file", size=2**80, name=["\ud800"]), None))["size"] == 2**80


@given(st.text())
def test_what_is_shown_is_printable_and_unambiguous(text: str) -> None:
    """One line, no control, no invisible or reversing character; and it says exactly what was sent."""
    seen = shown(text)
    assert seen.isprintable()
    try:
        assert seen.encode("latin-1", "backslashreplace").decode("unicode_escape") == text
    except UnicodeDecodeError as fault:
        raise AssertionError(seen) from fault


@pytest.mark.parametrize(("text", "seen"), [
    ("hello", "hello"), ("a\x1b[2J\r\nb", "a\\x1b[2J\\r\\nb"), ("\u202eevil", "\\u202eevil"), ("\x9b31m", "\\x9b31m"),
    ("a\\n", "a\\\\n"), ("Grüezi 漢字 😀", "Grüezi 漢字 😀"), ("z\u200bw", "z\\u200bw"), ("\u2028", "\\u2028"),
])
def test_shown(text: str, seen: str) -> None:
    """Controls, escapes, line ends, bidi and zero-width characters are shown; letters of the world stay."""
    assert shown(text) == seen


def _card(**more: object) -> dict[str, object]:
    return message(1, text="card 4111", texts=[{"part": "subject", "text": "pay", "lang": None},
                                              {"part": "body", "text": "card 4111", "lang": None}], **more)


def test_privacy_full_changes_nothing() -> None:
    """full: the same row."""
    row = _card(spans=[(1, 5, 9)])
    assert private(row, "full") is row


def test_privacy_masked_covers_what_a_finding_named() -> None:
    """masked: the spans are covered in every place the text stands, the rest stays; the row given is not changed."""
    row = _card(spans=[(1, 5, 9)])
    out = private(row, "masked")
    assert out["text"] == "card ****"
    assert [part["text"] for part in out["texts"]] == ["pay", "card ****"]
    assert row["text"] == "card 4111"


def test_privacy_masked_covers_all_when_a_finding_has_no_place() -> None:
    """masked, spans None: every word of the event is covered."""
    out = private(_card(spans=None), "masked")
    assert out["text"] == "**** ****" and out["texts"][0]["text"] == "***"


def test_privacy_masked_leaves_words_that_no_finding_named() -> None:
    """masked without spans: the text stays."""
    assert private(_card(), "masked")["text"] == "card 4111"


def test_privacy_masked_covers_a_file_name() -> None:
    """A file's name is a text of its event."""
    row = bare("file", name="4111.txt", texts=[{"part": "file_name", "text": "4111.txt"}], spans=[(0, 0, 4)])
    assert private(row, "masked")["name"] == "****.txt"


def test_privacy_none_keeps_no_words() -> None:
    """none: no text, no name, no notice, no detail of a finding."""
    line = render(private(_card(spans=[(1, 5, 9)]), "none"), None)
    assert b"card" not in line and b"pay" not in line
    assert json.loads(render(private(bare("file", name="salary.xls", size=3), "none"), None))["name"] is None
    verdict = private(full("verdict", findings=[{"detector": "dlp", "rule": "r", "severity": "low", "detail": "4111"}],
                           notice="about 4111"), "none")
    assert b"4111" not in render(verdict, None)


@given(st.text(max_size=40), st.lists(st.tuples(st.integers(-5, 50), st.integers(-5, 50)), max_size=5))
def test_a_mask_keeps_the_length(text: str, spans: list[tuple[int, int]]) -> None:
    """One `*` a character, whatever the spans claim; characters outside them stay."""
    masked = mask(text, spans)
    assert len(masked) == len(text)
    for at, (old, new) in enumerate(zip(text, masked, strict=True)):
        inside = any(max(0, a) <= at < b for a, b in spans)
        assert new == ("*" if inside else old)
