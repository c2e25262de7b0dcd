"""`inspector events` and `inspector explain`: what they find, and what reaches a terminal."""

from __future__ import annotations

import json
import threading
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.app import events_cmd
from inspector.app.errors import UserError
from inspector.app.events_cmd import events_command, explain_command, follow
from inspector.store.sqlite import Writer
from tests.store.rows import T, bare, full, message

EVIL = "hi \x1b[2J\u202e\nfake line"


def _rows() -> Iterator[dict[str, Any]]:
    yield full("sign_on", 1, t=T, user="alice", sender=None, recipients=[], mechanism="001")
    yield message(2, t=T + 1, text="hello", recipients=["#room"])
    yield message(3, t=T + 2, text=EVIL, texts=[{"part": "body", "text": EVIL}, {"part": "subject", "text": "s"}])
    yield full("verdict", 4, t=T + 2.5, message="00f1-3", sender="alice", user="alice", asked="redact", did="block",
               action="block", rule="malware", reference="ABCD-EFGH", mode="enforce", late=False, notice="no",
               hits=[{"rule": "trial", "action": "cut", "mode": "shadow"},
                     {"rule": "malware", "action": "redact", "mode": "enforce"}])
    yield bare("trouble", id="00f1-5", flow="00f1", t=T + 3, name="gap", did="pass", detail="3 bytes")
    yield full("flow", 6, t=T + 4, state="end")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Writer]:
    writer = Writer(tmp_path / "events.db", gateway="gw1")
    writer.start()
    rows = list(_rows())
    told = threading.Event()
    for row in rows[:-1]:
        writer.put(row)
    writer.put(rows[-1], lambda ok: told.set())
    assert told.wait(20)
    monkeypatch.setattr(events_cmd, "store_path", lambda config: writer.path)
    yield writer
    writer.close()


def _args(**more: Any) -> Namespace:
    return Namespace(**({"config": None, "since": None, "until": None, "action": [], "event": [], "user": None,
                         "limit": None, "follow": False, "rejudge": None, "format": "table"} | more))


def test_a_table_has_a_line_an_event_and_nothing_a_peer_wrote_breaks_it(
    store: Writer, capsys: pytest.CaptureFixture[str],
) -> None:
    """Heading and six lines; controls and line ends of a message are shown, not obeyed."""
    assert events_command(_args()) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert len(lines) == 7 and lines[0].startswith("TIME (UTC)")
    assert all(line.isprintable() for line in lines)
    assert '"hi \\x1b[2J\\u202e\\nfake line"' in lines[3]
    assert lines[2].split() == ["2025-11-24", "16:00:01", "message", "irc", "alice", ">", "#room", '"hello"']


def test_json_lines_are_those_of_the_log(store: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """--format jsonl prints the stored lines, in the order of time."""
    assert events_command(_args(format="jsonl")) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["event"] for line in lines] == ["sign_on", "message", "message", "verdict", "trouble", "flow"]
    assert lines[2]["text"] == EVIL


@pytest.mark.parametrize(("query", "ids"), [
    ({"action": ["block"]}, ["00f1-4"]), ({"action": ["block", "pass"]}, ["00f1-4", "00f1-5"]),
    ({"event": ["message"]}, ["00f1-2", "00f1-3"]), ({"event": ["message"], "limit": 1}, ["00f1-3"]),
    ({"since": "2025-11-24T16:00:03"}, ["00f1-5", "00f1-6"]), ({"until": "2025-11-24T16:00:01"}, ["00f1-1"]),
    ({"user": "al*", "event": ["message"]}, ["00f1-2", "00f1-3"]), ({"user": "bob"}, []), ({"since": "1h"}, []),
])
def test_filters(store: Writer, capsys: pytest.CaptureFixture[str], query: dict[str, Any], ids: list[str]) -> None:
    """Each option narrows what is printed; nothing found is no failure."""
    assert events_command(_args(format="jsonl", **query)) == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == ids


@pytest.mark.parametrize(("query", "sentence"), [
    ({"action": ["blok"]}, 'unknown action "blok" (did you mean "block"?)'),
    ({"event": ["mesage"]}, 'unknown event "mesage" (did you mean "message"?)'),
    ({"since": "yesterday"}, '"yesterday" is no time: write 90s, 30m, 1h, 7d, or 2026-11-22T08:00'),
])
def test_wrong_words_are_one_sentence(store: Writer, query: dict[str, Any], sentence: str) -> None:
    """An action, kind or time that does not exist is wrong use: exit 2."""
    with pytest.raises(UserError) as fault:
        events_command(_args(**query))
    assert (fault.value.sentence, fault.value.exit) == (sentence, 2)


def test_no_store_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the gateway ran there is no log to read: exit 1."""
    monkeypatch.setattr(events_cmd, "store_path", lambda config: tmp_path / "none.db")
    with pytest.raises(UserError, match="there is none yet") as fault:
        events_command(_args())
    assert fault.value.exit == 1


def test_follow_prints_what_comes_later(store: Writer) -> None:
    """--follow gives the rows written after its start, in order, filters applied."""
    lines = follow(store.path, 6, {"events": ("message",)}, seconds=0.01)
    for n in range(10, 13):
        store.put(bare("oddity", name="x", t=T + n))
        store.put(message(n, t=T + n))
        assert json.loads(next(lines))["id"] == f"00f1-{n}"


def test_follow_goes_on_when_the_store_is_replaced(store: Writer) -> None:
    """The log was moved away and made anew: following reads the new one from its beginning."""
    lines = follow(store.path, 6, {}, seconds=0.01)
    store.put(message(10))
    assert json.loads(next(lines))["id"] == "00f1-10"
    for file in store.path.parent.iterdir():
        file.rename(file.with_name("old-" + file.name))
    store.put(message(11))
    assert json.loads(next(lines))["id"] == "00f1-11"


def _explain(key: str, form: str = "text") -> int:
    return explain_command(Namespace(config=None, key=key, format=form))


@pytest.mark.parametrize("key", ["00f1-3", "00f1-4", "ABCD-EFGH"])
def test_explain_tells_the_whole_story(store: Writer, capsys: pytest.CaptureFixture[str], key: str) -> None:
    """By event, verdict or reference: the message, what was found, every rule, asked and done, the connection, the
    sign-on, the trouble; printable throughout."""
    assert _explain(key) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    for part in (
        "Message 00f1-3", '"hi \\x1b[2J\\u202e\\nfake line"', "subject", "core.eicar (yara, high, pack core@2026.11.0)",
        'rule "trial": cut, on trial only', 'rule "malware": redact, which decided', "asked     redact",
        "did       block: it was not delivered (what was asked cannot be done", "reference ABCD-EFGH", 'told      "no"',
        "Connection 00f1", "[2001:db8::1]:5222", "as alice (claimed) by 001", "gap: 3 bytes -> pass",
    ):
        assert part in out, part


@pytest.mark.parametrize("key", ["abcd-efgh", "ABCDEFGH", "abcdefgh", "ABCD-EFGH."])
def test_a_reference_as_people_repeat_it(store: Writer, capsys: pytest.CaptureFixture[str], key: str) -> None:
    """What a sender reads out on the telephone finds his message."""
    assert _explain(key) == 0
    assert "reference ABCD-EFGH" in capsys.readouterr().out


def test_explain_of_a_message_that_passed(store: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a verdict there is still the message and its connection."""
    assert _explain("00f1-2") == 0
    out = capsys.readouterr().out
    assert '"hello"' in out and "Verdict" not in out and "Connection 00f1" in out


def test_explain_of_every_kind(store: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """Any event can be explained and listed, full or bare."""
    from inspector.store.fields import KINDS

    told = threading.Event()
    for event in KINDS:
        store.put(full(event, 100, id=f"full-{event}"))
        store.put(bare(event, id=f"bare-{event}"))
    store.put(message(999), lambda ok: told.set())
    assert told.wait(20)
    for event in KINDS:
        assert _explain(f"full-{event}") == 0
        assert _explain(f"bare-{event}") == 0
        assert _explain(f"bare-{event}", "jsonl") == 0
    assert events_command(_args()) == 0


def _put(store: Writer, *rows: dict[str, Any]) -> None:
    told = threading.Event()
    for row in rows:
        store.put(row)
    store.put(message(999), lambda ok: told.set())
    assert told.wait(20)


def _file_rows() -> tuple[dict[str, Any], ...]:
    offer = bare(
        "file", id="0aaa-2", flow="0aaa", t=T + 10, protocol="irc", state="offered", sender="eve", recipients=["alice"],
        name="photo\x1b.jpg", size=70000, method="dcc", address="203.0.113.9:5000", declared_type="image/jpeg",
        way="down", direction="inbound", hashes=[("sha-256", "00ff")],
    )
    came = offer | {
        "id": "0bbb-1", "flow": "0bbb", "t": T + 12, "state": "transferred", "sha256": "ab" * 32, "sha1": "cd" * 20,
        "md5": "ef" * 16, "type": "executable", "types": ["executable", "archive"], "media_type": "application/zip",
        "complete": False, "encrypted": True, "members": 3, "mode": "stream", "sent": 4464, "offer": "0aaa-2",
        "hashes": [],
    }
    verdict = full(
        "verdict", 2, id="0bbb-2", flow="0bbb", t=T + 12.1, message="0bbb-1", about="file", sender="eve",
        asked="block", did="block", action="block", rule="harmful files are refused", reference="WXYZ-2345",
        mode="enforce", late=False, hits=[],
    )
    other = bare("file", id="0ccc-1", flow="0ccc", t=T + 13, state="offered", name="other")
    talk = full("flow", id="0aaa-9", flow="0aaa", t=T + 20, state="end", server={"ip": "203.0.113.8", "port": 6667})
    side = full("flow", id="0bbb-9", flow="0bbb", t=T + 14, state="end", server={"ip": "203.0.113.9", "port": 5000})
    return offer, came, verdict, other, talk, side


@pytest.mark.parametrize("key", ["0aaa-2", "0bbb-1", "0bbb-2", "WXYZ-2345"])
def test_explain_of_a_file_tells_of_offer_content_and_both_connections(
    store: Writer, capsys: pytest.CaptureFixture[str], key: str,
) -> None:
    """By the offer, the content, its verdict or the reference: what was said, what it was, how it was taken, what left,
    the conversation and the connection it came on; no other file."""
    _put(store, *_file_rows())
    assert _explain(key) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    for part in (
        'offered "photo\\x1b.jpg", 70000 bytes, dcc', "declared  image/jpeg", "from      203.0.113.9:5000",
        "claimed   sha-256 00ff", "File 0bbb-1", "offered   0aaa-2",
        "taken     stream: while it left; 4464 bytes had left before the verdict",
        "content   executable/archive, 3 files inside, encrypted, not whole (application/zip)",
        f"sha256    {'ab' * 32}", f"sha1      {'cd' * 20}", f"md5       {'ef' * 16}",
        "did       block: it was not delivered, but for 4464 bytes that had left before",
        "Connection 0aaa", "203.0.113.8:6667", "Connection 0bbb", "203.0.113.9:5000",
    ):
        assert part in out, part
    assert "other" not in out
    assert out.index("File 0aaa-2") < out.index("File 0bbb-1") < out.index("Verdict 0bbb-2")


@pytest.mark.parametrize(("key", "other"), [("0aaa-2", "File 0bbb-1"), ("0bbb-1", "File 0aaa-2")])
def test_a_file_that_nobody_announced_stands_alone(
    store: Writer, capsys: pytest.CaptureFixture[str], key: str, other: str,
) -> None:
    """What names no offer is told of no other offer's conversation, however alike the names are."""
    offer, came, *rest = _file_rows()
    _put(store, offer, came | {"offer": None}, *rest)
    assert _explain(key) == 0
    out = capsys.readouterr().out
    assert f"File {key}" in out and other not in out


def test_files_in_the_table(store: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """What was offered and what came, in a line each; a file that was not read says so."""
    offer, came, *_ = _file_rows()
    alone = came | {"id": "0bbb-6", "types": ["archive"], "members": 1, "encrypted": False, "complete": True}
    _put(store, offer, came, came | {"id": "0bbb-5", "sha256": None, "mode": "pass"}, alone)
    assert events_command(_args(event=["file"])) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].endswith('offered "photo\\x1b.jpg", 70000 bytes, dcc')
    assert lines[2].endswith(
        'transferred "photo\\x1b.jpg", 70000 bytes, dcc, executable/archive, 3 files inside, encrypted, not whole')
    assert lines[3].endswith('transferred "photo\\x1b.jpg", 70000 bytes, dcc, not read')
    assert lines[4].endswith("dcc, archive, 1 file inside")


def test_explain_of_nothing(store: Writer) -> None:
    """A name that is not in the log: exit 1, one sentence."""
    with pytest.raises(UserError, match=r'no event, message or reference "x\\x1b"') as fault:
        _explain("x\x1b")
    assert fault.value.exit == 1


def test_the_steps_of_a_review_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """In the table a line each, with who; in the story of the message below its verdict; its reference finds it."""
    writer = Writer(tmp_path / "held.db", gateway="gw1")
    writer.start()
    told = threading.Event()
    writer.put(message(2, text="hello"))
    writer.put(full("verdict", 3, message="00f1-2", did="hold", asked="hold", action="hold", reference="ABCD-EFGH",
                    held="h00f1-3", late=False))
    for number, more in enumerate((
        {"step": "held", "by": None, "note": None, "reason": EVIL},
        {"step": "released", "by": "rita", "note": "asked \x1b her", "reason": None},
        {"step": "uncertain", "by": None, "note": None, "reason": None},
    )):
        row = full("review", 10 + number, hold="h00f1-3", message="00f1-2", reference="ABCD-EFGH", **more)
        writer.put(row, lambda ok: told.set() if ok else None)
    assert told.wait(5)
    writer.close()
    monkeypatch.setattr(events_cmd, "store_path", lambda config: tmp_path / "held.db")
    assert explain_command(Namespace(config=None, key="ABCD-EFGH", format="text")) == 0
    out = capsys.readouterr().out
    at = out.index("Review of h00f1-3")
    assert at > out.index("Verdict 00f1-3") and "\x1b" not in out
    assert [line.partition(" UTC  ")[2] for line in out[at:].splitlines()[1:4]] == [
        "held ref ABCD-EFGH (hi \\x1b[2J\\u202e\\nfake line)", "released by rita ref ABCD-EFGH (asked \\x1b her)",
        "uncertain whether it was delivered ref ABCD-EFGH"]
    assert out.count("Message 00f1-2") == 1 and "Review 00f1" not in out
