"""`inspector verify` over real stores, whole and tampered with."""

from __future__ import annotations

import json
import sqlite3
import threading
from pathlib import Path

import pytest

from inspector.app.cli import main
from inspector.model import Limits
from inspector.store.sqlite import Reader, Writer
from inspector.store.tables import append, columns_of, connect
from tests.store.rows import T, message


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A gateway's working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "var").mkdir(mode=0o700)
    return tmp_path


def write(place: Path, count: int, chain: str = "0", start: int = 0) -> None:
    """Rows as a gateway writes them, and a checkpoint at its end."""
    writer = Writer(place / "var" / "inspector.db", gateway="gw1", chain=chain, key=place / "var" / "checkpoint.key")
    writer.start()
    done = threading.Event()
    for n in range(start, start + count):
        writer.put(message(n), (lambda ok: done.set()) if n == start + count - 1 else None)
    assert done.wait(20)
    writer.close()


def change(place: Path, statement: str) -> None:
    base = sqlite3.connect(place / "var" / "inspector.db")
    base.execute(statement)
    base.commit()
    base.close()


def test_a_whole_log_verifies_over_restarts_and_workers(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The chain goes on where the last run ended; each worker has its own."""
    write(place, 10)
    write(place, 5, start=10)
    write(place, 3, chain="1", start=20)
    assert main(["verify"]) == 0
    said = capsys.readouterr().out
    assert "18 rows in 2 chains verify" in said
    assert "3 checkpoints" in said
    assert "no exported checkpoint was given" in said


def test_an_exported_checkpoint_proves_what_came_before_it(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exported, kept, compared."""
    write(place, 10)
    assert main(["verify", "--export", "kept.json"]) == 0
    assert "\n1 checkpoint is stored\n" in capsys.readouterr().out
    write(place, 10, start=10)
    assert main(["verify", "--against", "kept.json"]) == 0
    assert "proved up to the exported checkpoint 1" in capsys.readouterr().out


@pytest.mark.parametrize(("statement", "said"), [
    ("UPDATE events SET line = CAST(replace(line, 'message 3', 'massage 3') AS BLOB) WHERE n = 4", "was changed"),
    ("UPDATE events SET action = 'pass' WHERE n = 4", "row 4"),
    ("UPDATE events SET user = 'somebody' WHERE n = 4", "columns are not what its line says"),
    ("UPDATE events SET sender = NULL WHERE n = 4", "columns are not what its line says"),
    ("UPDATE events SET kind = 'status' WHERE n = 4", "columns are not what its line says"),
    ("INSERT INTO events SELECT 99, id || 'x', t, event, flow, message, protocol, kind, action, user, sender, rule, "
     "reference, line, NULL, NULL, NULL, NULL, NULL FROM events WHERE n = 4", "are in no chain"),
    ("UPDATE events SET n = CASE n WHEN 3 THEN 300 ELSE 3 END WHERE n IN (3, 4)", "not where their chain"),
    ("UPDATE events SET seq = NULL WHERE n = 4", "the row is none that a gateway writes"),
    ("UPDATE events SET body = NULL, salt = NULL WHERE n = 4", "the row is none that a gateway writes"),
    ("DELETE FROM events WHERE n = 4", "row 4 is missing"),
    ("UPDATE events SET event = 'erased' WHERE n = 4", "row 4"),
    ("UPDATE events SET digest = NULL WHERE n = 10", "row 10"),
    ("UPDATE events SET seq = CASE seq WHEN 4 THEN 50 ELSE seq END", "row 4 is missing"),
    ("DELETE FROM events WHERE n > 7", "rows 8 to 10 are missing"),
    ("DELETE FROM events", "the whole chain is missing"),
    ("UPDATE checkpoints SET line = replace(line, '[10,', '[9,')", "signature"),
])
def test_what_was_done_to_a_log_is_found(
    place: Path, capsys: pytest.CaptureFixture[str], statement: str, said: str,
) -> None:
    """Changed, removed, reordered rows, a missing tail, a missing chain, a changed checkpoint: exit 1 and which."""
    write(place, 10)
    change(place, statement)
    assert main(["verify"]) == 1
    assert said in capsys.readouterr().out


def test_a_checkpoint_and_its_rows_that_were_cut_off_are_missed(
    place: Path, capsys: pytest.CaptureFixture[str],
) -> None:
    """Nothing was exported; but the key has gone on, and nobody can turn it back."""
    write(place, 10)
    write(place, 5, start=10)
    change(place, "DELETE FROM events WHERE n > 10")
    change(place, "DELETE FROM checkpoints WHERE n > 1")
    assert main(["verify"]) == 1
    assert "checkpoints were removed" in capsys.readouterr().out


def test_a_key_that_was_exchanged_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the next checkpoint is made with it; one that cannot be read is not compared."""
    write(place, 10)
    key = place / "var" / "checkpoint.key"
    kept = key.read_bytes()
    key.write_bytes(bytes(32))
    assert main(["verify"]) == 1
    assert "the key was exchanged" in capsys.readouterr().out
    key.unlink()
    assert main(["verify"]) == 0
    key.write_bytes(kept)
    assert main(["verify"]) == 0


def test_a_log_that_was_made_anew_is_not_the_exported_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Rewritten from the beginning with a new key: whole in itself, and not what the auditor has."""
    write(place, 10)
    main(["verify", "--export", "kept.json"])
    for entry in (place / "var").iterdir():
        entry.unlink()
    write(place, 12)
    capsys.readouterr()
    assert main(["verify"]) == 0
    assert main(["verify", "--against", "kept.json"]) == 1
    assert "made anew" in capsys.readouterr().out


def test_an_erased_row_leaves_the_log_provable(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Line and salt gone: the chain and the exported checkpoint still hold; that no event tells of it is wrong."""
    write(place, 10)
    main(["verify", "--export", "kept.json"])
    change(place, "UPDATE events SET line = x'7b7d', salt = NULL WHERE n = 4")
    capsys.readouterr()
    assert main(["verify", "--against", "kept.json"]) == 1
    assert "1 rows were erased of which no event tells" in capsys.readouterr().out
    base = connect(place / "var" / "inspector.db")
    append(base, "manage", [columns_of({"event": "erased", "t": T, "by": "root", "count": 1}, "gw1", "full")])
    base.close()
    capsys.readouterr()
    assert main(["verify", "--against", "kept.json"]) == 0
    said = capsys.readouterr().out
    assert "1 of them erased" in said
    assert "proved up to" in said


def test_a_store_of_the_first_release_is_taken_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its rows stay readable, in no chain; new ones are chained."""
    write(place, 3)
    base = sqlite3.connect(place / "var" / "inspector.db")
    base.executescript(
        "DROP TABLE checkpoints; DROP INDEX events_chain;"
        "DROP TABLE writers; DROP TABLE living; DROP TABLE legal_holds;"
        + "".join(f"ALTER TABLE events DROP COLUMN {name};" for name in ("chain", "seq", "salt", "body", "digest"))
        + "UPDATE meta SET value = '1' WHERE name = 'schema';")
    base.close()
    assert main(["verify"]) == 0
    (place / "var" / "checkpoint.key").unlink()
    write(place, 2, start=3)
    capsys.readouterr()
    assert main(["verify"]) == 0
    said = capsys.readouterr().out
    assert "2 rows in 1 chain verify" in said
    assert "3 rows were written by an earlier release" in said
    with Reader(place / "var" / "inspector.db") as reader:
        assert [json.loads(line)["text"] for _, line in reader.select()] == [f"message {n}" for n in range(5)]


def test_it_works_while_the_gateway_writes(place: Path) -> None:
    """A snapshot: rows that come meanwhile are neither missing nor wrong."""
    writer = Writer(
        place / "var" / "inspector.db", gateway="gw1", key=place / "var" / "checkpoint.key",
        limits=Limits(checkpoint_seconds=0))
    writer.start()
    stop = threading.Event()

    def flood() -> None:
        n = 0
        while not stop.is_set():
            writer.put(message(n))
            n += 1
            if n % 200 == 0:
                stop.wait(0.01)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert [main(["verify"]) for _ in range(5)] == [0] * 5
    finally:
        stop.set()
        thread.join()
        writer.close()
    assert main(["verify"]) == 0


@pytest.mark.parametrize("words", [["--against", "none.json"], ["--against", "bad.json"]])
def test_a_file_that_cannot_be_used_is_one_sentence(
    place: Path, capsys: pytest.CaptureFixture[str], words: list[str],
) -> None:
    """Missing, or no checkpoint."""
    (place / "bad.json").write_text("{}")
    write(place, 1)
    assert main(["verify", *words]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_without_a_checkpoint_nothing_is_exported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One sentence instead of an empty file."""
    writer = Writer(place / "var" / "inspector.db", gateway="gw1")
    writer.start()
    writer.close()
    assert main(["verify", "--export", "kept.json"]) == 1
    assert "no checkpoint to export" in capsys.readouterr().err
    assert not (place / "kept.json").exists()
