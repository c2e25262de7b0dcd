"""`inspector events erase` and `inspector events hold`, with and without a gateway that writes meanwhile."""

from __future__ import annotations

import json
import sqlite3
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.app import erase_cmd
from inspector.app.cli import main
from inspector.store import erasing
from inspector.store.sqlite import Reader, Writer
from tests.store.rows import T, bare, message

SECRET = "the purple elephant"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway's working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir(mode=0o700)
    return tmp_path


@pytest.fixture
def writer(place: Path) -> Iterator[Writer]:
    """A gateway that runs."""
    made = Writer(place / "var" / "inspector.db", gateway="gw1", key=place / "var" / "checkpoint.key")
    made.start()
    yield made
    made.close()


def put(writer: Writer, *rows: dict[str, Any]) -> None:
    """Rows, on disk when this returns."""
    for row in rows:
        done = threading.Event()
        writer.put(row, lambda ok, done=done: done.set() if ok else None)  # type: ignore[misc]
        assert done.wait(20)


def talk(writer: Writer) -> None:
    """Alice writes, bob writes to her, eve and bob have nothing to do with her; a verdict and a sign-on."""
    put(writer, *(message(n, text=f"{SECRET} {n}", sender="alice@x.net/1", user="alice@x.net") for n in range(3)),
        message(3, sender="bob@x.net", user="bob@x.net", recipients=["Alice@x.net"], text=f"{SECRET} back"),
        message(4, sender="eve@x.net", user="eve@x.net", recipients=["bob@x.net"], text="tulips"),
        bare("sign_on", id="00f1-5", flow="00f1", user="alice@x.net", identity="authenticated", t=T),
        bare("verdict", id="00f1-6", flow="00f1", message="00f1-0", action="block", rule="dlp", reference="K7QM-2F9X",
             user="alice@x.net", sender="alice@x.net/1", recipients=["bob@x.net"], t=T))


def lines(place: Path, **query: Any) -> list[dict[str, Any]]:
    with Reader(place / "var" / "inspector.db") as reader:
        return [json.loads(line) for _, line in reader.select(**query)]


def on_disk(place: Path) -> bytes:
    return b"".join(file.read_bytes() for file in (place / "var").iterdir() if file.name.startswith("inspector.db"))


def test_a_user_is_erased_while_the_gateway_runs(
    place: Path, writer: Writer, capsys: pytest.CaptureFixture[str],
) -> None:
    """What she wrote, was to read and was judged by is gone from every byte of the store; the log verifies against a
    checkpoint from before; who did it and how many is told, not whom."""
    talk(writer)
    writer.close()
    main(["verify", "--export", "kept.json"])
    with_gateway = Writer(place / "var" / "inspector.db", gateway="gw1", key=place / "var" / "checkpoint.key")
    with_gateway.start()
    put(with_gateway, {"event": "flow", "state": "open", "flow": "f9", "t": T, "user": "alice@x.net/1"})
    capsys.readouterr()
    assert main(["events", "erase", "--user", "ALICE@x.net"]) == 0
    assert capsys.readouterr().out == "6 rows of ALICE@x.net erased\n"
    assert SECRET.encode() not in on_disk(place) and b"lice@x.net" not in on_disk(place)
    put(with_gateway, message(9, sender="bob@x.net", user="bob@x.net", text="on"))
    with_gateway.close()
    assert [line["text"] for line in lines(place, events=("message",))] == ["tulips", "on"]
    [told] = lines(place, events=("erased",))
    assert (told["by"], told["count"], told["held"]) == (erase_cmd.who_asks(), 6, 0)
    assert told["subject"].startswith("hmac-sha256:")
    assert main(["verify", "--against", "kept.json"]) == 0
    said = capsys.readouterr().out
    assert "6 of them erased" in said and "proved up to the exported checkpoint 1" in said
    assert main(["explain", "00f1-6"]) == 1
    assert "was erased: there was a verdict at" in (said := capsys.readouterr().err) and 'block by rule "dlp"' in said
    assert main(["events"]) == 0
    assert "6 rows erased" in capsys.readouterr().out


def test_the_key_of_subjects_is_private_and_stays(place: Path, writer: Writer) -> None:
    """The same name has the same subject, another store's has another; 0600."""
    talk(writer)
    main(["events", "erase", "--user", "alice@x.net"])
    put(writer, message(7, sender="alice@x.net", user="alice@x.net"))
    main(["events", "erase", "--user", "Alice@X.net"])
    one, two = (line["subject"] for line in lines(place, events=("erased",)))
    assert one == two
    assert stat.S_IMODE((place / "var" / "erase.key").stat().st_mode) == 0o600
    assert erase_cmd.subject("alice@x.net", bytes(32)) != one


def test_only_what_is_older_is_erased(place: Path, writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """--before says up to when."""
    put(writer, message(1, sender="alice", t=T - 86400), message(2, sender="alice", t=T))
    assert main(["events", "erase", "--user", "alice", "--before", "2025-11-24T12:00"]) == 0
    assert "1 row of alice erased" in capsys.readouterr().out
    assert [line["text"] for line in lines(place, events=("message",))] == ["message 2"]
    assert main(["events", "erase", "--user", "nobody"]) == 0
    assert "there is no row of nobody" in capsys.readouterr().out
    assert len(lines(place, events=("erased",))) == 1


def test_rows_that_come_meanwhile_are_erased_too(
    place: Path, writer: Writer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """A second pass looks at what was written during the first."""
    talk(writer)
    erase = erasing.erase
    came: list[int] = []

    def late(base: sqlite3.Connection, numbers: list[int], batch: int) -> int:
        if not came:
            came.append(1)
            put(writer, message(20, sender="alice@x.net", user="alice@x.net", t=T))
        return erase(base, numbers, batch)

    monkeypatch.setattr(erasing, "erase", late)
    assert main(["events", "erase", "--user", "alice@x.net"]) == 0
    assert "7 rows" in capsys.readouterr().out
    assert [line["count"] for line in lines(place, events=("erased",))] == [6, 1]


def test_a_legal_hold_forbids_it(place: Path, writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """Rows of who is on hold, and conversations with him, stay; how many is said; each step is an event."""
    talk(writer)
    assert main(["events", "hold", "add", "--user", "bob@x.net", "--reason", "case 7"]) == 0
    capsys.readouterr()
    assert main(["events", "erase", "--user", "alice@x.net"]) == 1
    said = capsys.readouterr().out
    assert "4 rows of alice@x.net erased" in said and "2 rows stay, because of a legal hold" in said
    assert [line["text"] for line in lines(place, events=("message",))] == [f"{SECRET} back", "tulips"]
    assert main(["events", "hold", "list"]) == 0
    assert "bob@x.net" in (said := capsys.readouterr().out) and "case 7" in said
    assert main(["events", "hold", "list", "--format", "jsonl"]) == 0
    assert json.loads(capsys.readouterr().out)["user"] == "bob@x.net"
    assert main(["events", "hold", "remove", "--user", "BOB@x.net"]) == 0
    assert main(["events", "hold", "list"]) == 0
    assert "nobody is on legal hold" in capsys.readouterr().out
    assert main(["events", "erase", "--user", "alice@x.net"]) == 0
    told = lines(place, events=("legal_hold",))
    assert [(line["change"], line["user"], line["by"], line["reason"]) for line in told] == [
        ("add", "bob@x.net", erase_cmd.who_asks(), "case 7"), ("remove", "BOB@x.net", erase_cmd.who_asks(), None)]
    writer.close()
    assert main(["verify"]) == 0


@pytest.mark.parametrize(("words", "code", "said"), [
    (["erase"], 2, "required: --user"),
    (["erase", "--user", " "], 2, "--user names whose rows"),
    (["erase", "--user", "a", "--before", "soon"], 2, "is no time"),
    (["hold", "add"], 2, "`hold add` needs --user"),
    (["hold", "remove", "--user", "a"], 1, "a is not on legal hold"),
    (["hold", "put", "--user", "a"], 2, "invalid choice"),
    (["erase", "-c", "none.yaml", "--user", "a"], 1, "none.yaml"),
])
def test_what_is_wrong_is_one_sentence(
    place: Path, writer: Writer, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str,
) -> None:
    """Wrong use is 2, "no" is 1."""
    put(writer, message(1))
    assert main(["events", *words]) == code
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_twice_on_hold_is_said(place: Path, writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """The second one is refused, and no event tells of it."""
    put(writer, message(1))
    main(["events", "hold", "add", "--user", "a"])
    assert main(["events", "hold", "add", "--user", "A"]) == 1
    assert "A is on legal hold already" in capsys.readouterr().err
    assert len(lines(place, events=("legal_hold",))) == 1


def test_a_configuration_may_stand_in_front(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`events -c FILE erase` and `events erase -c FILE` mean the same; without a store it is one sentence."""
    (place / "i.yaml").write_text('store: {events: "sqlite:other.db"}\n')
    for words in (["-c", "i.yaml", "erase"], ["erase", "-c", "i.yaml"]):
        assert main(["events", *words, "--user", "a"]) == 1
        assert "other.db: there is none yet" in capsys.readouterr().err


def test_a_key_that_is_none_is_said(place: Path, writer: Writer, capsys: pytest.CaptureFixture[str]) -> None:
    """It is not replaced: who was erased before could not be told again."""
    put(writer, message(1))
    (place / "var" / "erase.key").write_bytes(b"short")
    assert main(["events", "erase", "--user", "alice"]) == 1
    assert "not a key of 32 bytes" in capsys.readouterr().err
