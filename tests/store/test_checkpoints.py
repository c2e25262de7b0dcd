"""Checkpoints: each follows the one before, and yesterday's key is gone."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from inspector.store.checkpoints import Checkpoint, CheckpointError, Signer, faults, ratchet

HEADS = {"0": (5, "ab" * 32)}


def made(path: Path, count: int) -> list[Checkpoint]:
    """Checkpoints one after the other, as a writer makes them."""
    signer = Signer(path / "key")
    found: list[Checkpoint] = []
    for n in range(count):
        found.append(signer.sign(1000.0 + n, {"0": (n, "ab" * 32)}, found[-1] if found else None))
        signer.advance()
    return found


def test_a_sequence_verifies_and_survives_being_written_down(tmp_path: Path) -> None:
    """Signed, linked, and the same after export and import."""
    sequence = made(tmp_path, 4)
    assert faults(sequence) == []
    assert [Checkpoint.parse(one.json()) for one in sequence] == sequence


def test_a_changed_checkpoint_is_seen(tmp_path: Path) -> None:
    """Other heads under an old signature."""
    sequence = made(tmp_path, 3)
    text = sequence[1].json().replace('"0": [1,', '"0": [2,')
    assert text != sequence[1].json()
    sequence[1] = Checkpoint.parse(text)
    assert faults(sequence) == ["checkpoint 2: its signature is not its key's"]


def test_a_removed_checkpoint_is_seen(tmp_path: Path) -> None:
    """From the middle and from the beginning."""
    sequence = made(tmp_path, 4)
    assert "missing" in faults([sequence[0], *sequence[2:]])[0]
    assert "missing" in faults(sequence[1:])[0]


def test_a_sequence_made_anew_does_not_follow_the_old_one(tmp_path: Path) -> None:
    """Who has no old seed can only begin anew, and then the keys do not follow."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    real, forged = made(tmp_path / "a", 3), made(tmp_path / "b", 3)
    assert faults(forged) == []
    assert "does not follow" in faults([real[0], *forged[1:]])[0]


def test_the_old_seed_is_gone_from_disk(tmp_path: Path) -> None:
    """After `advance` the file holds the next seed only, 0600."""
    path = tmp_path / "key"
    signer = Signer(path)
    first = path.read_bytes()
    signer.advance()
    assert path.read_bytes() == ratchet(first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["key"]


def test_after_a_crash_a_used_key_is_not_used_again(tmp_path: Path) -> None:
    """A checkpoint on disk whose key was not wiped yet: the next start goes on with the next key."""
    signer = Signer(tmp_path / "key")
    one = signer.sign(1.0, HEADS, None)
    again = Signer(tmp_path / "key")
    again.catch_up(one)
    two = again.sign(2.0, HEADS, one)
    assert faults([one, two]) == []
    again.catch_up(one)
    assert again.public == two.key


@pytest.mark.parametrize("data", [b"", b"short", b"x" * 33])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    """Never replaced by a new one: that would end the sequence quietly."""
    (tmp_path / "key").write_bytes(data)
    with pytest.raises(CheckpointError, match="not a key"):
        Signer(tmp_path / "key")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"n": 1}', '{"heads": [], "n": 1, "t": 1}', "nonsense"])
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """One error for whatever a file may hold."""
    with pytest.raises(CheckpointError, match="not a checkpoint"):
        Checkpoint.parse(text)
