"""`inspector`: the command line. Nothing is imported before the command that needs it is known.

Each command's module has a function that takes the parsed arguments and returns the exit status, or raises UserError:

    run          app.run_cmd.run_command(args)         config, log_level, log_format
    scan         app.scan.command(args)                config, captures, format, policy, signatures
    replay       app.replay.command(args)              capture, through
    check        app.check.check_command(args)         config, paths
    policy test  app.check.policy_test_command(args)   config, paths, explain
    events       app.events_cmd.events_command(args)   config, since, until, action, user, event, limit, follow,
                                                       rejudge, format
    events erase app.erase_cmd.erase_command(args)     config, user, before
    events hold  app.erase_cmd.hold_command(args)      config, change (add, remove, list), user, reason, format
    explain      app.events_cmd.explain_command(args)  config, key, format
    sessions     app.status_cmd.sessions_command(args) config, what (list, kill), id, format
    status       app.status_cmd.status_command(args)   config, user, format
    workers      app.workers_cmd.workers_command(args) config, what (list, restart), format
    quarantine   app.quarantine_cmd.command(args)      config, what, and by it: id, file, note, state, format
    verify       app.verify_cmd.verify_command(args)   config, against, export
    ca export    app.ca.export_command(args)           config, format

Exit status: 0; 1 for "no" or a failure; 2 for wrong use; 70 for a fault of ours, with the path of a report, never a
traceback; 130 when interrupted from the keyboard.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from inspector.app.errors import INTERNAL, WRONG_USE, UserError

STATES = ("held", "released", "denied", "delivering", "delivered", "uncertain", "expired", "erased")
"""Of what is or was in quarantine (model.STEPS, which need not be imported to say what is wrong)."""
LATER = {
    "feed": "signed signature feeds",
    "firewall": "nftables rules and systemd units",
}
"""Commands of later releases: refused with one sentence."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and exits 2; takes options before, between and behind the other words."""

    _within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but `sessions kill -c FILE ID` is understood like `sessions kill ID -c FILE`."""
        nested = any(action.nargs == argparse.PARSER for action in self._actions)
        if nested or self._within:
            return super().parse_known_args(args, namespace)
        self._within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._within = False

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see `{self.prog} --help`)", WRONG_USE)


def parser() -> tuple[argparse.ArgumentParser, list[str]]:
    """All commands with their arguments; the commands' names."""
    top = _Parser(
        prog="inspector", formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        description="A gateway that reads, judges and keeps evidence of instant messaging.",
        epilog="example:\n  inspector run -c inspector.yaml",
    )
    top.add_argument("--version", action="store_true", help="print the version and end")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", parser_class=_Parser)

    def command(name: str, use: str, what: str, example: str, within: object = commands) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = within.add_parser(  # type: ignore[attr-defined]
            name, help=what, description=what[0].upper() + what[1:] + ".", epilog=f"example:\n{example}",
            formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False,
        )
        made.set_defaults(use=use)
        return made

    def config(to: argparse.ArgumentParser) -> None:
        to.add_argument("-c", "--config", metavar="FILE", help="configuration file (default: the embedded defaults)")

    def again(to: argparse.ArgumentParser) -> None:
        """-c of a command within a command: said in front of it, it counts, too."""
        to.add_argument("-c", "--config", metavar="FILE", default=argparse.SUPPRESS,
                        help="configuration file (default: the embedded defaults)")

    run = command("run", "run_cmd:run_command", "run the gateway until it is told to stop",
                  "  inspector run -c inspector.yaml")
    config(run)
    run.add_argument("--log-level", choices=("debug", "info", "warning", "error"), default=None,
                     help="how much is logged on stderr (default: info)")
    run.add_argument("--log-format", choices=("text", "json"), default=None,
                     help="how log lines look (default: text on a terminal, else json)")

    scan = command("scan", "scan:command", "inspect capture files as the gateway inspects connections",
                   "  inspector scan monday.pcapng --format jsonl > monday.jsonl\n"
                   "  zcat big.pcap.gz | inspector scan -")
    scan.add_argument("captures", metavar="CAPTURE", nargs="+", help="pcap or pcapng, also .gz; a folder; - for stdin")
    config(scan)
    scan.add_argument("--format", choices=("table", "jsonl"), default="table", help="what is printed (default: table)")
    scan.add_argument("--policy", metavar="FILE", help="policy to judge by (default: that of the configuration)")
    scan.add_argument("--signatures", metavar="FOLDER", help="signature packs (default: those of the configuration)")

    replay = command("replay", "replay:command", "play a capture's TCP sessions through a running gateway",
                     "  inspector replay pcaps/irc/sign-on.pcap --through socks5://127.0.0.1:1080")
    replay.add_argument("capture", metavar="CAPTURE", help="pcap or pcapng, also .gz; a folder")
    replay.add_argument("--through", metavar="ADDRESS", required=True,
                        help="a socks5 or connect listener whose destinations allow loopback")
    config(replay)

    check = command("check", "check:check_command", "tell every fault of configuration, policy and packs",
                    "  inspector check inspector.yaml rules/policy.yaml signatures")
    check.add_argument("paths", metavar="PATH", nargs="*",
                       help="a configuration, a policy, tests of one, a pack, or a folder of these")
    config(check)

    policy = command("policy", "", "policy unit tests", "  inspector policy test rules/tests --explain")
    test = command("test", "check:policy_test_command", "run policy unit tests: event in, verdict out",
                   "  inspector policy test rules/tests --explain",
                   policy.add_subparsers(dest="what", metavar="COMMAND", parser_class=_Parser, required=True))
    test.add_argument("paths", metavar="PATH", nargs="*", help="a test file or a folder of them (default: rules/tests)")
    config(test)
    test.add_argument("--explain", action="store_true", help="say of each rule why it did or did not match")

    events = command("events", "events_cmd:events_command", "read the event log",
                     "  inspector events --since 1h --action block\n"
                     "  inspector events --user alice@example.net --follow\n"
                     "  inspector events --event message --format jsonl | jq .text\n"
                     "  inspector events --rejudge K7QM-2F9X\n"
                     "  inspector events erase --user alice@example.net\n"
                     "  inspector events hold add --user alice@example.net")
    config(events)
    events.add_argument("--since", metavar="WHEN", help="how far back (90s, 30m, 1h, 7d) or a time (2026-11-22T08:00)")
    events.add_argument("--until", metavar="WHEN", help="up to then, written like --since")
    events.add_argument("--action", metavar="ACTION", action="append", default=[],
                        help="only verdicts of this action: pass, warn, redact, hold, block or cut; may be repeated")
    events.add_argument("--user", metavar="USER", type=_text, help="only this user's; * stands for anything")
    events.add_argument("--event", metavar="KIND", action="append", default=[],
                        help="only this kind: message, verdict, trouble …; may be repeated")
    events.add_argument("--limit", metavar="N", type=_count, help="only the newest N")
    events.add_argument("--rejudge", metavar="ID", type=_text,
                        help="decide again from what was kept, with the rules of then: the same (exit 0), or not")
    events.add_argument("--follow", action="store_true", help="go on printing what comes")
    events.add_argument("--format", choices=("table", "jsonl"), default="table", help="what is printed")

    kept = events.add_subparsers(dest="what", metavar="COMMAND", parser_class=_Parser)
    erase = command("erase", "erase_cmd:erase_command", "erase a user's rows: what they say, not that they were",
                    "  inspector events erase --user alice@example.net\n"
                    "  inspector events erase --user alice@example.net --before 2026-01-01", kept)
    again(erase)
    erase.add_argument("--user", metavar="USER", type=_text, required=True,
                       help="whose rows: those he wrote, was to read, or was the user of")
    erase.add_argument("--before", metavar="WHEN", help="only what is older (7d, 2026-11-22T08:00)")
    hold = command("hold", "erase_cmd:hold_command", "legal hold: a user's rows are neither erased nor removed by age",
                   "  inspector events hold add --user alice@example.net --reason \"case 7\"\n"
                   "  inspector events hold list", kept)
    hold.add_argument("change", metavar="add|remove|list", choices=("add", "remove", "list"), help="what to do")
    again(hold)
    hold.add_argument("--user", metavar="USER", type=_text, default=None, help="whose rows, and conversations with him")
    hold.add_argument("--reason", metavar="TEXT", type=_text, help="why; is kept in the log")
    hold.add_argument("--format", choices=("table", "jsonl"), default="table", help="how they are listed")

    explain = command("explain", "events_cmd:explain_command", "tell the whole story of one event",
                      "  inspector explain K7QM-2F9X")
    explain.add_argument("key", metavar="EVENT", type=_text,
                         help="an event's id, or the reference that the sender was told")
    config(explain)
    explain.add_argument("--format", choices=("text", "jsonl"), default="text", help="what is printed (default: text)")

    sessions = command("sessions", "status_cmd:sessions_command", "who is connected; end a session",
                       "  inspector sessions\n  inspector sessions kill 1f0c9a51e2b7d604")
    sessions.add_argument("what", metavar="list|kill", nargs="?", choices=("list", "kill"), default="list",
                          help="list them (default), or kill one")
    sessions.add_argument("id", metavar="ID", nargs="?", help="the session to end")
    config(sessions)
    sessions.add_argument("--format", choices=("table", "jsonl"), default="table", help="what is printed")

    status = command("status", "status_cmd:status_command", "how the gateway is: exit status 1 when it is not well",
                     "  inspector status\n  inspector status --user alice@example.net")
    config(status)
    status.add_argument("--user", metavar="USER", type=_text,
                        help="only this user's sessions and what was done to them")
    status.add_argument("--format", choices=("text", "json"), default="text", help="what is printed (default: text)")

    _quarantine(command, config)

    workers = command("workers", "workers_cmd:workers_command", "the processes that inspect; exchange them",
                      "  inspector workers\n  inspector workers restart")
    workers.add_argument("what", metavar="list|restart", nargs="?", choices=("list", "restart"), default="list",
                         help="list them (default), or start new ones and let the old ones end their sessions")
    config(workers)
    workers.add_argument("--format", choices=("table", "jsonl"), default="table", help="what is printed")

    verify = command("verify", "verify_cmd:verify_command", "prove how far the event log is whole",
                     "  inspector verify --export /mnt/auditor/monday.json\n"
                     "  inspector verify --against /mnt/auditor/monday.json")
    config(verify)
    verify.add_argument("--against", metavar="FILE", action="append", default=[],
                        help="a checkpoint that was exported before; may be repeated")
    verify.add_argument("--export", metavar="FILE", help="write the last checkpoint there, for an auditor to keep")

    ca = command("ca", "", "the certificate authority that clients must trust", "  inspector ca export > inspector.pem")
    export = command("export", "ca:export_command", "print the authority's certificate (never its key)",
                     "  inspector ca export --format der > inspector.cer",
                     ca.add_subparsers(dest="what", metavar="COMMAND", parser_class=_Parser, required=True))
    config(export)
    export.add_argument("--format", choices=("pem", "der"), default="pem", help="encoding (default: pem)")
    return top, list(commands.choices)


def _quarantine(command: Any, config: Any) -> None:
    """The commands of what waits for a reviewer."""
    held = command("quarantine", "", "what waits for a reviewer: look at it, release or deny it",
                   "  inspector quarantine list\n  inspector quarantine release K7QM-2F9X --note \"asked her\"")
    within = held.add_subparsers(dest="what", metavar="COMMAND", parser_class=_Parser, required=True)
    made: dict[str, argparse.ArgumentParser] = {}
    for name, what, example in (
        ("list", "list what is held", "  inspector quarantine list --state held\n"
         "  inspector quarantine list --format jsonl | jq -r .id"),
        ("show", "show what a held message says; the log remembers who looked",
         "  inspector quarantine show K7QM-2F9X"),
        ("release", "deliver it, now or at its user's next sign-on; 1 when it was released already",
         "  inspector quarantine release K7QM-2F9X --note \"asked her\""),
        ("deny", "never deliver it, and tell its sender", "  inspector quarantine deny K7QM-2F9X"),
        ("export", "write its content to a new file of yours", "  inspector quarantine export K7QM-2F9X evidence.bin"),
        ("erase", "forget its key: nobody will read it again", "  inspector quarantine erase K7QM-2F9X"),
        ("rotate", "make a new key file and wrap all items' keys anew", "  inspector quarantine rotate"),
    ):
        made[name] = command(name, "quarantine_cmd:command", what, example, within)
    for name, parser in made.items():
        if name not in ("list", "rotate"):
            parser.add_argument("id", metavar="ID", type=_text, help="the item's id, or the reference of its sender")
        if name == "export":
            parser.add_argument("file", metavar="FILE", help="a file that is not there yet")
        if name == "release":
            parser.add_argument("--again", action="store_true",
                                help="also what is uncertain: it may have been delivered already")
        if name in ("release", "deny", "erase"):
            parser.add_argument("--note", metavar="TEXT", type=_text, help="why, for the event log")
        config(parser)
    made["list"].add_argument("--state", metavar="STATE", choices=STATES, help=f"only these: {', '.join(STATES)}")
    for name, plain in (("list", "table"), ("show", "text")):
        made[name].add_argument("--format", choices=(plain, "jsonl"), default=plain,
                                help=f"what is printed (default: {plain})")


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("not UTF-8 text") from None
    return text


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'"{text}" is not a number above 0')
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status. Never raises, but SystemExit of --help."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal of an old locale shows what it can; JSON lines are written as bytes and stay UTF-8.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _run(words)
    except UserError as fault:
        for line in fault.sentence.splitlines() or [""]:
            print(f"inspector: {line}", file=sys.stderr)
        return fault.exit
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Whoever read our output has seen enough. Python would complain once more when it flushes stdout at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as fault:  # the command line's last resort: its user never sees a traceback
        print(f"inspector: {_report(fault, words)}", file=sys.stderr)
        return INTERNAL


def _run(words: list[str]) -> int:
    first = next((word for word in words if not word.startswith("-")), None)
    if first in LATER:
        raise UserError(f"`inspector {first}` ({LATER[first]}) belongs to a later release", WRONG_USE)
    if words[:2] == ["ca", "rotate"]:
        raise UserError("`inspector ca rotate` belongs to a later release", WRONG_USE)
    made, names = parser()
    if words and not words[0].startswith("-") and words[0] not in names:
        import difflib

        near = difflib.get_close_matches(words[0], names, 1)
        hint = f' (did you mean "{near[0]}"?)' if near else " (see `inspector --help`)"
        raise UserError(f'unknown command "{words[0]}"{hint}', WRONG_USE)
    args = made.parse_args(words)
    if args.version:
        from importlib.metadata import version

        print(f"inspector {version('inspector')}")
        return 0
    if args.command is None:
        made.print_help(sys.stderr)
        return WRONG_USE
    module, _, function = args.use.partition(":")
    status = getattr(importlib.import_module(f"inspector.app.{module}"), function)(args)
    sys.stdout.flush()
    return int(status)


def _report(fault: BaseException, words: list[str]) -> str:
    """Write what happened where only its user can read it (0600); the sentence that says so."""
    import platform
    import tempfile
    import traceback

    text = "\n".join((
        f"command: {words}", f"python: {platform.python_version()} on {platform.platform()}",
        "".join(traceback.format_exception(fault)),
    ))
    for folder in ("var", None):
        if folder is not None and not os.path.isdir(folder):
            continue
        try:
            handle, path = tempfile.mkstemp(prefix="inspector-report-", suffix=".txt", dir=folder)
            with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            continue
        return f"internal error ({type(fault).__name__}); a report is in {os.path.abspath(path)}"
    return f"internal error ({type(fault).__name__}), and no report could be written"


if __name__ == "__main__":
    sys.exit(main())
