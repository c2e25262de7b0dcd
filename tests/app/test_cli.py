"""The command line: help with examples, one sentence for each fault, exit statuses, and nothing imported in vain."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from inspector.app import cli, events_cmd
from inspector.app.cli import main, parser
from inspector.app.errors import UserError
from inspector.store.sqlite import Writer
from tests.store.rows import message

HOUSE = Path(__file__).resolve().parents[2]


def _parsers(of: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield of
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction):
            for made in action.choices.values():
                yield from _parsers(made)


ALL = {made.prog: made for made in _parsers(parser()[0])}


GROUPS = ("inspector", "inspector policy", "inspector ca", "inspector quarantine")
"""Names above commands."""


def test_the_commands_are_those_that_users_rely_on() -> None:
    """Every command of the interface that works today, and no other."""
    assert set(ALL) == {"inspector"} | {
        f"inspector {name}" for name in (
            "run", "scan", "replay", "check", "policy", "policy test", "events", "events erase", "events hold",
            "explain", "sessions", "status", "workers",
            "verify", "ca", "ca export", "quarantine",
            *(f"quarantine {what}" for what in (
                "list", "show", "release", "deny", "export", "erase", "rotate")),
        )
    }


@pytest.mark.parametrize("prog", ALL)
def test_every_command_has_help_with_an_example_that_is_right(prog: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help exits 0 and shows an example; each example is a command line that this parser takes."""
    with pytest.raises(SystemExit) as end:
        main([*prog.split()[1:], "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    examples = text.partition("example:\n")[2].strip().splitlines()
    assert examples
    for example in examples:
        [ours] = [part for part in example.partition(" > ")[0].split(" | ") if part.split()[0] == "inspector"]
        args = parser()[0].parse_args(shlex.split(ours)[1:])
        what = getattr(args, "what", "")
        assert prog in ("inspector", f"inspector {args.command}", f"inspector {args.command} {what}")


def test_commands_that_look_at_a_gateway_take_its_configuration() -> None:
    """-c FILE, wherever a config, a running gateway or its stores are read."""
    for prog, made in ALL.items():
        if prog not in GROUPS:
            assert any("-c" in action.option_strings for action in made._actions), prog


@pytest.mark.parametrize(("words", "sentence"), [
    (["evnets"], 'unknown command "evnets" (did you mean "events"?)'),
    (["zzz"], 'unknown command "zzz" (see `inspector --help`)'),
    (["scan"], "the following arguments are required: CAPTURE (see `inspector scan --help`)"),
    (["replay", "a.pcap"], "the following arguments are required: --through (see `inspector replay --help`)"),
    (["events", "--limit", "0"], 'argument --limit: "0" is not a number above 0 (see `inspector events --help`)'),
    (["events", "--limit", "٣"], 'argument --limit: "٣" is not a number above 0 (see `inspector events --help`)'),
    (["run", "--foo"], "unrecognized arguments: --foo (see `inspector --help`)"),
    (["quarantine"], "the following arguments are required: COMMAND (see `inspector quarantine --help`)"),
    (["quarantine", "release"], "the following arguments are required: ID (see `inspector quarantine release --help`)"),
    (["scan", "-", "-"], "standard input (-) can be read only once"),
    (["explain", "\udcff"], "argument EVENT: not UTF-8 text (see `inspector explain --help`)"),
    (["events", "--user", "\udcff"], "argument --user: not UTF-8 text (see `inspector events --help`)"),
    (["feed", "update"], "`inspector feed` (signed signature feeds) belongs to a later release"),
    (["firewall", "render"], "`inspector firewall` (nftables rules and systemd units) belongs to a later release"),
    (["ca", "rotate"], "`inspector ca rotate` belongs to a later release"),
])
def test_wrong_use_is_one_sentence(words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one sentence on stderr, nothing on stdout."""
    assert main(words) == 2
    said = capsys.readouterr()
    assert (said.out, said.err) == ("", f"inspector: {sentence}\n")


@pytest.mark.parametrize("words", [
    "sessions kill ID -c FILE", "sessions kill -c FILE ID", "sessions -c FILE kill ID", "check a -c FILE b",
    "scan a -c FILE b", "policy test a -c FILE b", "explain -c FILE ID", "ca export -c FILE",
])
def test_options_may_stand_anywhere(words: str) -> None:
    """Before, between and behind a command's other words."""
    args = parser()[0].parse_args(words.split())
    assert args.config == "FILE"
    if "kill" in words:
        assert (args.what, args.id) == ("kill", "ID")
    if " b" in words:
        assert next(value for name, value in vars(args).items() if name in ("paths", "captures")) == ["a", "b"]


@pytest.mark.parametrize("form", ["table", "jsonl"])
def test_a_terminal_of_an_old_locale_is_no_fault_of_ours(form: str) -> None:
    """What it cannot show is escaped; JSON lines stay UTF-8."""
    done = subprocess.run(
        [sys.executable, "-m", "inspector.app.cli", "scan", "--format", form, "pcaps/irc/charsets.pcap"], cwd=HOUSE,
        env={**os.environ, "PYTHONIOENCODING": "ascii"}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii() == (form == "table")


def test_examples_that_name_files_of_the_project_name_some_that_are_there() -> None:
    """A newcomer may copy them."""
    for made in ALL.values():
        for word in (made.epilog or "").split():
            if word.startswith(("pcaps/", "rules/")):
                assert (HOUSE / word).exists(), word


def test_options_are_not_guessed(capsys: pytest.CaptureFixture[str]) -> None:
    """An abbreviated option is a fault: a script must not change its meaning when an option is added."""
    assert main(["events", "--foll"]) == 2
    assert "unrecognized arguments: --foll" in capsys.readouterr().err


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a command the help goes to stderr, exit 2."""
    assert main([]) == 2
    assert "COMMAND" in capsys.readouterr().err


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints it, exit 0."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("inspector ")


def _raising(monkeypatch: pytest.MonkeyPatch, fault: BaseException) -> None:
    def command(args: argparse.Namespace) -> int:
        raise fault
    monkeypatch.setattr(events_cmd, "events_command", command)


def test_faults_of_the_user_are_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """A UserError's lines are printed, and its status is the process's."""
    _raising(monkeypatch, UserError("a.yaml:1:1: one\na.yaml:2:1: two", 1))
    assert main(["events"]) == 1
    assert capsys.readouterr().err == "inspector: a.yaml:1:1: one\ninspector: a.yaml:2:1: two\n"


@pytest.mark.parametrize("state", [True, False])
def test_a_fault_of_ours_is_a_report_and_no_traceback(
    state: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 70, one sentence, and the path of a report that only its owner reads: in var/ where there is one, else among
    the temporary files."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if state:
        (tmp_path / "var").mkdir()
    _raising(monkeypatch, ZeroDivisionError("oh"))
    assert main(["events"]) == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "Traceback" not in said and "internal error (ZeroDivisionError)" in said
    report = Path(said.strip().rpartition(" ")[2])
    assert report.parent == (tmp_path / "var" if state else tmp_path)
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    assert "Traceback" in report.read_text() and "oh" in report.read_text()


def test_a_report_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Still 70 and one sentence."""
    def refuse(**more: object) -> None:
        raise OSError("disk full")
    monkeypatch.setattr("tempfile.mkstemp", refuse)
    _raising(monkeypatch, ZeroDivisionError("oh"))
    assert main(["events"]) == 70
    assert capsys.readouterr().err == "inspector: internal error (ZeroDivisionError), and no report could be written\n"


def test_the_keyboard_ends_a_command_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C: 130, as shells expect, and no words."""
    _raising(monkeypatch, KeyboardInterrupt())
    assert main(["events"]) == 130
    assert capsys.readouterr().err == ""


def _run(*words: str, cwd: Path | None = None, shell: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inspector.app.cli", *words] if shell is None else ["bash", "-c", shell]
    env = {**os.environ, "PYTHONPATH": str(HOUSE), "PY": sys.executable}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=env, timeout=60)


PRINTS_MUCH = """
import sys
from inspector.app import cli, events_cmd
def command(args):
    for n in range(200_000):
        print("line", n)
    return 0
events_cmd.events_command = command
sys.exit(cli.main(["events"]))
"""


def test_a_reader_who_has_seen_enough(tmp_path: Path) -> None:
    """`inspector events | head -1`: no complaint, exit 0."""
    (tmp_path / "much.py").write_text(PRINTS_MUCH)
    done = _run(cwd=tmp_path, shell='"$PY" much.py | head -1; echo ${PIPESTATUS[0]}')
    assert (done.stdout, done.stderr) == ("line 0\n0\n", "")


def test_a_real_process(tmp_path: Path) -> None:
    """Without gateway and log: one sentence each, exit 1, and nothing is made in the working directory."""
    for words, sentence in (
        (["events"], "there is none yet"), (["explain", "x"], "there is none yet"), (["status"], "no gateway runs"),
        (["sessions"], "no gateway runs"),
    ):
        done = _run(*words, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert sentence in done.stderr and done.stderr.count("\n") == 1
    assert os.listdir(tmp_path) == []


def test_following_ends_well_with_the_keyboard(tmp_path: Path) -> None:
    """`events --follow` prints a row as soon as it is written, and Ctrl-C is its usual end: exit 0, no words."""
    writer = Writer(tmp_path / "var" / "inspector.db")
    writer.start()
    told = threading.Event()
    writer.put(message(1), lambda ok: told.set())
    assert told.wait(20)
    command = [sys.executable, "-m", "inspector.app.cli", "events", "--follow", "--format", "jsonl"]
    env = {**os.environ, "PYTHONPATH": str(HOUSE)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=env) as child:
        assert child.stdout is not None and child.stderr is not None
        assert b'"id":"00f1-1"' in child.stdout.readline()
        writer.put(message(2))
        assert b'"id":"00f1-2"' in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        assert child.stdout.read() == b"" and child.stderr.read() == b""
        assert child.wait(20) == 0
    writer.close()


def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    """-c with a file that does not exist is one sentence that names it, exit 1."""
    done = _run("events", "-c", "none.yaml", cwd=tmp_path)
    assert done.returncode == 1
    assert "none.yaml" in done.stderr and done.stderr.count("\n") == 1


HEAVY = ("mitmproxy", "scapy", "yara", "hyperscan", "pydantic", "asyncio", "sqlite3", "yaml", "OpenSSL", "msgspec")


def test_help_imports_nothing_it_does_not_need() -> None:
    """Asking for help loads none of the libraries behind the commands; reading the log not those of the proxy."""
    code = ("import sys\nfrom inspector.app.cli import main\ntry: main(sys.argv[1:])\nexcept SystemExit: pass\n"
            "print(sorted(set(sys.modules)), file=sys.stderr)")
    for words, heavy in ((["--help"], HEAVY), (["events"], HEAVY[:5])):
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True,
                              cwd=HOUSE, timeout=60)
        loaded = done.stderr.splitlines()[-1]
        assert [name for name in heavy if f"'{name}'" in loaded] == []


def test_each_commands_function_is_named() -> None:
    """Every command that does something names a module and a function of `app`."""
    for prog, made in ALL.items():
        use = made.get_default("use")
        if prog in GROUPS:
            assert not use
        else:
            module, _, function = use.partition(":")
            assert (HOUSE / "inspector" / "app" / f"{module}.py").is_file(), use
            assert f"def {function}(" in (HOUSE / "inspector" / "app" / f"{module}.py").read_text(), use
    assert cli.LATER.keys().isdisjoint(parser()[1])
