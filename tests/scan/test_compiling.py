"""Compiling packs: faults at their place, in a child that is bounded, and a cache that trusts only its own."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inspector.model import Limits, Text
from inspector.scan import PackError, compiling, load
from inspector.scan.compiling import build, build_cached, build_in_child, compile_here
from inspector.scan.indicators import Table
from inspector.scan.scanner import PackScanner
from tests.scan import making

RULES = making.rule("a", '$a = "word"', "$a") + making.rule("b", '$a = "other"', "$a", scope="both")


def test_yara_s_own_faults_have_line_and_column() -> None:
    """Each refused rule is told, at its line of the file, where the line has what YARA names."""
    rules = "\n\n" + RULES + making.rule("c", '$a = "word"', "$a and $missing") + making.rule("d", "", "nothing > 1")
    faults = build([making.pack(rules)], Limits()).faults
    assert [(one.line, one.text) for one in faults] == [
        (5, 'undefined string "$missing"'), (6, 'undefined identifier "nothing"'),
    ]
    assert faults[0].column == rules.splitlines()[4].index("$missing") + 1


def test_faults_of_file_rules_are_found_too() -> None:
    """A rule for files only is compiled as well."""
    faults = build([making.pack(making.rule("f", '$a = "word"', "$b", scope="file"))], Limits()).faults
    assert [one.line for one in faults] == [1]


def test_the_child_compiles_the_same() -> None:
    """What comes back from the child is what this process would have made."""
    here, there = build([making.pack(RULES)], Limits()), build_in_child([making.pack(RULES)], Limits())
    assert (here.rows, here.atoms, here.always) == (there.rows, there.atoms, there.always)
    assert [(one.units, one.rows) for one in here.shards] == [(one.units, one.rows) for one in there.shards]
    assert (here.file_key, Table(here.index).content) == (there.file_key, Table(there.index).content)


def test_compiling_is_bounded() -> None:
    """Too long is a fault that names the limit; a child that dies is one too."""
    with pytest.raises(PackError, match=r"more than 0\.001 seconds \(limits\.compile_seconds\)"):
        build_in_child([making.pack(RULES)], Limits(compile_seconds=0.001))


def _counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    calls: list[int] = []

    def counting(*given: Any) -> Any:
        calls.append(1)
        return compile_here(*given)

    monkeypatch.setattr(compiling, "compile_files", counting)
    return calls


def test_compiled_packs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second time nothing is compiled; another source, another version or another shard size is compiled anew."""
    calls = _counted(monkeypatch)
    folder = tmp_path / "cache"
    for _ in range(2):
        build_cached([making.pack(RULES)], Limits(), folder)
    assert len(calls) == 1
    assert folder.stat().st_mode & 0o777 == 0o700
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".indicators", ".rules"]
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    build_cached([making.pack(RULES + " ")], Limits(), folder)
    build_cached([making.pack(RULES)], Limits(yara_rules_per_shard=1), folder)
    assert len(calls) == 3


def _corrupt(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["rules", "indicators"])
@pytest.mark.parametrize("spoil", [
    _corrupt, lambda path: path.write_bytes(b""), lambda path: path.write_bytes(path.read_bytes()[:-9]),
    lambda path: path.chmod(0o640), lambda path: path.chmod(0o602),
    lambda path: (path.rename(path.with_suffix(".x")), path.symlink_to(path.with_suffix(".x"))),
    lambda path: os.chown(path, 12345, 12345) if os.geteuid() == 0 else path.unlink(),
])
def test_what_is_not_whole_or_not_ours_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: object, kind: str,
) -> None:
    """A corrupted, shortened, foreign, shared or linked file is compiled again."""
    calls = _counted(monkeypatch)
    folder = tmp_path / "cache"
    build_cached([making.pack(RULES)], Limits(), folder)
    (path,) = folder.glob(f"*.{kind}")
    assert callable(spoil)
    spoil(path)
    built = build_cached([making.pack(RULES)], Limits(), folder)
    assert len(calls) == 2 and len(built.rows) == 2


def test_a_shared_folder_is_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that others may read or write is left alone."""
    calls = _counted(monkeypatch)
    tmp_path.chmod(0o755)
    for _ in range(2):
        build_cached([making.pack(RULES)], Limits(), tmp_path)
    assert len(calls) == 2 and not list(tmp_path.iterdir())


def test_packs_with_faults_are_not_kept(tmp_path: Path) -> None:
    """Faults are found again the next time."""
    folder = making.write(tmp_path, making.rule("c", '$a = "word"', "$b"))
    for _ in range(2):
        with pytest.raises(PackError, match="undefined string"):
            load(folder, cache=tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_shards_have_the_size_of_the_limit() -> None:
    """Rules are compiled in shards of limits.yara_rules_per_shard; each is found whatever its shard."""
    rules = "".join(making.rule(f"r{i}", f'$a = "word{i:03d}x"', "$a") for i in range(130))
    built = making.built(making.pack(rules))
    assert [len(shard.units) for shard in built.shards] == [64, 64, 2]
    scanner = making.scanner(making.pack(rules))
    for i in (0, 63, 64, 129):
        assert [one.rule for one in scanner.quick([Text("b", f"a word{i:03d}x")]) or ()] == [f"t.r{i}"]


LIST = "kind,value,severity,description\ndomain,evil.example,high,bad host\nphrase,wire the money,low,a phrase\n"


def test_lists_that_have_not_changed_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another rule takes the kept index: the same file, so that workers of both versions share it."""
    calls = _counted(monkeypatch)
    folder = tmp_path / "cache"
    one = build_cached([making.pack(RULES, bad=LIST)], Limits(), folder)
    (index,) = folder.glob("*.indicators")
    before = index.stat()
    monkeypatch.setattr(compiling, "build_index", None)
    other = build_cached([making.pack(RULES + " ", bad=LIST)], Limits(), folder)
    after = index.stat()
    assert len(calls) == 2 and (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert bytes(one.index) == bytes(other.index)
    for built in (one, other):
        scanner = PackScanner(built, Limits())
        found = scanner.quick([Text("b", "Wire the money to evil.example, a word")]) or ()
        assert sorted(one.rule for one in found) == ["t.a", "t.bad", "t.bad"]


def test_more_indicators_than_the_limit_are_told_though_they_are_kept(tmp_path: Path) -> None:
    """A lowered limits.indicators holds for an index that was made before."""
    folder = tmp_path / "cache"
    assert not build_cached([making.pack(bad=LIST)], Limits(), folder).faults
    faults = build_cached([making.pack(bad=LIST)], Limits(indicators=1), folder).faults
    assert [one.text for one in faults] == ["more than 1 indicators in all packs together"]


def test_compiling_has_a_bound_of_memory() -> None:
    """A child that would need more is told with the name of the limit."""
    rows = "".join(f"domain,host{i}.example,low,d\n" for i in range(20_000))
    lists = "kind,value,severity,description\n" + rows
    with pytest.raises(PackError, match=r"limits\.compile_bytes"):
        build_in_child([making.pack(bad=lists)], Limits(compile_bytes=1 << 20))


def test_a_shard_is_loaded_when_a_text_asks_for_it() -> None:
    """What no text has asked for takes no memory of the worker, and what is asked for is found at once."""
    rules = "".join(making.rule(f"r{i}", f'$a = "word{i:03d}x"', "$a") for i in range(130))
    scanner = making.scanner(making.pack(rules))
    assert scanner.loaded == 0 and scanner.quick([Text("b", "no word of them")]) == ()
    assert scanner.loaded == 0
    assert [one.rule for one in scanner.quick([Text("b", "a word129x")]) or ()] == ["t.r129"]
    assert scanner.loaded == 1


def test_those_who_start_together_compile_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four at a time: one compiles, the others take what it has made; a copy of the packs elsewhere is the same."""
    calls = _counted(monkeypatch)
    for name in ("one", "other"):
        making.write(tmp_path / name, RULES)
    with ThreadPoolExecutor(4) as pool:
        loaded = list(pool.map(lambda i: load(tmp_path / ("one", "other")[i % 2], cache=tmp_path / "cache"), range(4)))
    assert len(calls) == 1
    for one in loaded:
        assert [found.rule for found in one.scanner.quick([Text("b", "a word")]) or ()] == ["t.a"]


def test_another_version_of_the_program_is_not_mixed_with_this_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What another version has kept is made anew, and a child that would be another version compiles nothing for us:
    the numbers of detectors and shards could be others."""
    calls = _counted(monkeypatch)
    build_cached([making.pack(RULES)], Limits(), tmp_path / "cache")
    monkeypatch.setattr(compiling, "PROGRAM", "another")
    build_cached([making.pack(RULES)], Limits(), tmp_path / "cache")
    assert len(calls) == 2
    monkeypatch.undo()
    monkeypatch.setattr(compiling, "PROGRAM", "another")
    with pytest.raises(PackError, match="changed on disk since it was started: restart it"):
        build_in_child([making.pack(RULES)], Limits())
