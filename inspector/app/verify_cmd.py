"""`inspector verify`: how far the event log is whole."""

from __future__ import annotations

import json
import os
import sys
from argparse import Namespace
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from inspector.app.errors import UserError
from inspector.app.places import load, store_path
from inspector.store.chain import Fault, walk
from inspector.store.checkpoints import Checkpoint, CheckpointError, faults, public_key
from inspector.store.sqlite import Reader, StoreError

_NAMED = 20
"""Rows that are named one by one."""


@dataclass
class Report:
    """What was found."""

    chains: dict[str, int] = field(default_factory=dict)
    """chain -> the last row that verifies."""
    rows: int = 0
    erased: int = 0
    told: int = 0
    """Erasures that `erased` events tell of."""
    pruned: dict[str, tuple[int, int]] = field(default_factory=dict)
    """chain -> (last row that was removed, the checkpoint that said so first)."""
    unchained: int = 0
    """Rows of an earlier release."""
    checkpoints: int = 0
    proved: Checkpoint | None = None
    """The last exported checkpoint that the log agrees with."""
    wrong: list[str] = field(default_factory=list)


def verify(reader: Reader, exported: list[Checkpoint], key: str | None = None) -> Report:
    """Walk all chains and compare them with the checkpoints stored and exported. `key`: the public key of the next
    checkpoint, where the key file can be read. Raises StoreError.
    """
    report = Report()
    reader.snapshot()
    stored = reader.checkpoints()
    report.unchained = reader.unchained()
    if displaced := reader.displaced():
        report.wrong.append(f"{displaced} rows are in no chain, or not where their chain says")
    disagreeing = list(islice(reader.disagreeing(), _NAMED + 1))
    report.wrong += disagreeing[:_NAMED]
    if len(disagreeing) > _NAMED:
        report.wrong.append("more rows whose columns are not what their lines say")
    report.checkpoints = len(stored)
    report.wrong += faults(stored)
    if key is not None and stored and key not in (stored[-1].next, stored[-1].key):
        # The key goes on with each checkpoint and never back: one that was removed leaves it ahead.
        report.wrong.append("the checkpoints' key is not the one that the last checkpoint names: checkpoints were "
                            "removed, or the key was exchanged")
    by_number = {one.n: one for one in stored}
    pruned = stored[-1].pruned if stored else {}
    report.pruned = {
        chain: (seq, next(one.n for one in stored if one.pruned.get(chain, (0, ""))[0] == seq))
        for chain, (seq, _) in sorted(pruned.items())
    }
    wanted: dict[tuple[str, int], list[tuple[Checkpoint, str]]] = {}
    met: set[tuple[str, int]] = set()
    for one in (*stored, *exported):
        for chain, (seq, digest) in one.heads.items():
            upto, its = pruned.get(chain, (0, ""))
            if seq > upto:
                wanted.setdefault((chain, seq), []).append((one, digest))
            elif seq < upto or digest == its:
                met.add((chain, seq))
            else:
                report.wrong.append(f"chain {chain}, row {seq}: not the row that checkpoint {one.n} was made of")
    broken: list[Fault] = []
    for link, state in walk(reader.links(), _ends(pruned, report)):
        if state.fault is not None:
            broken.append(state.fault)
            continue
        report.chains[link.chain] = state.seq
        report.rows += 1
        report.erased += link.salt is None
        for one, digest in wanted.get((link.chain, link.seq), ()):
            if digest == link.digest.hex():
                met.add((link.chain, link.seq))
            else:
                report.wrong.append(
                    f"chain {link.chain}, row {link.seq}: not the row that checkpoint {one.n} was made of")
    report.wrong += [str(fault) for fault in broken]
    ends: dict[str, int] = {}
    for chain, seq in wanted:
        ends[chain] = max(seq, ends.get(chain, 0))
    for chain, seq in sorted(ends.items()):
        have = report.chains.get(chain, pruned.get(chain, (0, ""))[0])
        if have < seq and not any(fault.chain == chain for fault in broken):
            what = f"rows {have + 1} to {seq} are missing" if have else "the whole chain is missing"
            report.wrong.append(f"chain {chain}: {what}")
    report.told = sum(_count(line) for _, line in reader.select(events=("erased",)))
    if report.erased > report.told and not pruned:
        report.wrong.append(f"{report.erased - report.told} rows were erased of which no event tells")
    for one in sorted(exported, key=lambda one: one.n):
        twin = by_number.get(one.n)
        if not one.valid():
            report.wrong.append(f"exported checkpoint {one.n}: its signature is not its key's")
        elif twin is None:
            report.wrong.append(f"exported checkpoint {one.n}: the log has none of that number")
        elif twin.digest() != one.digest():
            report.wrong.append(f"exported checkpoint {one.n}: the log's is another one: it was made anew")
        elif all((chain, seq) in met for chain, (seq, _) in one.heads.items()):
            report.proved = one
    return report


def _count(line: bytes) -> int:
    """How many rows an `erased` event tells of; of a line that is none, none: that it was changed is told elsewhere."""
    try:
        return int(json.loads(line)["count"] or 0)
    except (ValueError, KeyError, TypeError):
        return 0


def _ends(pruned: dict[str, tuple[int, str]], report: Report) -> dict[str, tuple[int, bytes]]:
    """Where chains go on behind what was pruned."""
    ends = {}
    for chain, (seq, digest) in pruned.items():
        try:
            ends[chain] = (seq, bytes.fromhex(digest))
        except ValueError:
            report.wrong.append(f"chain {chain}: the checkpoint's digest of row {seq} is none")
    return ends


def verify_command(args: Namespace) -> int:
    """Print what is proved; 1 when something is wrong."""
    exported = [_read(name) for name in args.against]
    try:
        with Reader(store_path(args.config)) as reader:
            report = verify(reader, exported, _public_key(args.config))
            last = reader.checkpoints()[-1:] if args.export else []
    except StoreError as fault:
        raise UserError(str(fault)) from None
    for sentence in _sentences(report, bool(exported)):
        print(sentence)
    for sentence in report.wrong:
        print(f"wrong: {sentence}")
    if args.export:
        if not last:
            raise UserError("there is no checkpoint to export yet: the first is made minutes after the first event")
        _write(Path(args.export), last[0])
        print(f"checkpoint {last[0].n} is in {args.export}: keep it where nobody of this gateway can change it")
    sys.stdout.flush()
    return 1 if report.wrong else 0


def _public_key(config: str | None) -> str | None:
    """The public key of the next checkpoint; None: who asks cannot read the key file, or there is none yet."""
    return public_key(Path(load(config).state) / "checkpoint.key")


def _sentences(report: Report, asked: bool) -> list[str]:
    chains = f"{len(report.chains)} chain{'' if len(report.chains) == 1 else 's'}"
    said = [f"{report.rows} rows in {chains} verify" + (f", {report.erased} of them erased" if report.erased else "")]
    if report.pruned and report.erased > report.told:
        said.append(f"of {report.erased - report.told} erasures no event tells that is still kept")
    said += [f"chain {chain}: rows 1 to {seq} were pruned, as checkpoint {n} says"
             for chain, (seq, n) in report.pruned.items()]
    if report.unchained:
        said.append(f"{report.unchained} rows were written by an earlier release and are in no chain")
    said.append("1 checkpoint is stored" if report.checkpoints == 1 else f"{report.checkpoints} checkpoints are stored")
    if report.proved is not None:
        t = datetime.fromtimestamp(report.proved.t, UTC).strftime("%Y-%m-%d %H:%M:%S")
        said.append(f"the log is proved up to the exported checkpoint {report.proved.n} of {t} UTC")
    elif asked:
        said.append("the log is proved up to none of the exported checkpoints")
    else:
        said.append("no exported checkpoint was given (--against): whoever can write the store can have made it anew")
    return said


def _read(name: str) -> Checkpoint:
    try:
        return Checkpoint.parse(Path(name).read_bytes()[:1 << 20])
    except OSError as fault:
        raise UserError(f"{name}: {(fault.strerror or str(fault)).lower()}") from None
    except CheckpointError as fault:
        raise UserError(f"{name}: {fault}") from None


def _write(path: Path, checkpoint: Checkpoint) -> None:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(checkpoint.json() + "\n")
    except OSError as fault:
        raise UserError(f"{path}: {(fault.strerror or str(fault)).lower()}") from None
