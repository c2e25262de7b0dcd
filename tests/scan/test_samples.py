"""Samples of packs."""

from __future__ import annotations

from pathlib import Path

from inspector.scan.packs import Pack
from inspector.scan.samples import missing, read_samples
from inspector.wire.located import Fault


def test_samples_are_named_after_their_rule(tmp_path: Path) -> None:
    """A file or a folder of that name; hexadecimal ones are undone; both kinds are wanted."""
    for name, data in {"match/t.a.txt": "x", "match/t.b/any": "y", "nomatch/t.a.hex": "41 42\n"}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(data)
    pack = Pack("t", "1", str(tmp_path), ())
    faults: list[Fault] = []
    found = [(one.rule, one.must, one.data) for one in read_samples(pack, ["t.a", "t.b"], faults)]
    assert found == [("t.a", True, b"x"), ("t.b", True, b"y"), ("t.a", False, b"AB")] and faults == []
    assert [one.text for one in missing(pack, ["t.a", "t.b"])] == [
        "the rule t.b has no sample in nomatch/ that does not match",
    ]
