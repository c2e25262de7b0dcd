"""`inspector scan`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from inspector.app import scan
from inspector.app.cli import main
from inspector.app.scan import Inspection, Progress, Row, unknown_flow
from inspector.classify.probes import classifier
from inspector.drivers.pcap import Capture
from inspector.engine.kit import Kit
from inspector.engine.session import Session
from inspector.engine.world import World
from inspector.model import Address, Flow, Limits, Rules, ScanFailed
from inspector.protocols.registry import SPECS
from inspector.store.lines import unknown
from tests.drivers.crafted import ACK, CLIENT, FIN, RST, SERVER, SYN, ether, ip4, ip6, pcap, tcp, udp
from tests.test_golden import PCAPS, golden_captures, golden_rules

UP_LINES = (b"NICK amy\r\nUSER amy 0 * :Amy\r\n", b"PRIVMSG #garden :the tulips are out\r\n")


def irc(
    words: bytes = UP_LINES[1], port: int = 6667, client: int = 40000, at: float = 1000.0,
) -> list[tuple[float, bytes]]:
    """A short session from SYN to FIN, as Ethernet frames."""
    up, down = 1, 1
    frames = [ip4(tcp(client, port, 0, 0, SYN)), ip4(tcp(port, client, 0, 1, SYN | ACK), SERVER, CLIENT)]
    for data in (UP_LINES[0], b":irc.example 001 amy :Welcome\r\n", words):
        if data.startswith(b":"):
            frames.append(ip4(tcp(port, client, down, up, ACK, data), SERVER, CLIENT))
            down += len(data)
        else:
            frames.append(ip4(tcp(client, port, up, down, ACK, data)))
            up += len(data)
    frames.append(ip4(tcp(client, port, up, down, ACK | FIN)))
    frames.append(ip4(tcp(port, client, down, up + 1, ACK | FIN), SERVER, CLIENT))
    return [(at + 0.01 * number, ether(frame)) for number, frame in enumerate(frames)]


def inspect(data: bytes, limits: Limits | None = None, rules: Rules | None = None) -> list[Row]:
    """The rows of a capture."""
    rows: list[Row] = []
    limits = limits or Limits()
    inspection = Inspection(rules or golden_rules(), classifier(SPECS), SPECS, limits, rows.append)
    capture = Capture(io.BytesIO(data), "x.pcap", limits)
    inspection.capture(capture)
    return rows


def test_messages_and_the_flow_are_told() -> None:
    """A session gives its messages with their verdicts, and at last the flow with its counters."""
    rows = inspect(pcap(irc()))
    (message,) = [row for row in rows if row["event"] == "message" and row["kind"] == "chat"]
    assert (message["sender"], message["recipients"], message["text"]) == ("amy", ["#garden"], "the tulips are out")
    flow = rows[-1]
    assert flow["event"] == "flow"
    assert (flow["protocol"], flow["client"], flow["server"]) == (
        "irc", {"ip": CLIENT, "port": 40000}, {"ip": SERVER, "port": 6667})
    assert (flow["packets"], flow["bytes"], flow["file"]) == (7, sum(map(len, UP_LINES)) + 31, "x.pcap")
    assert 3 <= flow["packets_to_verdict"] <= 5
    assert flow["confidence"] > 0.5
    assert all(unknown(row) == () for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)


def test_irc_is_found_on_any_port() -> None:
    """Ports do not decide: the same on port 80."""
    chat = [row["text"] for row in inspect(pcap(irc(port=80))) if row["event"] == "message" and row["kind"] == "chat"]
    assert chat == ["the tulips are out"]


def test_what_would_be_done_is_told_and_nothing_else_changes() -> None:
    """A refusing verdict is a row; the session is read on as it was captured."""
    rows = inspect(pcap(irc(b"PRIVMSG bob :the purple elephant\r\nPRIVMSG bob :and more\r\n")))
    assert [(row["did"], row["rule"]) for row in rows if row["event"] == "verdict" and row["did"] != "pass"] == [
        ("block", "refused")]
    assert "and more" in [row.get("text") for row in rows]


def test_other_flows_are_listed() -> None:
    """UDP, connections without bytes, and other protocols are flows without a protocol; ICMP is none."""
    frames = [ip4(udp(5000, 53, b"a question"), protocol=17), ip4(tcp(1, 2, 0, 0, SYN)),
              ip4(tcp(2, 1, 0, 1, RST | ACK), SERVER, CLIENT), ip4(b"\x08\0ping", protocol=1),
              ip4(tcp(3, 443, 5, 5, ACK, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)))]
    rows = inspect(pcap([(1.0 + n, ether(frame)) for n, frame in enumerate(frames)]))
    assert [(row["event"], row["transport"], row["protocol"], row["packets"], row["bytes"], row["confidence"])
            for row in rows] == [
        ("flow", "tcp", None, 2, 0, 0.0), ("flow", "tcp", None, 1, 111, 0.0), ("flow", "udp", None, 1, 10, 0.0),
    ]
    assert all(row["community_id"].startswith("1:") for row in rows)


def test_a_flow_without_a_session_looks_like_one_with() -> None:
    """`unknown_flow` is what a session that recognised nothing says."""
    flow = Flow("0123", Address("10.0.0.5", 1), Address("2001:db8::7", 2), "udp", 5.0, file="x.pcap")
    kit = Kit(classifier(SPECS), golden_rules(), Limits())
    assert unknown_flow(flow, 9.0) == Session(flow, kit, World(Limits()), dry=True).flow_row(9.0)


def test_junk_in_front_does_not_hide_a_session() -> None:
    """A protocol that begins behind foreign bytes is found, though the flow was not looked at for each packet."""
    frames = [ip4(tcp(40000, 6667, 0, 0, SYN))]
    at = 1
    for line in [b"junk %d\r\n" % n for n in range(60)] + [*UP_LINES] * 30:
        frames.append(ip4(tcp(40000, 6667, at, 1, ACK, line)))
        at += len(line)
    rows = inspect(pcap([(1.0 + 0.01 * n, ether(frame)) for n, frame in enumerate(frames)]))
    assert rows[-1]["protocol"] == "irc"
    assert sum(row["event"] == "message" and row["text"] == "the tulips are out" for row in rows) == 30


def test_a_flow_that_is_nobodys_is_given_up() -> None:
    """Beyond limits.probe_bytes an unknown flow is only counted."""
    asked: list[int] = []

    def classify(up: bytes, down: bytes, flow: Flow, protocols: frozenset[str]) -> Any:
        asked.append(len(up) + len(down))
        return classifier(SPECS)(up, down, flow, protocols)

    rows: list[Row] = []
    inspection = Inspection(golden_rules(), classify, SPECS, Limits(), rows.append)
    frames = [(1.0 + n / 100, ether(ip4(tcp(1, 2, 1 + 1000 * n, 1, ACK, b"\xee" * 1000)))) for n in range(300)]
    inspection.capture(Capture(io.BytesIO(pcap(frames)), "x", Limits()))
    assert sum(asked) < 4 * 64 * 1024 + 4 * 1000
    assert max(asked) < 2 * 64 * 1024 + 1000
    assert (rows[0]["protocol"], rows[0]["bytes"]) == (None, 300_000)


def test_a_capture_is_told_the_same_each_time() -> None:
    """Two scans of the same bytes give the same rows, ids and references too."""
    data = pcap(irc() + irc(client=40001, at=2000.0))
    assert inspect(data) == inspect(data)


def test_captures_do_not_mix() -> None:
    """Each capture has a world of its own."""
    rows: list[Row] = []
    inspection = Inspection(golden_rules(), classifier(SPECS), SPECS, Limits(), rows.append)
    for name in ("a", "b"):
        inspection.capture(Capture(io.BytesIO(pcap(irc())), name, Limits()))
    half = len(rows) // 2
    assert [{**row, "file": None} for row in rows[:half]] == [{**row, "file": None} for row in rows[half:]]


def test_what_belongs_to_no_flow_is_told_at_the_end() -> None:
    """Bad fragments, foreign link types and evicted flows are rows of the capture."""
    bad = [(1.0, ether(ip4(b"x" * 12, fragment=0x2000)))]
    assert [(row["event"], row["name"], row["flow"]) for row in inspect(pcap(bad))] == [
        ("oddity", "ip.bad_fragment", None)]
    assert [(row["event"], row["name"]) for row in inspect(pcap([(1.0, b"abc")], 147))] == []
    many = [(1.0 + n / 100, ether(ip4(udp(n + 1, 9, b"x"), protocol=17))) for n in range(50)]
    rows = inspect(pcap(many), Limits(capture_flows=8))
    assert sum(row["event"] == "flow" for row in rows) == 50
    assert [row["name"] for row in rows if row["event"] == "trouble"] == ["overload"]


def test_unrecognised_bytes_are_bounded_over_all_flows() -> None:
    """Many flows that nobody claims hold no more than limits.capture_held_bytes together; that is told once."""
    frames = [(1.0 + n / 1000, ether(ip4(tcp(1000 + n % 40, 99, 1 + 500 * (n // 40), 1, ACK, b"\xee" * 500))))
              for n in range(400)]
    rows: list[Row] = []
    limits = Limits(capture_held_bytes=20_000)
    inspection = Inspection(golden_rules(), classifier(SPECS), SPECS, limits, rows.append)
    inspection.capture(Capture(io.BytesIO(pcap(frames)), "x", limits))
    assert inspection.held == 0
    assert sum(row["bytes"] for row in rows if row["event"] == "flow") == 200_000
    (trouble,) = [row for row in rows if row["event"] == "trouble"]
    assert (trouble["name"], "capture_held_bytes" in trouble["detail"]) == ("overload", True)


def test_long_texts_are_scanned_in_place() -> None:
    """A text that is too long for a quick scan is scanned at once, a failed scan is trouble and not clean."""
    words = b"PRIVMSG bob :" + b"far away " * 40 + b"the purple elephant\r\n"
    golden = golden_rules()

    class Slow:
        packs = ()
        digest = None

        def quick(self, texts: Any) -> None:
            return None

        def full(self, texts: Any) -> Any:
            return golden.scanner.full(texts)

    class Failing(Slow):
        def full(self, texts: Any) -> Any:
            raise ScanFailed("it broke")

    rows = inspect(pcap(irc(words)), rules=replace_scanner(golden, Slow()))
    assert [row["did"] for row in rows if row["event"] == "verdict" and row["did"] != "pass"] == ["block"]
    rows = inspect(pcap(irc(words)), rules=replace_scanner(golden, Failing()))
    assert "scanner_failed" in [row["name"] for row in rows if row["event"] == "trouble"]


def replace_scanner(rules: Rules, scanner: Any) -> Rules:
    return Rules(rules.version, rules.policy, scanner)


# -- the command


def command(*words: str | Path) -> tuple[int, list[dict[str, Any]], str]:
    """(exit status, lines, stderr) of `inspector scan --format jsonl`, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "inspector.app.cli", "scan", "--format", "jsonl", "--policy", str(PCAPS / "policy.yaml"),
         "--signatures", str(PCAPS / "packs"), *map(str, words)],
        capture_output=True, timeout=60, cwd=PCAPS.parent, check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_the_command_prints_lines(tmp_path: Path) -> None:
    """A folder with captures and other files: a line a row, nothing on stderr, exit 0."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.pcap").write_bytes(pcap(irc()))
    (tmp_path / "sub" / "b.gz").write_bytes(gzip.compress(pcap(irc(client=40001))))
    (tmp_path / "notes.txt").write_text("nothing")
    status, lines, said = command(tmp_path)
    assert (status, said) == (0, "")
    assert {line["file"] for line in lines} == {str(tmp_path / "a.pcap"), str(tmp_path / "sub" / "b.gz")}
    assert all(list(line)[:2] == ["event", "schema"] for line in lines)
    assert lines[-1]["t"] == "1970-01-01T00:16:40.060000Z"


def test_stdin_is_a_capture_too() -> None:
    """`-` reads the capture from stdin, packed or not."""
    done = subprocess.run(
        [sys.executable, "-m", "inspector.app.cli", "scan", "--format", "jsonl", "-"], input=gzip.compress(pcap(irc())),
        capture_output=True, timeout=60, cwd=PCAPS.parent, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["file"] == "-"


def test_what_was_read_of_a_broken_capture_is_told(tmp_path: Path) -> None:
    """A truncated capture: its rows, a sentence on stderr, the next capture, exit 1."""
    (tmp_path / "a.pcap").write_bytes(pcap(irc())[:-10])
    (tmp_path / "b.pcap").write_bytes(pcap(irc(client=40001)))
    status, lines, said = command(tmp_path)
    assert status == 1
    assert said == f"inspector: {tmp_path / 'a.pcap'} ends inside a packet (after 6 packets)\n"
    told = {line["file"] for line in lines if line["event"] == "message"}
    assert told == {str(tmp_path / name) for name in ("a.pcap", "b.pcap")}


@pytest.mark.parametrize(("words", "said"), [
    (["missing.pcap"], "missing.pcap: no such file or folder"),
    (["--policy", "missing.yaml", str(golden_captures()[0])], "missing.yaml"),
    (["--signatures", "missing", str(golden_captures()[0])], "missing"),
    (["pcaps/policy.yaml"], "is not a capture"),
])
def test_faults_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be read is told in a sentence, exit 1."""
    assert main(["scan", *words]) == 1
    err = capsys.readouterr().err
    assert err.startswith("inspector: ")
    assert said in err


def test_the_table_of_several_captures_names_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder's lines stand below the name of the file they are of; one capture needs no name."""
    for name in ("a.pcap", "b.pcap"):
        (tmp_path / name).write_bytes(pcap(irc()))
    assert main(["scan", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    titles = [at for at, line in enumerate(lines) if line in (f"{tmp_path}/a.pcap:", f"{tmp_path}/b.pcap:")]
    assert len(titles) == 2 and titles[0] == 0 and titles[1] > 2
    assert main(["scan", str(tmp_path / "a.pcap")]) == 0
    assert "a.pcap" not in capsys.readouterr().out


def test_the_table_shows_peer_words_safely(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The default format is a table, in which control characters of peers are visible."""
    (tmp_path / "a.pcap").write_bytes(pcap(irc(b"PRIVMSG bob :red \x1b[31m alert\r\n")))
    assert main(["scan", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "alert" in out
    assert "\x1b" not in out


def test_nothing_heavy_is_imported() -> None:
    """A scan starts without mitmproxy, pydantic, scapy, asyncio's servers or sqlite."""
    program = f"""
import sys
from inspector.app.cli import main
status = main(["scan", "--format", "jsonl", {str(golden_captures()[-1])!r}])
heavy = ("mitmproxy", "pydantic", "scapy", "sqlite3", "prometheus_client")
print([name for name in heavy if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, cwd=PCAPS.parent, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_progress_is_drawn_and_wiped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar on a terminal, wiped before anything else is printed; nothing where there is no terminal."""
    class Sized:
        def stat(self) -> Any:
            return type("Stat", (), {"st_size": 1000})()

    terminal = io.StringIO()
    clock = iter(float(n) for n in range(1, 100))
    monkeypatch.setattr("inspector.app.scan.time.monotonic", lambda: next(clock))
    progress = Progress([("a", Sized()), ("b", Sized())], terminal)  # type: ignore[list-item]
    progress.show(500)
    progress.next(1000)
    progress.show(500)
    progress.clear()
    progress.clear()
    first, second = [line for line in terminal.getvalue().split("\r") if "%" in line]
    assert " 25%" in first and " 75%" in second
    assert terminal.getvalue().count("\r\x1b[K") == 2
    Progress([], None).show(5)


def test_lines_are_whole_and_in_order() -> None:
    """Rows are written in batches, all of them."""
    out = io.BytesIO()
    lines = scan.Lines(out, Progress([], None))
    flow = unknown_flow(Flow("f", Address("10.0.0.5", 1), Address("10.0.0.7", 2)), 1.0)
    for number in range(1000):
        lines.emit({**flow, "id": f"f-{number}"})
    lines.end()
    assert [json.loads(line)["id"] for line in out.getvalue().splitlines()] == [f"f-{n}" for n in range(1000)]


def test_the_short_way_to_a_line_says_the_same() -> None:
    """The line of an unclaimed flow is filled into a pattern: the same bytes as its row rendered, for any file name."""
    frames = [(1.0 + n, ether(ip4(udp(n + 1, 9, b"x" * n), protocol=17))) for n in range(40)]
    frames += [(9.5, ether(ip6(tcp(40000, 443, 1, 1, ACK, b"\x16\x03\x01")), 0x86DD))]
    for name in ("a.pcap", 'odd "%s" <flow> 70001 \u202e.pcap', "-"):
        printed = []
        for short in (True, False):
            out = io.BytesIO()
            lines = scan.Lines(out, Progress([], None))
            inspection = Inspection(golden_rules(), classifier(SPECS), SPECS, Limits(), lines.emit)
            inspection.emit_unclaimed = lines.emit_unclaimed if short else None
            inspection.capture(Capture(io.BytesIO(pcap(frames)), name, Limits()))
            lines.end()
            printed.append(out.getvalue())
        assert printed[0] == printed[1]
        assert len(printed[0].splitlines()) == 41


def test_configured_privacy_is_kept() -> None:
    """Groups whose content is never inspected are not read offline either."""
    inspection = Inspection(
        golden_rules(), classifier(SPECS), SPECS, Limits(), lambda row: None, never_inspect=frozenset({"doctors"}))
    assert inspection.kit.never_inspect == {"doctors"}


def dcc(content: bytes, at: float = 1000.0) -> list[tuple[float, bytes]]:
    """amy is offered a file, and fetches it from the one who offers it, acknowledging all of it."""
    offer = b":bob!b@h PRIVMSG amy :\x01DCC SEND notes.txt %d 5001 %d\x01\r\n" % (
        int.from_bytes(bytes(map(int, SERVER.split(".")))), len(content))
    frames = irc(offer)
    ack = len(content).to_bytes(4, "big")
    size = len(content) + 1
    transfer = [
        ip4(tcp(40100, 5001, 0, 0, SYN)), ip4(tcp(5001, 40100, 0, 1, SYN | ACK), SERVER, CLIENT),
        *(ip4(tcp(5001, 40100, 1 + i, 1, ACK, content[i:i + 1000]), SERVER, CLIENT)
          for i in range(0, len(content), 1000)),
        ip4(tcp(40100, 5001, 1, size, ACK, ack)),
        ip4(tcp(5001, 40100, size, 5, ACK | FIN), SERVER, CLIENT), ip4(tcp(40100, 5001, 5, size + 1, ACK | FIN)),
    ]
    # Before the conversation ends, as it happens.
    return [*frames[:-2], *((at + 1 + 0.01 * number, ether(frame)) for number, frame in enumerate(transfer)),
            *((when + 5, frame) for when, frame in frames[-2:])]


def test_a_file_is_read_judged_and_linked_with_its_conversation() -> None:
    """A DCC transfer of a capture: recognised by its offer, its hash told, twice the same; nothing is left behind."""
    content = b"the tulips are out\n" * 500
    data = pcap(dcc(content))
    rows = inspect(data)
    (file,) = [row for row in rows if row["event"] == "file" and row["sha256"]]
    assert file["sha256"] == hashlib.sha256(content).hexdigest()
    assert (file["size"], file["complete"], file["name"]) == (len(content), True, "notes.txt")
    assert inspect(data) == rows


def test_a_file_that_cannot_be_judged_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process to judge with, no room for it: trouble scanner_failed, never clean; the reading goes on."""
    data = pcap(dcc(b"x" * 5000))
    monkeypatch.setattr("inspector.drivers.judges.spawned", lambda jail: (_ for _ in ()).throw(OSError("no processes")))
    rows = inspect(data)
    assert [row["did"] for row in rows if row["event"] == "trouble" and row["name"] == "scanner_failed"]
    assert sum(row["event"] == "flow" for row in rows) == 2
    rows = inspect(data, Limits(spool_total_bytes=1000))
    assert [row["did"] for row in rows if row["event"] == "trouble" and row["name"] == "scanner_failed"]


def test_files_of_captures_leave_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder for their content and the process that judges them end with the inspection."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    inspection = Inspection(golden_rules(), classifier(SPECS), SPECS, Limits(), lambda row: None)
    inspection.capture(Capture(io.BytesIO(pcap(dcc(b"x" * 5000))), "x.pcap", Limits()))
    judge = inspection.content._judge
    assert judge is not None
    assert judge._child is not None
    child = judge._child[0]
    assert len(list(tmp_path.iterdir())) == 1
    inspection.content.close()
    assert child.returncode is not None
    assert list(tmp_path.iterdir()) == []


def test_an_inspection_that_is_broken_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a file, by whatever stops a program."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made: list[Any] = []

    def stop(self: Any, effect: Any, file: Any, at: float) -> Any:
        made.append(self)
        raise KeyboardInterrupt

    monkeypatch.setattr("inspector.app.scan._Content.judge", stop)
    inspection = Inspection(golden_rules(), classifier(SPECS), SPECS, Limits(), lambda row: None)
    with pytest.raises(KeyboardInterrupt):
        inspection.capture(Capture(io.BytesIO(pcap(dcc(b"x" * 5000))), "x.pcap", Limits()))
    assert len(list(tmp_path.glob("inspector-*"))) == 1
    (content,) = made
    content.close()  # what its finalizer calls, at the end of the program at the latest
    assert list(tmp_path.glob("inspector-*")) == []
