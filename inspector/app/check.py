"""`inspector check` and `inspector policy test`: every fault of what people write, before a gateway sees it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inspector import policy as policies
from inspector.app import config as configuration
from inspector.app import policy_tests
from inspector.app.errors import UserError
from inspector.policy import CompiledPolicy
from inspector.wire.located import Fault, Faults, load_yaml, shown

CONFIG_KEYS = frozenset({
    "listeners", "tls", "policy", "signatures", "store", "archive", "user", "privacy", "workers", "control",
    "control_group", "metrics", "limits", "edits", "log", "files",
})
POLICY_KEYS = frozenset({"enforce", "inside", "on_trouble", "groups", "files", "rules"})
TESTS_KEYS = frozenset({"tests", "given"})
PACK_KEYS = frozenset({"name", "version", "license", "content", "authors", "homepage"})

FILE_BYTES = 16 * 1024 * 1024
"""Longest YAML file that is looked into: a capture, or a device that never ends, is none."""


@dataclass(slots=True)
class Checked:
    """What was checked and what is wrong with it."""

    what: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    policies: dict[Path, CompiledPolicy | None] = field(default_factory=dict)
    packs: set[Path] = field(default_factory=set)
    """What a configuration names is often named beside it, too: once is enough."""

    def add(self, told: str, faults: Iterable[Fault]) -> None:
        self.what.append(told)
        self.faults += faults


# -- inspector check


def check_command(args: argparse.Namespace) -> int:
    """`inspector check [PATH…]`: every fault on stderr, exit 1 if there is one. Raises UserError."""
    checked = check_paths([Path(path) for path in args.paths], args.config)
    if checked.faults:
        raise UserError(str(Faults(checked.faults)))
    for told in checked.what:
        print(told)
    return 0


def check_paths(paths: Sequence[Path], config: str | Path | None = None) -> Checked:
    """Check each path, a config, a policy, tests of one, a pack, or a folder of these, as its content says.

    Without paths: the configuration `config` (None: the embedded defaults) with its policy and packs.
    """
    checked = Checked()
    if not paths:
        _check_config(Path(config) if config is not None else None, checked)
    for path in paths:
        if not path.exists():
            checked.add(f"{path}: missing", [Fault(str(path), 0, 0, "there is no such file or folder")])
        elif path.is_dir():
            _check_folder(path, checked)
        else:
            _check_file(path, checked)
    return checked


def kind_of(keys: Iterable[str]) -> str | None:
    """What a YAML file with these top-level keys is: "config", "policy", "tests" or "pack"; None: nothing of ours."""
    found = set(keys)
    known = {"config": CONFIG_KEYS, "policy": POLICY_KEYS, "tests": TESTS_KEYS, "pack": PACK_KEYS}
    scores = {kind: len(found & names) for kind, names in known.items()}
    best = max(scores, key=lambda kind: scores[kind])
    return best if scores[best] else None


def _check_folder(path: Path, checked: Checked) -> None:
    """A pack, or a folder: the packs in it, and every other YAML file in it and below (hidden ones aside)."""
    from inspector.scan.packs import folders, is_pack

    together = folders(path)
    found = bool(together)
    if together:
        _check_packs(path, checked)
    for where, inside, names in os.walk(path):
        here = Path(where)
        if is_pack(here):
            inside.clear()
            if here not in together:
                _check_packs(here, checked)
                found = True
            continue
        inside[:] = sorted(name for name in inside if not name.startswith("."))
        for name in sorted(names):
            if name.endswith((".yaml", ".yml")) and not name.startswith("."):
                _check_file(here / name, checked)
                found = True
    if not found:
        checked.add(f"{path}: nothing", [Fault(
            str(path), 0, 0,
            "neither a signature pack (a folder with a pack.yaml) nor a configuration or policy is here",
        )])


def _check_file(path: Path, checked: Checked) -> None:
    try:
        with path.open("rb") as stream:
            text = stream.read(FILE_BYTES + 1)
        if len(text) > FILE_BYTES:
            checked.add(f"{path}: too long", [Fault(str(path), 0, 0, "longer than any file that people write")])
            return
        document = load_yaml(text, str(path))
    except OSError as exc:
        checked.add(f"{path}: unreadable", [Fault(str(path), 0, 0, f"cannot be read: {(exc.strerror or '').lower()}")])
        return
    except Faults as exc:
        of_pack = Fault(str(path), 0, 0, "a file of a pack is checked with it: name the folder")
        checked.add(f"{path}: not YAML", [of_pack] if path.suffix in (".yar", ".csv") else exc.faults)
        return
    top = document.value
    kind = "config" if top is None else kind_of(top) if isinstance(top, dict) else None
    if kind == "config" and top and isinstance(top.get("files"), list) and not set(top) & CONFIG_KEYS - {"files"}:
        kind = "policy"  # both have files; a policy's is a list
    if kind == "config":
        _check_config(path, checked)
    elif kind == "policy":
        _check_policy(path, checked)
    elif kind == "tests":
        try:
            cases = policy_tests.read_cases(path)
        except Faults as exc:
            checked.add(f"{path}: tests of a policy", exc.faults)
        else:
            checked.add(f"{path}: {_count(len(cases), 'test')} of a policy", ())
    elif kind == "pack":
        _check_packs(path.parent, checked)
    else:
        checked.add(f"{path}: unknown", [Fault(
            str(path), 1, 1, "neither a configuration, a policy, tests of one nor a pack: no key of any of them",
        )])


def _check_config(path: Path | None, checked: Checked) -> None:
    """A configuration, and the policy and packs it names."""
    name = "the embedded defaults" if path is None else str(path)
    try:
        config = configuration.load(path)
    except Faults as exc:
        checked.add(f"{name}: configuration", exc.faults)
        return
    checked.add(f"{name}: configuration with {_count(len(config.listeners), 'listener')}", ())
    checked.faults += config.missing_files()
    policy = _check_policy(config.policy, checked)
    if policy is not None:
        checked.faults += config.unknown_groups(policy.groups)
    if config.signatures.exists():
        _check_packs(config.signatures, checked)
    else:
        checked.add(f"{config.signatures}: missing", [config.fault(f"there is no folder {config.signatures}",
                                                                   "signatures")])


def _check_policy(path: Path, checked: Checked) -> CompiledPolicy | None:
    place = path.resolve()
    if place in checked.policies:
        return checked.policies[place]
    checked.policies[place] = None
    try:
        policy = compile_policy(path)
    except Faults as exc:
        checked.add(f"{path}: policy", exc.faults)
        return None
    checked.policies[place] = policy
    checked.add(f"{path}: policy with {_count(len(policy.rules), 'rule')}", policy.hidden())
    return policy


def compile_policy(path: Path) -> CompiledPolicy:
    """Read and compile a policy file. Raises Faults."""
    return policies.compile(configuration.read_policy(path), str(path), configuration.protocol_names())


def _check_packs(path: Path, checked: Checked) -> None:
    """A pack or a folder of packs; the scanning room knows how."""
    from inspector import scan
    from inspector.scan.packs import folders

    place = path.resolve()
    if place in checked.packs:
        return
    checked.packs.add(place)
    checked.add(f"{path}: {_count(len(folders(path)), 'pack')}", scan.check([path]))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


# -- inspector policy test


def policy_test_command(args: argparse.Namespace) -> int:
    """`inspector policy test [PATH…]`: a table of all tests; exit 1 if one fails. Raises UserError."""
    try:
        config = configuration.load(args.config)
    except Faults as exc:
        raise UserError(str(exc)) from None
    paths = [Path(path) for path in args.paths] or [_own_tests(config.policy)]
    try:
        results = run_policy_tests(paths, config.policy)
    except Faults as exc:
        raise UserError(str(exc)) from None
    tell(results, args.explain, print)
    if results.failed:
        raise UserError(f"{len(results.failed)} of {_count(len(results.results), "test")} failed")
    return 0


def run_policy_tests(paths: Sequence[Path], policy_path: Path) -> policy_tests.Results:
    """Run the tests in files and folders (every .yaml and .yml below them). Raises Faults."""
    faults: list[Fault] = []
    policy = None
    try:
        policy = compile_policy(policy_path)
    except Faults as exc:
        faults += exc.faults
    cases: list[policy_tests.Case] = []
    for path in paths:
        files = sorted(p for p in path.rglob("*") if p.suffix in (".yaml", ".yml")) if path.is_dir() else [path]
        if not files:
            faults.append(Fault(str(path), 0, 0, "no tests there"))
        for file in files:
            try:
                cases += policy_tests.read_cases(file)
            except Faults as exc:
                faults += exc.faults
    if faults or policy is None:
        raise Faults(faults)
    return policy_tests.run(policy, cases)


def tell(results: policy_tests.Results, explain: bool, say: Callable[[str], None] = print) -> None:
    """The table: a line for each test; with `explain`, a line for each rule below it."""
    width = min(60, max((len(shown(result.case.name)) for result in results.results), default=0))
    path = None
    for result in results.results:
        if result.case.path != path:
            path = result.case.path
            say(path)
        action = "pass" if result.verdict is None else result.verdict.action.name.lower()
        rule = result.verdict.rule if result.verdict is not None and result.verdict.rule is not None else "-"
        mark = "FAIL" if result.wrong else "ok"
        say(f"  {mark:<4}  {shown(result.case.name):<{width}}  {action:<6}  {shown(rule)}")
        for sentence in result.wrong:
            say(f"        {result.case.path}:{result.case.place[0]}: {sentence}")
        if explain:
            for said in result.said:
                word = "matched" if said.matched else "no" if said.reached else "-"
                say(f"        {word:<7}  {shown(said.rule)} (line {said.line}): {shown(said.why, 200)}")
    if results.untested:
        say(f"no test sees these rules match: {', '.join(map(shown, results.untested))}")
    say(f"{_count(len(results.results), 'test')}, {len(results.failed)} failed")


def _own_tests(policy: Path) -> Path:
    """The tests beside a policy."""
    return policy.parent / "tests"
