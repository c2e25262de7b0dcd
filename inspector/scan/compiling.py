"""Compiling packs: rules into shards, atoms for the prefilter, lists into rows; in a child process, kept in a cache.

Compiling ten thousand rules takes seconds, of rules not yet trusted to end: so a child does it, with limits of time and
memory. It reads the packs itself and writes two files: the index of the indicators, and all that rules become. They are
mapped (mapped.py), so that workers share them, and what a worker makes of them it makes when it needs it: a shard's
rules are loaded when a text first asks for them. The compiled form of YARA is trusted code: the cache is a folder of
ours that nobody else may write to, and files of anybody else are not read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import os
import resource
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
from inspector.scan import atoms, conditions, linearity, mapped, prefilter
from inspector.scan.atoms import Atoms
from inspector.scan.detectors import DETECTORS, HASHES, HOSTS, SHARDS
from inspector.scan.filerules import FileRow, pack_rules
from inspector.scan.indicators import (
    HASH_TESTS,
    HOST_TESTS,
    Index,
    Table,
    index_of,
    read_lists,
)
from inspector.scan.packs import Pack, PackError, digest, read_packs
from inspector.scan.prefilter import Entry
from inspector.scan.rules import PackRule, read_rules
from inspector.wire.located import Fault

_RULES = b"inspector rules 3\n"
_INDEX = b"inspector indicators 2\n"
_NICE = 10
_FILE_SHARD = 1024
"""File rules compiled into one object: each object reads the whole file anew, one of 10,000 takes long to make."""
_ATOMS = 4096
"""Most atoms of one rule (256 keys of an xor string, in a few strings); a rule with more runs always."""


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
    """Units compiled into one object; what belongs to them is decoded when it is asked for."""

    compiled: memoryview
    packed_units: msgspec.Raw
    packed_rows: msgspec.Raw

    @property
    def units(self) -> list[Unit]:
        """The source of what is in it."""
        return _units.decode(self.packed_units)

    @property
    def rows(self) -> dict[str, Row]:
        """namespace:name of a message rule to its row; private rules are not in it."""
        return _named.decode(self.packed_rows)


_units = msgspec.msgpack.Decoder(list[Unit])
_named = msgspec.msgpack.Decoder(dict[str, Row])
_encode = msgspec.msgpack.Encoder().encode


class _Rules(msgspec.Struct, frozen=True, array_like=True):
    """What the file of rules holds."""

    packs: tuple[str, ...]
    packed_rows: msgspec.Raw
    packed_ids: msgspec.Raw
    message_rules: int
    """Rules for messages that make findings."""
    shards: list[Shard]
    always: list[int]
    """Shards that run on every text."""
    always_rules: list[str]
    """Ids of the rules in them."""
    packed_atoms: msgspec.Raw
    dump: memoryview
    """The prefilter's database, empty where it is not kept."""
    file_rules: memoryview
    """What file workers are given of the rules (filerules.py)."""
    file_key: bytes
    """A digest of `file_rules`."""


class Built(_Rules, frozen=True):
    """All that a scanner is made of."""

    index: memoryview
    """The indicators."""
    faults: list[Fault]

    @property
    def rows(self) -> list[Row]:
        """All rules that make findings, file rules too."""
        return msgspec.msgpack.decode(self.packed_rows, type=list[Row])

    @property
    def ids(self) -> dict[str, list[str]]:
        """Label of a pack to the ids of its rules."""
        return msgspec.msgpack.decode(self.packed_ids, type=dict[str, list[str]])

    @property
    def atoms(self) -> list[Entry]:
        """Entries of the prefilter that name shards."""
        return msgspec.msgpack.decode(self.packed_atoms, type=list[Entry])


def build(packs: Sequence[Pack], limits: Limits) -> Built:
    """Compile packs in this process. Faults are in the result; with faults it is good for nothing else."""
    index, faults = build_index(packs, limits)
    return build_rules(packs, limits, memoryview(b"".join(index.parts())), faults)


def build_index(packs: Sequence[Pack], limits: Limits) -> tuple[Index, list[Fault]]:
    """(index of all indicators, faults)."""
    index = Index()
    return index, read_lists(packs, limits.indicators, index.add)


def build_rules(
    packs: Sequence[Pack], limits: Limits, index: memoryview, known: Sequence[Fault] = (),
) -> Built:
    """Compile the rules of packs in this process, beside an index of their indicators with its faults."""
    rules, faults = read_rules(packs)
    faults += known
    for rule in rules:
        if rule.for_messages:
            faults.extend(
                rule.source.fault(string.at, text) for string in rule.rule.strings for text in linearity.faults(string)
            )
    rows = [rule for rule in rules if "private" not in rule.rule.flags]
    named = {(_space(rule), rule.rule.name): row_of(rule) for rule in rows}
    for_messages = {key for key, rule in zip(named, rows, strict=True) if rule.for_messages}
    units, needed = units_of(rules)
    shards, always, entries = _shards(units, needed, limits.yara_rules_per_shard)
    compiled: list[Shard] = []
    for group in shards:
        try:
            members = {
                f"{unit.namespace}:{name}": named[unit.namespace, name]
                for unit in group for name in unit.names if (unit.namespace, name) in for_messages
            }
            compiled.append(Shard(
                memoryview(_compile(group)), msgspec.Raw(_encode(group)), msgspec.Raw(_encode(members))))
        except yara.Error:
            faults.extend(_located(rules, group))
    files = units_of(rules, messages=False)[0]
    compiled_files = _file_shards(rules, files, faults)
    both = frozenset(f"{_space(r)}:{r.rule.name}" for r in rows if r.for_files and r.for_messages)
    for_texts = [unit for unit in files if any(f"{unit.namespace}:{name}" in both for name in unit.names)]
    compiled_texts = _file_shards(rules, for_texts, faults)
    file_rows = {
        f"{_space(r)}:{r.rule.name}": FileRow(r.id, r.severity, r.description, r.pack, r.tags)
        for r in rows if r.for_files
    }
    labels = tuple(pack.label for pack in packs)
    ids: dict[str, list[str]] = {label: [] for label in labels}
    for rule in rows:
        ids[rule.pack].append(rule.id)
    for_files = pack_rules(labels, compiled_files, file_rows, compiled_texts, both)
    built = Built(
        packs=labels,
        packed_rows=msgspec.Raw(_encode(list(named.values()))),
        packed_ids=msgspec.Raw(_encode(ids)),
        message_rules=len(for_messages),
        shards=compiled,
        always=always,
        always_rules=[
            r.id for r in rows if r.for_messages and needed[_space(r), r.rule.name] is None
        ],
        packed_atoms=msgspec.Raw(_encode(entries)),
        dump=memoryview(b""),
        file_rules=memoryview(for_files),
        file_key=hashlib.sha256(for_files).digest(),
        index=index,
        faults=sorted(set(faults)),
    )
    if built.faults:
        return built
    return msgspec.structs.replace(built, dump=memoryview(prefilter.dump(all_entries(built, Table(index)))))


def _file_shards(rules: Sequence[PackRule], units: Sequence[Unit], faults: list[Fault]) -> list[bytes]:
    """Units for files, compiled; what YARA refuses is added to the faults."""
    out: list[bytes] = []
    for start in range(0, len(units), _FILE_SHARD):
        group = units[start:start + _FILE_SHARD]
        try:
            out.append(_compile(group))
        except yara.Error:
            faults.extend(_located(rules, group))
    return out


def row_of(rule: PackRule) -> Row:
    """What a rule's finding says."""
    return Row(rule.id, rule.severity, rule.description, rule.pack, rule.tags, rule.scope)


def all_entries(built: Built, table: Table) -> list[Entry]:
    """What the prefilter looks for: tests of the detectors and lists, atoms of the shards, phrases."""
    entries = [Entry(test, i, pattern=True) for i, one in enumerate(DETECTORS) for test in one.tests]
    if table.has_hosts:
        entries += [Entry(test, HOSTS, pattern=True) for test in HOST_TESTS]
    if table.has_hashes:
        entries += [Entry(test, HASHES, pattern=True) for test in HASH_TESTS]
    entries += [Entry(e.source, SHARDS + e.number, e.caseless, e.pattern) for e in built.atoms]
    return [*entries, *table.entries(SHARDS + len(built.shards))]


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
    """Those whose files are not in it are read by the child."""
    index: str | None
    """The kept index, which has been checked; None: make it."""
    rules_per_shard: int
    indicators: int
    seconds: float
    memory: int


class _Reply(msgspec.Struct, frozen=True, array_like=True):
    faults: list[Fault]
    index_key: str
    rules_key: str
    """Of the files as the child read them."""
    program: str


def _index_key(packs: Sequence[Pack]) -> str:
    return digest(packs, PROGRAM, sys.byteorder, kinds=("indicators",))


def _rules_key(packs: Sequence[Pack], limits: Limits) -> str:
    return digest(
        packs, PROGRAM, yara.__version__, prefilter.versions(), str(limits.yara_rules_per_shard), sys.version)


def _program() -> str:
    """A digest of the room's source. What is kept has numbers of detectors and atoms in it, and forms of its own:
    another version of this program makes it anew."""
    whole = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        whole.update(path.read_bytes())
    return whole.hexdigest()


PROGRAM = _program()
"""As it was when this process began."""


def build_in_child(packs: Sequence[Pack], limits: Limits) -> Built:
    """Compile packs in a process of its own. Raises PackError when it takes too long or dies.

    Faults of the packs are in the result.
    """
    return build_cached(packs, limits, None)


def compile_files(
    packs: Sequence[Pack], limits: Limits, index: Path | None, to_index: int, to_rules: int,
) -> tuple[list[Fault], str, str]:
    """Compile packs in a process of its own into the files of two descriptors (the first is not used where there is an
    index). (faults, key of the index, key of the rules); raises PackError when it takes too long or dies."""
    request = _encode(_Request(
        list(packs), None if index is None else str(index), limits.yara_rules_per_shard, limits.indicators,
        limits.compile_seconds, limits.compile_bytes,
    ))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    where = os.path.commonpath([pack.folder for pack in packs]) if packs else "."
    program = f"from inspector.scan.compiling import child; child({to_index}, {to_rules})"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], input=request, capture_output=True, timeout=limits.compile_seconds,
            env=environment, check=False, pass_fds=(to_index, to_rules),
        )
    except subprocess.TimeoutExpired:
        text = f"compiling the packs takes more than {limits.compile_seconds:g} seconds (limits.compile_seconds)"
        raise PackError([Fault(where, 0, 0, text)]) from None
    if done.returncode != 0:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
        if last.startswith("MemoryError"):
            last = f"more than {limits.compile_bytes} bytes of memory (limits.compile_bytes)"
        raise PackError([Fault(where, 0, 0, f"compiling the packs failed (exit {done.returncode}): {last}")])
    reply = msgspec.msgpack.decode(done.stdout, type=_Reply)
    if reply.program != PROGRAM:
        text = "the gateway's program has changed on disk since it was started: restart it"
        raise PackError([Fault(where, 0, 0, text)])
    return reply.faults, reply.index_key, reply.rules_key


def child(to_index: int, to_rules: int) -> None:
    """What the child does: a request on stdin, files through two descriptors, a reply on stdout."""
    request = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=_Request)
    seconds = int(request.seconds) + 1
    # Those who talk meanwhile come first.
    os.nice(_NICE)
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (request.memory, request.memory))
    limits = Limits(yara_rules_per_shard=request.rules_per_shard, indicators=request.indicators)
    index = None if request.index is None else Path(request.index)
    faults, index_key, rules_key = compile_here(request.packs, limits, index, to_index, to_rules)
    sys.stdout.buffer.write(_encode(_Reply(faults, index_key, rules_key, PROGRAM)))


def compile_here(
    packs: Sequence[Pack], limits: Limits, index: Path | None, to_index: int, to_rules: int,
) -> tuple[list[Fault], str, str]:
    """As compile_files, in this process."""
    faults: list[Fault] = []
    if any(file.digest and not file.data for pack in packs for file in pack.files):
        wanted = ("yara", "indicators") if index is None else ("yara",)
        packs, faults = read_packs([Path(pack.folder) for pack in packs], wanted)
    body = None if index is None else _read_index(index)
    if body is None:
        gathered, more = build_index(packs, limits)
        faults += more
        mapped.write(to_index, _INDEX, gathered.parts())
        # What was gathered goes before rules are compiled; what was written is mapped in its place.
        del gathered
        body = mapped.mapped(to_index, _INDEX)
        assert body is not None
    built = build_rules(packs, limits, body, faults)
    if not built.faults:
        whole = _Rules(*(getattr(built, name) for name in _Rules.__struct_fields__))
        mapped.write(to_rules, _RULES, (_encode(whole),))
    return built.faults, _index_key(packs), _rules_key(packs, limits)


# -- the cache


def build_cached(packs: Sequence[Pack], limits: Limits, folder: Path | None) -> Built:
    """Compile packs, or take them from the cache folder. Raises PackError as compile_files does.

    Without a folder, or where it is not ours alone, the files are gone from disk once they are mapped.
    """
    if folder is not None and mapped.private_folder(folder):
        return _kept(packs, limits, folder) or _cached(packs, limits, folder)
    with tempfile.TemporaryDirectory(prefix="inspector-") as name:
        return _cached(packs, limits, Path(name))


def _kept(packs: Sequence[Pack], limits: Limits, folder: Path) -> Built | None:
    """What is in the folder for these packs."""
    index = _kept_index(packs, limits, folder)
    return None if index is None else _read(folder / f"{_rules_key(packs, limits)}.rules", index)


def _kept_index(packs: Sequence[Pack], limits: Limits, folder: Path) -> memoryview | None:
    index = _read_index(folder / f"{_index_key(packs)}.indicators")
    return None if index is None or Table(index).count > limits.indicators else index


def _cached(packs: Sequence[Pack], limits: Limits, folder: Path) -> Built:
    """Compile into the folder; what another process has compiled meanwhile is taken."""
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        # One at a time: workers that start together would compile the same, each with its gigabyte.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _kept(packs, limits, folder) or _compiled(packs, limits, folder)
    finally:
        os.close(lock)


def _compiled(packs: Sequence[Pack], limits: Limits, folder: Path) -> Built:
    lists = folder / f"{_index_key(packs)}.indicators"
    index = _kept_index(packs, limits, folder)
    built: Built | None = None
    made: list[tuple[int, Path]] = []
    try:
        made += [mapped.new_file(folder), mapped.new_file(folder)]
        faults, index_key, rules_key = compile_files(
            packs, limits, None if index is None else lists, made[0][0], made[1][0])
        if not faults:
            lists, rules = folder / f"{index_key}.indicators", folder / f"{rules_key}.rules"
            if index is None:
                mapped.keep(made[0][1], lists)
                index = _read_index(lists)
            mapped.keep(made[1][1], rules)
            built = None if index is None else _read(rules, index)
    except OSError as exc:
        text = f"compiled packs cannot be kept here: {(exc.strerror or str(exc)).lower()}"
        raise PackError([Fault(str(folder), 0, 0, text)]) from None
    finally:
        for number, path in made:
            os.close(number)
            with contextlib.suppress(OSError):
                path.unlink()
    if faults:
        return _faulty(packs, faults)
    if built is None:
        raise PackError([Fault(str(folder), 0, 0, "what was compiled cannot be read back")])
    return built


def _faulty(packs: Sequence[Pack], faults: list[Fault]) -> Built:
    """Nothing but faults."""
    empty = memoryview(index_of(()))
    none = msgspec.Raw(_encode([]))
    nothing = memoryview(b"")
    return Built(tuple(pack.label for pack in packs), none, msgspec.Raw(_encode({})), 0, [], [], [], none, nothing,
                 nothing, b"", empty, faults)


def _read_index(path: Path) -> memoryview | None:
    """A kept index; None when there is none, or it is not ours, or not whole."""
    body = mapped.opened(path, _INDEX)
    if body is None:
        return None
    try:
        Table(body)
    except ValueError:
        return None
    return body


def _read(path: Path, index: memoryview) -> Built | None:
    """A kept result; None when there is none, or it is not ours, or not whole."""
    body = mapped.opened(path, _RULES)
    if body is None:
        return None
    try:
        whole = msgspec.msgpack.decode(body, type=_Rules)
    except msgspec.DecodeError:
        return None
    mapped.give_back(body)
    parts = {name: getattr(whole, name) for name in _Rules.__struct_fields__}
    return Built(**parts, index=index, faults=[])
