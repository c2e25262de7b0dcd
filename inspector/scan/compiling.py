"""Compiling packs: rules into shards, atoms for the prefilter, lists into rows; in a child process, kept in a cache.

Compiling ten thousand rules takes seconds, of rules not yet trusted to end: so a child does it, with a limit of time.
What comes back is plain data, the same that the cache keeps. The compiled form of YARA is trusted code: the cache is
a folder of ours that nobody else may write to, and files of anybody else are not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import resource
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yara  # type: ignore[import-not-found]

from inspector.model.limits import Limits
from inspector.model.verdicts import Severity
from inspector.scan import atoms, conditions, linearity, prefilter
from inspector.scan.atoms import Atoms
from inspector.scan.detectors import DETECTORS
from inspector.scan.indicators import HASH_TESTS, HOST_TESTS, Indicator, Table, read_indicators
from inspector.scan.packs import Pack, PackError, digest
from inspector.scan.prefilter import Entry
from inspector.scan.rules import PackRule, read_rules
from inspector.wire.located import Fault

_MAGIC = b"inspector rules 2\n"
_FILE_SHARD = 1024
"""File rules compiled into one object: each object reads the whole file anew, one of 10,000 takes long to make."""
_ATOMS = 4096
"""Most atoms of one rule (256 keys of an xor string, in a few strings); a rule with more runs always."""

HOSTS = len(DETECTORS)
"""Number that the prefilter reports when a host may be in a text; below it are the detectors."""
HASHES = HOSTS + 1
SHARDS = HOSTS + 2
"""Number of the first shard; phrases come behind the last."""


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What a rule's finding says."""

    id: str
    severity: Severity
    description: str
    pack: str
    tags: tuple[str, ...]
    scope: str


class Unit(msgspec.Struct, frozen=True, array_like=True):
    """Rules that can only be compiled together (most often one), as source with the imports it needs."""

    namespace: str
    source: str
    names: tuple[str, ...]


class Shard(msgspec.Struct, frozen=True, array_like=True):
    """Units compiled into one object."""

    compiled: bytes
    units: tuple[Unit, ...]


class Built(msgspec.Struct, frozen=True, array_like=True):
    """All that a scanner is made of."""

    packs: tuple[str, ...]
    rows: list[Row]
    """All rules that make findings, file rules too."""
    names: dict[str, int]
    """namespace:name of a message rule to its row; private rules are not in it."""
    shards: list[Shard]
    always: list[int]
    """Shards that run on every text."""
    always_rules: list[str]
    """Ids of the rules in them."""
    atoms: list[Entry]
    """Entries of the prefilter that name shards."""
    indicators: list[Indicator]
    dump: bytes
    """The prefilter's database, empty where it is not kept."""
    files: list[bytes]
    """Compiled objects of the rules for files."""
    file_names: dict[str, int]
    """namespace:name of a file rule (scope file or both) to its row."""
    faults: list[Fault]


def build(packs: Sequence[Pack], limits: Limits) -> Built:
    """Compile packs in this process. Faults are in the result; with faults it is good for nothing else."""
    rules, faults = read_rules(packs)
    indicators, more = read_indicators(packs, limits.indicators)
    faults += more
    for rule in rules:
        if rule.for_messages:
            faults.extend(
                rule.source.fault(string.at, text) for string in rule.rule.strings for text in linearity.faults(string)
            )
    units, needed = units_of(rules)
    shards, always, entries = _shards(units, needed, limits.yara_rules_per_shard)
    compiled: list[Shard] = []
    for group in shards:
        try:
            compiled.append(Shard(_compile(group), tuple(group)))
        except yara.Error:
            faults.extend(_located(rules, group))
    files = units_of(rules, messages=False)[0]
    compiled_files: list[bytes] = []
    for start in range(0, len(files), _FILE_SHARD):
        group = files[start:start + _FILE_SHARD]
        try:
            compiled_files.append(_compile(group))
        except yara.Error:
            faults.extend(_located(rules, group))
    rows = [rule for rule in rules if "private" not in rule.rule.flags]
    index = {id(rule): i for i, rule in enumerate(rows)}
    built = Built(
        packs=tuple(pack.label for pack in packs),
        rows=[Row(r.id, r.severity, r.description, r.pack, r.tags, r.scope) for r in rows],
        names={f"{_space(r)}:{r.rule.name}": index[id(r)] for r in rows if r.for_messages},
        shards=compiled,
        always=always,
        always_rules=[
            r.id for r in rows if r.for_messages and needed[_space(r), r.rule.name] is None
        ],
        atoms=entries,
        indicators=indicators,
        dump=b"",
        files=compiled_files,
        file_names={f"{_space(r)}:{r.rule.name}": index[id(r)] for r in rows if r.for_files},
        faults=sorted(set(faults)),
    )
    if built.faults:
        return built
    return msgspec.structs.replace(built, dump=prefilter.dump(all_entries(built, Table(indicators))))


def all_entries(built: Built, table: Table) -> list[Entry]:
    """What the prefilter looks for: tests of the detectors and lists, atoms of the shards, phrases."""
    entries = [Entry(test, i, pattern=True) for i, one in enumerate(DETECTORS) for test in one.tests]
    if table.has_hosts:
        entries += [Entry(test, HOSTS, pattern=True) for test in HOST_TESTS]
    if table.has_hashes:
        entries += [Entry(test, HASHES, pattern=True) for test in HASH_TESTS]
    entries += [Entry(e.source, SHARDS + e.number, e.caseless, e.pattern) for e in built.atoms]
    first = SHARDS + len(built.shards)
    return entries + table.entries((i, first + k) for k, i in enumerate(table.phrases))


def _space(rule: PackRule) -> str:
    """A namespace's name: YARA takes any text, paths included."""
    return rule.namespace


def units_of(
    rules: Iterable[PackRule], messages: bool = True,
) -> tuple[list[Unit], dict[tuple[str, str], Atoms | None]]:
    """Rules in groups that need one another, and the atoms that each rule needs (None: it runs always).

    `messages`: the groups that have a rule for messages; else those that have one for files.
    """
    files: dict[str, list[PackRule]] = {}
    for rule in rules:
        files.setdefault(_space(rule), []).append(rule)
    units: list[Unit] = []
    needed: dict[tuple[str, str], Atoms | None] = {}
    for space, members in files.items():
        if not any(rule.for_messages if messages else rule.for_files for rule in members):
            continue
        found: dict[str, Atoms | None] = {}
        for rule in members:
            # There is no prefilter for files, so nothing is needed of their rules.
            found[rule.rule.name] = _needed(rule, found) if messages else None
        for rule in members:
            # What makes no finding need not run for its own sake; it is compiled with the rules that name it.
            reports = rule.for_messages and "private" not in rule.rule.flags
            needed[space, rule.rule.name] = found[rule.rule.name] if reports else frozenset()
        imports = "".join(f'import "{name}"\n' for name in members[0].source.imports)
        for group in _components(members):
            reporting = [rule for rule in group if "private" not in rule.rule.flags]
            if not any(rule.for_messages if messages else rule.for_files for rule in reporting):
                continue
            data = members[0].source.data
            source = imports + "\n".join(data[r.rule.at:r.rule.end].decode("utf-8", "replace") for r in group)
            units.append(Unit(space, source, tuple(rule.rule.name for rule in group)))
    return units, needed


def _components(members: Sequence[PackRule]) -> list[list[PackRule]]:
    """The rules of a file in groups: those that name one another together; all of them when one is global."""
    if any("global" in rule.rule.flags for rule in members):
        return [list(members)]
    group = {rule.rule.name: [rule] for rule in members}
    names = set(group)
    for rule in members:
        for token in rule.rule.condition:
            text = token.text
            if text in names:
                named = {text}
            elif text[-1] == "*" and text[0].isalpha():
                named = {name for name in names if name.startswith(text[:-1])}
            else:
                continue
            for name in named - {rule.rule.name}:
                one, other = group[rule.rule.name], group[name]
                if one is not other:
                    one.extend(other)
                    for moved in other:
                        group[moved.rule.name] = one
    order = {rule.rule.name: i for i, rule in enumerate(members)}
    distinct = {id(one): one for one in group.values()}
    return [sorted(one, key=lambda rule: order[rule.rule.name]) for one in distinct.values()]


def _needed(rule: PackRule, others: Mapping[str, Atoms | None]) -> Atoms | None:
    """Atoms one of which is in every text that the rule is true for. Empty: it is never true."""
    named = {token.text for token in rule.rule.condition} & others.keys()
    table: dict[str, Atoms | None] = {name: others[name] for name in named}
    names: list[str] = []
    for i, string in enumerate(rule.rule.strings):
        name = string.name if string.name != "$" else f"$\0{i}"
        names.append(name)
        table[name] = atoms.of_string(string)

    def price(one: conditions.Needs) -> float | None:
        sets = [table.get(name) for name in one]
        if any(found is None for found in sets):
            return None
        return sum(atoms.cost(found) for found in sets if found is not None)

    references = {name: None if others[name] is None else frozenset({name}) for name in named}
    needs = conditions.needs(rule.rule.condition, names, price, references)
    if needs is None or any(table.get(name) is None for name in needs):
        return None
    joined: Atoms = frozenset().union(*(table[name] or frozenset() for name in needs))
    return joined if len(joined) <= _ATOMS else None


def _shards(
    units: Sequence[Unit], needed: Mapping[tuple[str, str], Atoms | None], most: int,
) -> tuple[list[list[Unit]], list[int], list[Entry]]:
    """Units in groups of about `most` rules; which of them run always; the atoms of the others."""
    shards: list[list[Unit]] = []
    always: list[int] = []
    entries: dict[Entry, None] = {}
    sure = [unit for unit in units if all(needed[unit.namespace, name] is not None for name in unit.names)]
    rest = [unit for unit in units if any(needed[unit.namespace, name] is None for name in unit.names)]
    for group, run_always in ((sure, False), (rest, True)):
        size = most
        for unit in group:
            if size >= most:
                shards.append([])
                size = 0
                if run_always:
                    always.append(len(shards) - 1)
            shards[-1].append(unit)
            size += len(unit.names)
            if not run_always:
                for name in unit.names:
                    for atom in sorted(needed[unit.namespace, name] or (), key=lambda one: one.source):
                        entries[Entry(atom.source, len(shards) - 1, atom.caseless, atom.pattern)] = None
    return shards, always, list(entries)


def _compile(units: Iterable[Unit]) -> bytes:
    rules = compile_units(units)
    out = io.BytesIO()
    rules.save(file=out)
    return out.getvalue()


def compile_units(units: Iterable[Unit]) -> Any:
    """Units as one object. Raises yara.Error."""
    sources: dict[str, str] = {}
    for unit in units:
        sources[unit.namespace] = sources.get(unit.namespace, "") + unit.source + "\n"
    return yara.compile(sources=sources, includes=False)


def _located(rules: Sequence[PackRule], group: Sequence[Unit]) -> list[Fault]:
    """The faults of the units of a group that YARA refuses, each at its line of the file."""
    by_name = {(_space(rule), rule.rule.name): rule for rule in rules}
    faults: list[Fault] = []
    for unit in group:
        source = by_name[unit.namespace, unit.names[0]].source
        text = bytearray(10 if byte == 10 else 32 for byte in source.data)
        for name in unit.names:
            rule = by_name[unit.namespace, name].rule
            text[rule.at:rule.end] = source.data[rule.at:rule.end]
        # Imports stand before the first line end, so that lines keep their numbers.
        imports = "".join(f'import "{name}" ' for name in source.imports)
        try:
            yara.compile(source=imports + text.decode("utf-8", "replace"), includes=False)
        except yara.Error as exc:
            faults.append(_fault(source.path, source.data, str(exc)))
    return faults


def _fault(path: str, data: bytes, message: str) -> Fault:
    """YARA's message, "line 5: undefined string "$b"", with a column where the line has what it names."""
    head, _, text = message.partition(": ")
    try:
        line = int(head.removeprefix("line "))
    except ValueError:
        return Fault(path, 0, 0, message)
    lines = data.split(b"\n")
    content = lines[line - 1].decode("utf-8", "replace") if 0 < line <= len(lines) else ""
    quoted = text.split('"')[1] if text.count('"') >= 2 else ""
    column = content.find(quoted) + 1 if quoted else 0
    return Fault(path, line, column or len(content) - len(content.lstrip()) + 1, text)


# -- the child


class _Request(msgspec.Struct, frozen=True, array_like=True):
    packs: list[Pack]
    rules_per_shard: int
    indicators: int
    seconds: float


def build_in_child(packs: Sequence[Pack], limits: Limits) -> Built:
    """Compile packs in a process of its own. Raises PackError when it takes too long or dies.

    Faults of the packs are in the result.
    """
    request = msgspec.msgpack.encode(
        _Request(list(packs), limits.yara_rules_per_shard, limits.indicators, limits.compile_seconds)
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    where = os.path.commonpath([pack.folder for pack in packs]) if packs else "."
    try:
        done = subprocess.run(
            [sys.executable, "-c", "from inspector.scan.compiling import child; child()"],
            input=request, capture_output=True, timeout=limits.compile_seconds, env=environment, check=False,
        )
    except subprocess.TimeoutExpired:
        text = f"compiling the packs takes more than {limits.compile_seconds:g} seconds (limits.compile_seconds)"
        raise PackError([Fault(where, 0, 0, text)]) from None
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        raise PackError([Fault(where, 0, 0, f"compiling the packs failed (exit {done.returncode}): {last}")])
    return msgspec.msgpack.decode(done.stdout, type=Built)


def child() -> None:
    """What the child does: packs on stdin, the result on stdout."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    seconds = int(request.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    limits = Limits(yara_rules_per_shard=request.rules_per_shard, indicators=request.indicators)
    sys.stdout.buffer.write(msgspec.msgpack.encode(build(request.packs, limits)))


# -- the cache


def build_cached(packs: Sequence[Pack], limits: Limits, folder: Path | None) -> Built:
    """Compile packs, or take them from the cache folder. Raises PackError as build_in_child does."""
    if folder is None or not _private_folder(folder):
        return build_in_child(packs, limits)
    key = digest(packs, yara.__version__, prefilter.versions(), str(limits.yara_rules_per_shard), sys.version)
    path = folder / f"{key}.rules"
    kept = _read(path)
    if kept is not None and len(kept.indicators) <= limits.indicators:
        return kept
    built = build_in_child(packs, limits)
    if not built.faults:
        _write(path, msgspec.msgpack.encode(built))
    return built


def _private_folder(folder: Path) -> bool:
    """Whether a folder is ours alone; it is made when it is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _read(path: Path) -> Built | None:
    """A kept result; None when there is none, or it is not ours, or not whole."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(number, "rb") as file:
        found = os.fstat(number)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return None
        data = file.read()
    head = len(_MAGIC)
    body = data[head + 32:]
    if data[:head] != _MAGIC or hashlib.sha256(body).digest() != data[head:head + 32]:
        return None
    try:
        return msgspec.msgpack.decode(body, type=Built)
    except msgspec.DecodeError:
        return None


def _write(path: Path, body: bytes) -> None:
    """Keep a result; a cache that cannot be written is only slower. The newest few are kept."""
    with contextlib.suppress(OSError):
        number, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
        try:
            with os.fdopen(number, "wb") as file:
                file.write(_MAGIC + hashlib.sha256(body).digest() + body)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise
        kept = sorted(path.parent.glob("*.rules"), key=lambda one: one.stat().st_mtime, reverse=True)
        for old in kept[8:]:
            old.unlink()
