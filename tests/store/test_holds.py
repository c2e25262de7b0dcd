"""The hold store: what is kept can be read, nobody else can, and no crash, thief or reviewer changes that."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from inspector.model import UP, Held, Limits
from inspector.store.holds import CHUNK, ENDED, WAITING, Damaged, HoldError, HoldFull, HoldStore, Item, Owed

WORDS = "seven white horses on a hill"


def held(ident: str = "h1", **more: Any) -> Held:
    """A held message."""
    about: dict[str, Any] = {
        "id": ident, "reference": "K7QM-2F9X", "t": 100.0, "protocol": "xmpp", "about": "message", "kind": "chat",
        "way": UP, "direction": "outbound", "flow": "f1", "client": "10.0.0.5", "user": "alice@example.net",
        "identity": "authenticated", "sender": "alice@example.net", "recipients": ("bob@example.net",),
        "texts": (("body", WORDS),), "raw": b"<message>" + WORDS.encode() + b"</message>", "rule": "waits", "size": 12,
        "digest": "ab" * 32, **more,
    }
    return Held(**about)


def made(folder: Path, **limits: Any) -> HoldStore:
    """An open store."""
    store = HoldStore(folder, lambda: Limits(**limits))
    store.open()
    return store


def content(store: HoldStore, ident: str) -> bytes:
    """A file's content, piece by piece."""
    data, number, last = b"", 0, False
    while not last:
        piece, last = store.content(ident, number)
        data += piece
        number += 1
    return data


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.item"))


def test_what_is_kept_is_read_again_also_by_the_next_process(tmp_path: Path) -> None:
    """All of a Held, byte for byte; the index says what `quarantine list` shows."""
    store = made(tmp_path / "q")
    assert store.keep(held(), 200.0) == []
    store.close()
    store = made(tmp_path / "q", hold_seconds=60)
    assert store.read("h1") == held()
    assert store.items() == [Item(
        id="h1", reference="K7QM-2F9X", t=100.0, state="held", since=200.0, expires=200.0 + 7 * 86400, protocol="xmpp",
        about="message", kind="chat", sender="alice@example.net", recipients=("bob@example.net",), rule="waits",
        size=12, sendable=True)]
    assert store.content("h1", 0) == (b"", True)
    store.close()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_a_files_content_comes_back_in_pieces(tmp_path: Path, size: int) -> None:
    """Whole chunks, a short last one, none; the descriptor stays its owner's."""
    data = os.urandom(size)
    source = tmp_path / "content"
    source.write_bytes(data)
    store = made(tmp_path / "q")
    with source.open("rb") as open_file:
        store.keep(held(about="file", raw=b"", size=size), 1.0, open_file.fileno())
        assert open_file.read() == data
    assert content(store, "h1") == data and store.read("h1").size == size
    store.close()


def test_nobody_reads_it_from_the_disk(tmp_path: Path) -> None:
    """No file has a word of it, a name says nothing, and all is private."""
    store = made(tmp_path / "q")
    store.keep(held(rule=None, client="203.0.113.77"), 1.0)
    folder = tmp_path / "q"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
        text = path.read_bytes()
        assert WORDS.encode() not in text and b"horses" not in text and b"203.0.113.77" not in text
        assert "h1" not in path.name
    store.close()


def test_two_items_never_share_a_key(tmp_path: Path) -> None:
    """The same message twice: nothing of the two files is the same beyond the mark at their begin."""
    store = made(tmp_path / "q")
    store.keep(held("h1"), 1.0)
    store.keep(held("h2"), 1.0)
    one, two = (path.read_bytes()[6:] for path in files(tmp_path / "q"))
    assert not {one[at:at + 8] for at in range(len(one) - 8)} & {two[at:at + 8] for at in range(len(two) - 8)}
    store.close()


def _kept_file(store: HoldStore, folder: Path, ident: str, size: int) -> None:
    (folder / "content").write_bytes(os.urandom(size))
    with (folder / "content").open("rb") as source:
        store.keep(held(ident, about="file", raw=b""), 1.0, source.fileno())


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _swap_files(one: Path, two: Path) -> None:
    data = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(data)


def _swap_chunks(path: Path) -> None:
    data = path.read_bytes()
    first = int.from_bytes(data[14:18], "big") + 18
    size = 4 + CHUNK + 16
    path.write_bytes(data[:first] + data[first + size:first + 2 * size] + data[first:first + size]
                     + data[first + 2 * size:])


@pytest.mark.parametrize("harm", [
    lambda one, two: _flip(one, 20), lambda one, two: _flip(one, 8), lambda one, two: _flip(one, -1),
    lambda one, two: _flip(one, 14), lambda one, two: _flip(one, 0), lambda one, two: one.write_bytes(b""),
    lambda one, two: one.write_bytes(one.read_bytes()[:-1]), lambda one, two: one.write_bytes(one.read_bytes()[:17]),
    lambda one, two: one.write_bytes(one.read_bytes()[:-(4 + 100 + 16)]), lambda one, two: _swap_chunks(one),
    lambda one, two: _swap_files(one, two), lambda one, two: one.unlink(),
    lambda one, two: one.write_bytes(b"IMQF1\n" + b"\xff" * 64),
])
def test_what_was_changed_on_disk_is_damaged_and_never_a_crash(
    tmp_path: Path, harm: Callable[[Path, Path], object],
) -> None:
    """A flipped bit, a cut end, a whole chunk left out, chunks or files exchanged, no file: Damaged, one sentence."""
    store = made(tmp_path / "q")
    _kept_file(store, tmp_path, "h1", 2 * CHUNK + 100)
    (only,) = files(tmp_path / "q")
    _kept_file(store, tmp_path, "h2", 2 * CHUNK + 100)
    (other,) = set(files(tmp_path / "q")) - {only}
    harm(only, other)
    with pytest.raises(Damaged, match=r"^h1 is damaged: "):
        store.read("h1")
        content(store, "h1")
    assert [item.id for item in store.items()] == ["h1", "h2"]
    store.close()


def test_a_lying_index_is_damage_too(tmp_path: Path) -> None:
    """Another number of chunks, or another item's key: nothing shorter or foreign is read."""
    store = made(tmp_path / "q")
    _kept_file(store, tmp_path, "h1", 2 * CHUNK + 100)
    store.keep(held("h2"), 1.0)
    store.close()
    for lie in ("chunks = 3 WHERE id = 'h1'", "wrapped = (SELECT wrapped FROM items WHERE id = 'h2') WHERE id = 'h1'",
                "key = 9 WHERE id = 'h1'"):
        shutil.copytree(tmp_path / "q", tmp_path / "lie")
        with sqlite3.connect(tmp_path / "lie" / "index.db") as base:
            base.execute(f"UPDATE items SET {lie}")
        base.close()
        store = made(tmp_path / "lie")
        with pytest.raises(Damaged):
            content(store, "h1")
        store.close()
        shutil.rmtree(tmp_path / "lie")


def test_a_state_changes_once(tmp_path: Path) -> None:
    """Of many who release at the same moment one wins."""
    store = made(tmp_path / "q", hold_seconds=50)
    store.keep(held(), 1.0)
    won: list[bool] = []
    threads = [threading.Thread(target=lambda: won.append(store.move("h1", ("held", "uncertain"), "released", 9.0)))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False] * 7 + [True]
    (item,) = store.items()
    assert (item.state, item.since, item.expires) == ("released", 9.0, 59.0)
    assert store.move("h1", ("released",), "delivering", 10.0, keep=5.0) and store.items()[0].expires == 15.0
    assert not store.move("nobody", ("held",), "released", 9.0)
    store.close()


def test_erased_is_gone(tmp_path: Path) -> None:
    """No key, no file, no names; what is left says that there was something. A second time says no."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0)
    with sqlite3.connect(tmp_path / "q" / "index.db") as base:
        (wrapped,) = base.execute("SELECT wrapped FROM items").fetchone()
    base.close()
    assert store.erase("h1", 5.0) and not store.erase("h1", 6.0) and not store.erase("h9", 6.0)
    (item,) = store.items()
    assert (item.state, item.sender, item.recipients) == ("erased", None, ())
    assert files(tmp_path / "q") == []
    for path in (tmp_path / "q").iterdir():
        text = path.read_bytes()
        assert wrapped not in text and b"alice" not in text, path
    with pytest.raises(HoldError, match="h1 was erased"):
        store.read("h1")
    store.close()


def test_forgotten_as_if_it_had_never_been(tmp_path: Path) -> None:
    """What nobody waits for leaves nothing."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0)
    assert store.forget("h1") and not store.forget("h1")
    assert store.items() == [] and files(tmp_path / "q") == []
    store.keep(held(), 2.0)
    assert store.read("h1") == held()
    store.close()


def test_an_id_is_kept_once(tmp_path: Path) -> None:
    """A second item of the same id is refused, and the first stays whole."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0)
    with pytest.raises(HoldError):
        store.keep(held(texts=()), 2.0)
    assert store.read("h1") == held()
    store.close()


def test_a_host_of_many_addresses_has_one_quota(tmp_path: Path) -> None:
    """A host may take as many IPv6 addresses of its network of 64 bits as it likes; another network has its own."""
    store = made(tmp_path / "q", hold_client_items=2)
    for number in range(2):
        store.keep(held(f"h{number}", client=f"2001:db8::{number + 1:x}"), 1.0)
    with pytest.raises(HoldFull, match="client"):
        store.keep(held("h2", client="2001:db8::99:1"), 1.0)
    store.keep(held("h2", client="2001:db8:0:1::1"), 1.0)
    store.close()


def test_quotas(tmp_path: Path) -> None:
    """Of all and of one client; what has ended counts for neither, and gives way, the oldest first."""
    store = made(tmp_path / "q", hold_items=4, hold_client_items=3)
    assert store.latest() is None
    for number in range(3):
        store.keep(held(f"h{number}"), 1.0)
    with pytest.raises(HoldFull, match="client"):
        store.keep(held("h3"), 1.0)
    store.keep(held("h3", client="10.0.0.6"), 1.0)
    with pytest.raises(HoldFull, match=r"limits\.hold_items"):
        store.keep(held("h4", client="10.0.0.7"), 1.0)
    store.move("h1", WAITING, "denied", 20.0)
    store.move("h0", WAITING, "delivered", 30.0)
    (gone,) = store.keep(held("h4", client="10.0.0.7"), 40.0)
    assert (gone.id, gone.state) == ("h1", "denied")
    assert store.counts()[0] == {"delivered": 1, "erased": 1, "held": 3}
    assert store.latest() == 40.0
    assert [item.id for item in store.items(ENDED)] == ["h0"]
    store.close()


def test_quotas_of_bytes(tmp_path: Path) -> None:
    """Of all, of one client, and while another item is being written."""
    store = made(tmp_path / "q", hold_bytes=100_000, hold_client_bytes=60_000)
    store.keep(held("h1", raw=bytes(50_000)), 1.0)
    with pytest.raises(HoldFull, match="client"):
        store.keep(held("h2", raw=bytes(20_000)), 1.0)
    store.keep(held("h2", raw=bytes(20_000), client="10.0.0.6"), 1.0)
    with pytest.raises(HoldFull, match=r"limits\.hold_bytes"):
        store.keep(held("h3", raw=bytes(40_000), client="10.0.0.7"), 1.0)
    with store._room(20_000, b"x"), pytest.raises(HoldFull):
        store.keep(held("h3", raw=bytes(20_000), client="10.0.0.7"), 1.0)
    store.keep(held("h3", raw=bytes(20_000), client="10.0.0.7"), 1.0)
    assert 90_000 < store.counts()[1] < 100_000
    store.close()


def test_names_in_the_index_are_short(tmp_path: Path) -> None:
    """A peer chooses names and how many: a list of all items stays small; the item itself has them whole."""
    store = made(tmp_path / "q")
    crowd = tuple(f"{number}{'x' * 1000}" for number in range(1000))
    store.keep(held(sender="y" * 3000, recipients=crowd), 1.0)
    (item,) = store.items()
    assert item.sender == "y" * 199 + "…" and len(item.recipients) == 8
    assert max(map(len, item.recipients)) == 200 and store.read("h1").recipients == crowd
    store.close()


def test_tombstones_are_bounded(tmp_path: Path) -> None:
    """What says that something was erased does not grow for ever."""
    store = made(tmp_path / "q", hold_items=3)
    for number in range(8):
        store.keep(held(f"h{number}"), float(number))
        store.erase(f"h{number}", float(number))
    assert [item.id for item in store.items(("erased",))] == ["h5", "h6", "h7"]
    store.close()


def test_found_by_id_and_by_reference(tmp_path: Path) -> None:
    """A reference as people repeat it; two items may have the same one."""
    store = made(tmp_path / "q")
    store.keep(held("h1"), 1.0)
    store.keep(held("h2"), 1.0)
    store.keep(held("h3", reference="AAAA-BBBB"), 1.0)
    assert [item.id for item in store.find("h1")] == ["h1"]
    assert [item.id for item in store.find("k7qm2f9x.")] == ["h1", "h2"]
    assert [item.id for item in store.find("aaaa-bbbb")] == ["h3"]
    assert store.find("zzzz") == []
    store.close()


def test_due(tmp_path: Path) -> None:
    """What leaves its state by itself, oldest first; what is being delivered does not."""
    store = made(tmp_path / "q", hold_seconds=10)
    for number in range(3):
        store.keep(held(f"h{number}"), float(number))
    store.move("h0", ("held",), "delivering", 0.5)
    assert [item.id for item in store.due(11.5, 10)] == ["h1"]
    assert [item.id for item in store.due(99.0, 1)] == ["h1"]
    store.close()


def test_rotation_wraps_all_items_anew(tmp_path: Path) -> None:
    """Everything is read as before, and the old key opens nothing any more."""
    store = made(tmp_path / "q")
    store.keep(held("h1"), 1.0)
    store.keep(held("h2"), 1.0)
    before = (tmp_path / "q" / "key").read_bytes()
    names = [path.name for path in files(tmp_path / "q")]
    assert store.rotate() == 2
    after = json.loads((tmp_path / "q" / "key").read_bytes())
    assert len(after["keys"]) == 1 and not set(after["keys"].values()) & set(json.loads(before)["keys"].values())
    assert store.read("h1") == held("h1") and [path.name for path in files(tmp_path / "q")] == names
    store.close()
    (tmp_path / "q" / "key").write_bytes(before)
    store = made(tmp_path / "q")
    with pytest.raises(Damaged, match="its key is not of this store's key file"):
        store.read("h1")
    store.close()


def test_no_item_is_swept_because_a_key_is_gone(tmp_path: Path) -> None:
    """Without its key file, or with another one, the store does not open: nothing is taken for a leftover."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0)
    store.close()
    key = tmp_path / "q" / "key"
    text = key.read_bytes()
    key.unlink()
    with pytest.raises(HoldError, match="1 held items cannot be read without it"):
        made(tmp_path / "q")
    for wrong in (b"", b"[]", b"{}", b'{"names": "00", "keys": {"1": "00"}}', b"\xff"):
        key.write_bytes(wrong)
        with pytest.raises(HoldError, match="is no key file"):
            made(tmp_path / "q")
    key.write_bytes(text)
    store = made(tmp_path / "q")
    assert store.read("h1") == held()
    store.close()


def test_a_key_file_elsewhere(tmp_path: Path) -> None:
    """store.key: the folder alone opens nothing."""
    place = tmp_path / "keys" / "holds"
    store = HoldStore(tmp_path / "q", key=place)
    store.open()
    store.keep(held(), 1.0)
    store.close()
    assert stat.S_IMODE(place.stat().st_mode) == 0o600 and not (tmp_path / "q" / "key").exists()
    store = HoldStore(tmp_path / "q", key=place)
    store.open()
    assert store.read("h1") == held()
    store.close()


def rotating(store: HoldStore, monkeypatch: pytest.MonkeyPatch, name: str) -> threading.Thread:
    """A rotation by somebody else, begun in the middle of a step with an item's key; the step goes on when it is done,
    or when it has to wait for that step."""
    step, begun = getattr(store.keys, name), threading.Event()
    other = threading.Thread(target=store.rotate)

    def interrupted(*values: Any) -> Any:
        if name == "unwrap" and threading.current_thread() is other:
            return step(*values)
        done = step(*values) if name == "wrap" else None
        if not begun.is_set():
            begun.set()
            other.start()
            other.join(0.3)
        return done if name == "wrap" else step(*values)
    monkeypatch.setattr(store.keys, name, interrupted)
    return other


def test_a_rotation_in_the_middle_of_keeping_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is stored at that moment is wrapped by the key that stays."""
    store = made(tmp_path / "q")
    other = rotating(store, monkeypatch, "wrap")
    store.keep(held(), 1.0)
    other.join(20)
    assert store.read("h1") == held()
    store.close()
    store = made(tmp_path / "q")
    assert store.read("h1") == held()
    store.close()


def test_a_rotation_in_the_middle_of_reading_damages_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key that the index named a moment ago is gone: that is no damage."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0)
    other = rotating(store, monkeypatch, "unwrap")
    assert store.read("h1") == held()
    other.join(20)
    store.close()


def test_a_rotation_that_cannot_write_its_key_file_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One sentence that names the file; everything is read as before, and the next rotation works."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0)
    before = (tmp_path / "q" / "key").read_bytes()

    def denied(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied", str(tmp_path / "q" / "key"))
    for failing in ("replace", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, failing, denied)
            with pytest.raises(HoldError, match="q/key: permission denied"):
                store.rotate()
        assert (tmp_path / "q" / "key").read_bytes() == before and store.read("h1") == held()
    assert store.rotate() == 1 and store.read("h1") == held()
    store.close()
    store = made(tmp_path / "q")
    assert store.read("h1") == held()
    store.close()


def test_leftovers_are_swept_and_what_is_missing_is_told(tmp_path: Path) -> None:
    """A file without an item goes; an item without its file is named; foreign files stay."""
    store = made(tmp_path / "q")
    store.keep(held("h1"), 1.0)
    store.keep(held("h2"), 1.0)
    (gone, _) = files(tmp_path / "q")
    store.close()
    gone.unlink()
    (tmp_path / "q" / f"{'0' * 64}.item").write_bytes(b"half")
    (tmp_path / "q" / "notes.txt").write_bytes(b"mine")
    store = HoldStore(tmp_path / "q")
    opened = store.open()
    assert opened.swept == 1 and len(opened.missing) == 1 and opened.missing[0] in ("h1", "h2")
    assert (tmp_path / "q" / "notes.txt").exists() and len(files(tmp_path / "q")) == 1
    store.close()


def test_one_gateway_a_folder(tmp_path: Path) -> None:
    """A second one would take what the first is writing for a leftover."""
    store = made(tmp_path / "q")
    with pytest.raises(HoldError, match="another gateway uses it"):
        made(tmp_path / "q")
    store.close()
    made(tmp_path / "q").close()


def test_foreign_and_newer_databases_are_refused(tmp_path: Path) -> None:
    """Nothing is written into what is not ours."""
    made(tmp_path / "q").close()
    for change, why in (("UPDATE meta SET value = '99'", "newer release"),
                        ("PRAGMA application_id = 7", "another program's")):
        with sqlite3.connect(tmp_path / "q" / "index.db") as base:
            base.execute(change)
        base.close()
        with pytest.raises(HoldError, match=why):
            made(tmp_path / "q")


def test_half_characters_of_a_peer(tmp_path: Path) -> None:
    """What UTF-8 has no place for becomes a question mark, and is no error."""
    store = made(tmp_path / "q")
    store.keep(held(sender="al\ud800ice", recipients=("b\udc00b",), texts=(("body", "x\ud800y"),)), 1.0)
    assert store.read("h1").texts == (("body", "x?y"),)
    assert store.items()[0].sender == "al?ice" and store.items()[0].recipients == ("b?b",)
    store.close()


def test_a_disk_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while writing or syncing: one sentence, and nothing is listed or left."""
    store = made(tmp_path / "q")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")
    for name in ("write", "fsync"):
        with monkeypatch.context() as patch:
            patch.setattr(os, name, full)
            with pytest.raises(HoldError, match="no space left"):
                store.keep(held(), 1.0)
        assert store.items() == [] and files(tmp_path / "q") == []
    store.keep(held(), 1.0)
    assert store.read("h1") == held()
    store.close()
    with pytest.raises(HoldError, match="is closed"):
        store.read("h1")


class Crash(BaseException):
    """The process ends here."""


class Life(RuleBasedStateMachine):
    """Keeps, moves, erases and rotates, ends at any step that changes the disk, and begins again."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="holds-"))
        self.left = -1
        """Steps until the end of the process; below 0: it lives."""
        self.number = 0
        self.rows = 0
        self.kept: dict[str, str] = {}
        """What was answered: item -> its state."""
        self.maybe: dict[str, set[str | None]] = {}
        """What an end left open: item -> states that it may have; None: it may not be there."""
        self.sizes: dict[str, int] = {}

    def before(self, _step: str) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1

    def teardown(self) -> None:
        self.left = -1
        self.store.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self.store = HoldStore(self.folder / "q", lambda: Limits(hold_items=6, hold_client_items=6), before=self.before)
        self.store.open()

    def row(self, step: str) -> dict[str, Any]:
        """What the log is owed of a change."""
        self.rows += 1
        return {"id": f"r{self.rows}", "step": step}

    def again(self) -> None:
        """What a new process finds."""
        assert self.store._base is not None
        self.left = -1
        self.store.close()
        self.begin()
        there = {item.id: item.state for item in self.store.items()}
        for ident, states in self.maybe.items():
            assert there.get(ident) in states
            if there.get(ident) is None:
                self.kept.pop(ident, None)
            else:
                self.kept[ident] = there[ident]
        self.maybe.clear()
        alive = {ident for ident, state in there.items() if state != "erased"}
        assert len(files(self.folder / "q")) == len(alive)

    def attempt(self, steps: int, work: Callable[[], None], open_: dict[str, set[str | None]]) -> None:
        self.left = steps
        try:
            work()
        except Crash:
            self.maybe = open_
            self.again()
        finally:
            self.left = -1

    @rule(steps=st.integers(-1, 9), size=st.sampled_from([-1, 0, 5, CHUNK + 1]))
    def keep(self, steps: int, size: int) -> None:
        self.number += 1
        ident = f"h{self.number}"
        source = self.folder / "content"
        self.sizes[ident] = size

        def work() -> None:
            descriptor = -1
            if size >= 0:
                source.write_bytes(ident.encode() * size)
                descriptor = os.open(source, os.O_RDONLY)
            try:
                gone = self.store.keep(
                    held(ident), float(self.number), descriptor, self.row("held"), lambda _: self.row("erased"))
            except HoldFull:
                assert sum(state in WAITING for state in self.kept.values()) >= 6
                return
            finally:
                if descriptor >= 0:
                    os.close(descriptor)
            for item in gone:
                self.kept[item.id] = "erased"
            self.kept[ident] = "held"
        ended: dict[str, set[str | None]] = {
            one: {state, "erased"} for one, state in self.kept.items() if state in ENDED}
        self.attempt(steps, work, {ident: {None, "held"}, **ended})

    @precondition(lambda self: self.kept)
    @rule(steps=st.integers(-1, 2), data=st.data())
    def move(self, steps: int, data: st.DataObject) -> None:
        ident = data.draw(st.sampled_from(sorted(self.kept)))
        state = data.draw(st.sampled_from([*WAITING, *ENDED]))
        old = self.kept[ident]

        def work() -> None:
            assert self.store.move(ident, WAITING, state, 5.0, row=self.row(state)) is (old in WAITING)
            if old in WAITING:
                self.kept[ident] = state
        self.attempt(steps, work, {ident: {old, state} if old in WAITING else {old}})

    @precondition(lambda self: self.kept)
    @rule(steps=st.integers(-1, 4), data=st.data(), forget=st.booleans())
    def drop(self, steps: int, data: st.DataObject, forget: bool) -> None:
        ident = data.draw(st.sampled_from(sorted(self.kept)))
        old = self.kept[ident]

        def work() -> None:
            if forget:
                assert self.store.forget(ident, self.row("forgotten"))
                del self.kept[ident]
            else:
                assert self.store.erase(ident, 9.0, self.row("erased")) is (old != "erased")
                self.kept[ident] = "erased"
        gone: dict[str, set[str | None]] = {
            one: {state, None} for one, state in self.kept.items() if state == "erased"}
        self.attempt(steps, work, {**gone, ident: {old, None if forget else "erased"}})

    @rule(steps=st.integers(-1, 9))
    def rotate(self, steps: int) -> None:
        def work() -> None:
            done = self.store.rotate(lambda done: {**self.row("rotated"), "n": done})
            assert done == sum(state != "erased" for state in self.kept.values())
        self.attempt(steps, work, {})

    @rule()
    def restart(self) -> None:
        self.again()

    @invariant()
    def all_that_was_answered_is_there(self) -> None:
        """Readable, in its state; and nothing else is listed."""
        there = {item.id: item.state for item in self.store.items()}
        alive = {ident: state for ident, state in self.kept.items() if state != "erased"}
        assert {ident: state for ident, state in there.items() if state != "erased"} == alive
        for ident in alive:
            assert self.store.read(ident) == held(ident)
            assert content(self.store, ident) == ident.encode() * max(0, self.sizes[ident])

    @invariant()
    def no_change_stands_without_its_row(self) -> None:
        """Nor is there a row of one that does not."""
        last = {owed.item: owed.row["step"] for owed in self.store.owed()}
        there = {item.id: item.state for item in self.store.items()}
        assert {ident: last.get(ident) for ident in there} == there
        assert {step for ident, step in last.items() if ident and ident not in there} <= {"forgotten", "erased"}


@pytest.mark.parametrize("examples", [6, pytest.param(150, marks=pytest.mark.long)])
def test_no_end_of_the_process_loses_or_invents_an_item(examples: int) -> None:
    """What was answered as kept is read in its state, what was not is not listed and leaves no file."""
    run_state_machine_as_test(Life, settings=settings(
        max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)))


def test_what_is_done_is_owed_to_the_log_until_it_is_settled(tmp_path: Path) -> None:
    """In the order in which it was done, also for the next process and after a rotation; what is taken back, or was
    not done at all, is not owed."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0, row={"id": "r1", "step": "held", "sender": "al\ud800ice"})
    assert not store.move("h1", ("released",), "denied", 2.0, row={"id": "r2"})
    assert store.move("h1", ("held",), "released", 2.0, row={"id": "r3", "by": "rita"})
    assert store.move("h1", ("released",), "held", 2.0, row={"id": "r4"}, instead_of="r3")
    store.rotate(lambda done: {"id": "r5", "done": done})
    store.close()
    store = made(tmp_path / "q")
    assert store.owed() == [
        Owed("h1", {"id": "r1", "step": "held", "sender": "al\ud800ice"}), Owed("h1", {"id": "r4"}),
        Owed("", {"id": "r5", "done": 1})]
    store.settle(["r1", "r5", "r9"])
    assert store.owed() == [Owed("h1", {"id": "r4"})]
    assert store.forget("h1", {"id": "r6"}) and not store.forget("h1", {"id": "r7"})
    assert [owed.row["id"] for owed in store.owed()] == ["r4", "r6"]
    store.close()


def test_a_rotation_that_is_finished_at_the_start_is_told(tmp_path: Path) -> None:
    """How many items' keys were wrapped anew; nothing where there was nothing to finish."""
    def before(step: str) -> None:
        if step == "wrap":
            raise Crash
    store = HoldStore(tmp_path / "q", before=before)
    assert store.open().rotated is None
    store.keep(held(), 1.0)
    with pytest.raises(Crash):
        store.rotate()
    assert store._base is not None
    store.close()
    store = HoldStore(tmp_path / "q")
    assert store.open().rotated == 1
    store.close()


def test_a_store_of_an_earlier_release_is_brought_up_to_date(tmp_path: Path) -> None:
    """What it holds is read as before, and what is done from now on is owed to the log."""
    store = made(tmp_path / "q")
    store.keep(held(), 1.0)
    store.close()
    with sqlite3.connect(tmp_path / "q" / "index.db") as base:
        base.execute("DROP TABLE owed")
        base.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    base.close()
    store = made(tmp_path / "q")
    assert store.read("h1") == held() and store.owed() == []
    assert store.move("h1", ("held",), "denied", 2.0, row={"id": "r1"})
    assert [owed.item for owed in store.owed()] == ["h1"]
    store.close()


def test_the_index_says_only_what_a_list_shows(tmp_path: Path) -> None:
    """No column holds a text, a user, an address, a digest or a file's name."""
    store = made(tmp_path / "q")
    store.keep(held(user="secret-user", conversation="secret-room", digest="d1g3st", reason="because secret",
                    file_name="secret.docx", findings=("secret.rule",), message="secret-id"), 1.0,
               row={"id": "r1", "user": "secret-user"})
    assert store.move("h1", ("held",), "denied", 2.0, row={"id": "r2", "note": "secret reason"})
    store.close()
    text = (tmp_path / "q" / "index.db").read_bytes()
    for secret in (b"secret", b"d1g3st", b"10.0.0.5"):
        assert secret not in text
    assert "secret" in msgspec.json.encode(held(user="secret-user")).decode()


def test_what_threads_read_is_known_before_they_do() -> None:
    """Two threads that decode a type which msgspec has not met yet can end the process: this one is known when the
    module is there."""
    code = (
        "import gc, inspector.store.holds; from inspector.model import Held; "
        "print([type(one).__name__ for one in gc.get_referents(Held)].count('StructInfo'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "1\n"
