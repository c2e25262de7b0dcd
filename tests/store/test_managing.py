"""An operator's hand in a store: events of his own, nothing left behind. The commands: tests/app/test_erase_cmd.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inspector.store import erasing, tables
from inspector.store.chain import walk
from inspector.store.managing import managed
from inspector.store.sqlite import Reader, StoreError, Writer
from tests.store.rows import T, message


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with rows of alice and bob."""
    writer = Writer(tmp_path / "events.db", gateway="gw1")
    writer.start()
    for n in range(4):
        writer.put(message(n, sender="alice" if n % 2 else "bob", user=None, recipients=[]))
    writer.close()
    return tmp_path / "events.db"


def test_erasing_and_holding_leave_events_in_a_chain_of_their_own(path: Path) -> None:
    """Everything verifies, the chain is given back."""
    with managed(path, "gw1") as store:
        assert store.hold("bob", "root", "case 7") and not store.hold("Bob", "root", None)
        done = store.erase("alice", T + 1e6, "root", "hmac")
        assert (done.count, done.held, done.clean) == (2, 0, True)
        held = store.erase("bob", T + 1e6, "root", "hmac")
        assert (held.count, held.held) == (0, 2)
        assert store.unhold("bob", "root", None) and not store.unhold("bob", "root", None)
    with Reader(path) as reader:
        states = {state.chain: (state.rows, state.erased, state.fault) for _, state in walk(reader.links())}
        told = [json.loads(line) for _, line in reader.select(events=("erased", "legal_hold"))]
    assert states == {"0": (4, 2, None), "manage": (3, 0, None)}
    assert [(line["event"], line["gateway"], line["by"]) for line in told] == [
        ("legal_hold", "gw1", "root"), ("erased", "gw1", "root"), ("legal_hold", "gw1", "root")]
    base = tables.connect(path)
    assert base.execute("SELECT count(*) FROM writers").fetchone() == (0,)
    base.close()


def test_two_operators_do_not_share_a_chain(path: Path) -> None:
    """Each has his own while both are at work."""
    with managed(path, "gw1") as one, managed(path, "gw1") as two:
        assert one.hold("a", "root", None) and two.hold("b", "root", None)
    with Reader(path) as reader:
        assert {state.chain for _, state in walk(reader.links())} == {"0", "manage", "manage.1"}


def test_what_fails_on_the_way_is_one_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No store; a store that stays locked: StoreError, and the next one may work on it."""
    with pytest.raises(StoreError, match="there is none yet"), managed(path.with_name("none.db"), "gw1"):
        pass
    monkeypatch.setattr(erasing, "SCRUB_SECONDS", 0.05)
    other = tables.connect(path)
    with pytest.raises(StoreError, match=r"events\.db: .*locked"), managed(path, "gw1") as store:
        tables.begin(other)
        monkeypatch.setattr(tables, "OPEN_SECONDS", 0.05)
        store.hold("a", "root", None)
    other.execute("ROLLBACK")
    other.close()
    with managed(path, "gw1") as store:
        assert store.hold("a", "root", None)
