"""`inspector events --rejudge`: what was decided is decided again, from the rows and the rules of then."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inspector.app import rejudge
from inspector.app.build import Built, build_rules
from inspector.app.cli import main
from inspector.app.config import Config, load
from inspector.store.lines import Privacy
from inspector.store.sqlite import Reader, Writer
from tests.test_golden import PCAPS, rows_of

CAPTURES = ("dcc/chats.pcap", "tcp/raw.pcap", "http_upload/slots.pcap")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The golden rules, as a gateway loads them."""
    return build_rules(configuration(tmp_path_factory.mktemp("built")), 1)


def configuration(place: Path) -> Config:
    """A configuration with the golden rules."""
    (place / "i.yaml").write_text(f"policy: {PCAPS / 'policy.yaml'}\nsignatures: {PCAPS / 'packs'}\n")
    return load(place / "i.yaml")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway's working directory."""
    monkeypatch.chdir(tmp_path)
    configuration(tmp_path)
    return tmp_path


def log(place: Path, rows: list[dict[str, Any]], text: Privacy = "full") -> list[dict[str, Any]]:
    """Write rows as a gateway does; the verdicts among them."""
    writer = Writer(place / "var" / "inspector.db", gateway="gw1", text=text)
    writer.start()
    done = threading.Event()
    for n, row in enumerate(rows):
        writer.put(row, (lambda ok: done.set()) if n == len(rows) - 1 else None)
    assert done.wait(20)
    writer.close()
    with Reader(place / "var" / "inspector.db") as reader:
        return [json.loads(line) for _, line in reader.select(events=("verdict",))]


def asked(place: Path, key: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """(exit status, what is said) of a decision made again."""
    capsys.readouterr()
    status = main(["events", "-c", str(place / "i.yaml"), "--rejudge", key])
    said = capsys.readouterr()
    return status, said.out + said.err


@pytest.mark.parametrize("capture", CAPTURES)
def test_every_verdict_of_a_capture_is_the_same_again(place: Path, built: Built, capture: str) -> None:
    """Messages, files, sign-ons, refused, masked and passed ones: nothing differs and nothing is missing."""
    config = configuration(place)
    assert rejudge.keep(config, built) is None
    verdicts = log(place, rows_of(PCAPS / capture))
    assert verdicts
    with Reader(place / "var" / "inspector.db") as reader:
        for line in verdicts:
            rows = [json.loads(row) for _, row in reader.about(line["id"])]
            outcome = rejudge.again(reader, line, rows, config)
            assert (outcome.result, outcome.differences, outcome.missing) == ("same", [], None), line


@pytest.fixture
def refused(place: Path, built: Built) -> dict[str, Any]:
    """The one verdict of a small capture that refuses, in a store, with its rules kept."""
    assert rejudge.keep(configuration(place), built) is None
    [line] = [line for line in log(place, rows_of(PCAPS / "tcp/raw.pcap")) if line["did"] == "block"]
    return line


def test_the_same_is_said_by_id_message_and_reference(
    place: Path, refused: dict[str, Any], capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 0; also as JSON."""
    for key in (refused["id"], refused["message"], refused["reference"], refused["reference"].lower()):
        status, said = asked(place, key, capsys)
        assert status == 0 and 'block by rule "refused"' in said and "decided again: the same" in said
    main(["events", "-c", "i.yaml", "--rejudge", refused["id"], "--format", "jsonl"])
    assert json.loads(capsys.readouterr().out)["result"] == "same"


def test_what_differs_is_told(place: Path, built: Built, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that says another action, rule and finding than the rules give: each is named, exit 1."""
    rejudge.keep(configuration(place), built)
    rows = rows_of(PCAPS / "tcp/raw.pcap")
    for n, row in enumerate(rows):
        if row["event"] == "verdict" and row["did"] == "block":
            rows[n] = {**row, "asked": "pass", "rule": None, "hits": [], "findings": [
                {"detector": "yara", "rule": "core.gone", "severity": "high", "pack": "core@1"}]}
            key = row["id"]
    log(place, rows)
    status, said = asked(place, key, capsys)
    assert status == 1 and "decided again: it differs" in said
    assert "pass then, block now" in said
    assert 'no rule then, rule "refused" now' in said
    assert "rules that matched: none then, refused block now" in said
    assert "found then and not now: yara core.gone" in said


@pytest.mark.parametrize(("harm", "missing"), [
    ("policy", "the policy sha256:"), ("packs", "the packs golden@1.0.0"), ("archive", "the packs golden@1.0.0"),
    ("message", "what it was about"), ("flow", "which connection it was in"),
])
def test_what_is_not_kept_is_said(
    place: Path, refused: dict[str, Any], capsys: pytest.CaptureFixture[str], harm: str, missing: str,
) -> None:
    """Rules that are gone, a message that was erased, a connection that is not in the log: exit 1, and which."""
    from inspector.store.tables import connect

    if harm in ("policy", "packs"):
        for path in (place / "var" / "rules").glob(f"{harm}-*"):
            path.unlink()
    elif harm == "archive":
        next((place / "var" / "rules").glob("packs-*")).write_bytes(b"nonsense")
    else:
        base = connect(place / "var" / "inspector.db")
        what = f"id = '{refused['message']}'" if harm == "message" else "event = 'flow'"
        base.execute(f"UPDATE events SET salt = NULL, line = x'' WHERE {what}")
        base.close()
    status, said = asked(place, refused["id"], capsys)
    assert status == 1 and f"decided again: not kept: {missing}" in said


def test_packs_that_were_exchanged_in_their_archive_are_not_believed(
    place: Path, built: Built, refused: dict[str, Any], capsys: pytest.CaptureFixture[str],
) -> None:
    """Its name says another digest than its files have."""
    from inspector.store.rulebook import Rulebook

    (place / "pack.yaml").write_text("name: golden\nversion: 1.0.0\ndescription: x\nlicense: x\ncontent: []\n")
    next((place / "var" / "rules").glob("packs-*")).unlink()
    Rulebook(place / "var" / "rules").keep(
        (built.rules.policy.digest, built.source), (str(built.rules.scanner.digest), [
            ("golden/pack.yaml", place / "pack.yaml")]), days=1, count=9, size=1 << 20)
    status, said = asked(place, refused["id"], capsys)
    assert status == 1 and "not kept" in said


@pytest.mark.parametrize("text", ["masked", "none"])
def test_words_that_privacy_took_out_are_not_guessed(
    place: Path, built: Built, capsys: pytest.CaptureFixture[str], text: Privacy,
) -> None:
    """What was masked or left out cannot be scanned again; what held nothing to be masked can."""
    rejudge.keep(configuration(place), built)
    verdicts = log(place, rows_of(PCAPS / "tcp/raw.pcap"), text)
    found = next(line for line in verdicts if line["findings"])
    status, said = asked(place, found["id"], capsys)
    assert status == 1 and f"not kept: its words (privacy.text: {text})" in said
    clean = next(line for line in verdicts if not line["findings"] and line["about"] == "message")
    assert asked(place, clean["id"], capsys)[0] == (0 if text == "masked" else 1)


def test_what_earlier_messages_began_is_taken_from_the_verdict(place: Path, built: Built) -> None:
    """A finding that this message only completed cannot be found in it alone: it is given, and that is said."""
    rejudge.keep(configuration(place), built)
    rows = rows_of(PCAPS / "tcp/raw.pcap")
    verdict = next(row for row in rows if row["event"] == "verdict" and row["about"] == "message" and not row["hits"])
    verdict |= {"findings": [{
        "detector": "dlp", "rule": "dlp.iban", "severity": "medium", "pack": None, "tags": [],
        "detail": "completed by this message; begun in 12.000"}]}
    log(place, rows)
    with Reader(place / "var" / "inspector.db") as reader:
        found = [json.loads(row) for _, row in reader.about(verdict["id"])]
        line = next(row for row in found if row["event"] == "verdict")
        outcome = rejudge.again(reader, line, found, configuration(place))
    assert outcome.taken == ["dlp.iban, which completes earlier messages"]
    assert not any("found then" in one for one in outcome.differences) and outcome.missing is None


def test_an_open_session_is_known_by_the_journal(
    place: Path, built: Built, capsys: pytest.CaptureFixture[str],
) -> None:
    """Its connection has no row yet; what is remembered of living sessions says where it goes."""
    rejudge.keep(configuration(place), built)
    rows = rows_of(PCAPS / "tcp/raw.pcap")
    flow = next(row for row in rows if row["event"] == "flow" and row["state"] == "end")
    verdicts = log(place, [{**flow, "state": "open"}, *(row for row in rows if row["event"] != "flow")])
    [refused] = [line for line in verdicts if line["did"] == "block"]
    assert asked(place, refused["id"], capsys)[0] == 0


def test_packs_that_change_while_they_are_kept_are_not_kept(place: Path, built: Built) -> None:
    """What was loaded is not what lies there now: a sentence, and nothing under a wrong name."""
    config = configuration(place)
    (place / "signatures").mkdir()
    said = rejudge.keep(replace(config, signatures=place / "signatures"), built)
    assert said is not None and "changed after they were loaded" in said
    assert not (place / "var" / "rules").exists()


def test_a_folder_that_cannot_be_made_is_a_warning(place: Path, built: Built) -> None:
    """The gateway runs on without it."""
    (place / "var").mkdir()
    (place / "var" / "rules").write_text("")
    said = rejudge.keep(configuration(place), built)
    assert said is not None and said.startswith("the rules could not be kept")


def test_what_is_not_there_is_one_sentence(
    place: Path, refused: dict[str, Any], capsys: pytest.CaptureFixture[str],
) -> None:
    """An id that nothing has; an event without a verdict."""
    assert asked(place, "nothing", capsys) == (1, 'inspector: "nothing" is not in the log\n')
    with Reader(place / "var" / "inspector.db") as reader:
        flow = next(json.loads(line) for _, line in reader.select(events=("flow",)))
    assert "has no verdict in the log" in asked(place, flow["id"], capsys)[1]
