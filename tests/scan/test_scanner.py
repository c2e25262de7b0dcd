"""The scanner: texts in, findings with spans out; bounded, and never clean by failure."""

from __future__ import annotations

import random
import threading
from pathlib import Path
from typing import Any

import pytest
import yara  # type: ignore[import-not-found]

from inspector.model import Limits, ScanFailed, Text
from inspector.scan import load
from inspector.scan.compiling import compile_units
from inspector.scan.prefilter import Entry, Re2Prefilter
from inspector.scan.scanner import PackScanner
from tests.scan import making

ROOT = Path(__file__).parents[2]
SPAM = making.rule("spam", '$a = "buy spam" nocase', "$a")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> PackScanner:
    """The packs of the project."""
    return load(ROOT / "signatures", cache=tmp_path_factory.mktemp("cache") / "packs").scanner


def test_a_rule_of_a_pack_makes_a_finding_with_its_span(shipped: PackScanner) -> None:
    """The EICAR text inside a message is found, with the rule's id and severity, and the place of the text."""
    eicar = bytes.fromhex((ROOT / "signatures/core/match/core.eicar.hex").read_text()).decode()
    found = shipped.quick([Text("subject", "hi"), Text("body", f"héllo {eicar} bye")])
    assert found is not None
    assert [(f.detector, f.rule, f.severity, f.pack, f.spans) for f in found] == [
        ("yara", "core.eicar", "high", "core@2026.11.0", ((1, 6, 6 + 68),)),
    ]
    assert shipped.quick([Text("body", "hello")]) == ()
    assert [one.partition("@")[0] for one in shipped.packs] == sorted(
        path.parent.name for path in (ROOT / "signatures").glob("*/pack.yaml"))


def test_no_shipped_rule_runs_on_every_text(shipped: PackScanner) -> None:
    """Each rule of the project has a safe literal."""
    assert shipped.always_run == ()


def test_long_texts_are_not_for_the_loop() -> None:
    """quick takes limits.quick_scan_bytes of all texts together, in bytes; full takes limits.text_bytes."""
    scanner = making.scanner(making.pack(SPAM), limits=Limits(quick_scan_bytes=100, text_bytes=1000))
    assert scanner.quick([Text("b", "x" * 100)]) == ()
    assert scanner.quick([Text("b", "x" * 101)]) is None
    assert scanner.quick([Text("a", "x" * 60), Text("b", "x" * 60)]) is None
    assert scanner.quick([Text("b", "é" * 51)]) is None
    long = "x" * 900 + " buy spam"
    assert scanner.quick([Text("b", long)]) is None
    assert [one.spans for one in scanner.full([Text("b", long)])] == [((0, 901, 909),)]
    with pytest.raises(ScanFailed, match="text_bytes"):
        scanner.full([Text("b", "x" * 999 + "éé")])


def test_no_texts_are_clean() -> None:
    """An event without texts, and empty texts."""
    scanner = making.scanner(making.pack(SPAM))
    assert scanner.quick([]) == () and scanner.full([]) == ()
    assert scanner.quick([Text("b", ""), Text("c", "")]) == () and scanner.full([Text("b", "")]) == ()


def test_all_places_in_all_texts() -> None:
    """Every match has a span; the same place found in two forms is one."""
    scanner = making.scanner(making.pack(SPAM))
    (finding,) = scanner.quick([Text("s", "Buy spam, buy spam"), Text("b", "é BUY SPAM")]) or ()
    assert finding.spans == ((0, 0, 8), (0, 10, 18), (1, 2, 10))


def test_too_many_places_are_no_place() -> None:
    """More spans than limits.spans would leave some readable: then there is none, and a mask becomes a refusal."""
    scanner = making.scanner(making.pack(SPAM), limits=Limits(spans=3))
    (finding,) = scanner.quick([Text("b", "buy spam " * 3)]) or ()
    assert len(finding.spans) == 3
    (finding,) = scanner.quick([Text("b", "buy spam " * 4)]) or ()
    assert finding.spans == ()


def test_the_worst_findings_are_kept() -> None:
    """Of more findings than limits.findings the severest stay."""
    rules = "".join(
        making.rule(f"r{i}", '$a = "word"', "$a", severity=severity)
        for i, severity in enumerate(["low", "critical", "medium", "high"])
    )
    scanner = making.scanner(making.pack(rules), limits=Limits(findings=2))
    assert [one.severity for one in scanner.quick([Text("b", "a word")]) or ()] == ["critical", "high"]


def test_file_rules_do_not_meet_messages() -> None:
    """Scope file is for files only; both is for both."""
    rules = making.rule("f", '$a = "word"', "$a", scope="file") + making.rule("b", '$a = "word"', "$a", scope="both")
    scanner = making.scanner(making.pack(rules))
    assert [one.rule for one in scanner.quick([Text("b", "word")]) or ()] == ["t.b"]


class _Raises:
    """A compiled object whose scans fail."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def match(self, **_: Any) -> list[Any]:
        raise self.error


@pytest.mark.parametrize("error", [yara.Error("internal error: 46"), yara.TimeoutError("scanning timed out")])
def test_a_scan_that_fails_is_never_clean(error: Exception) -> None:
    """Errors and timeouts of YARA are ScanFailed, in both calls."""
    scanner = making.scanner(making.pack(SPAM))
    scanner._shards[0].rules = _Raises(error)
    for scan in (scanner.quick, scanner.full):
        with pytest.raises(ScanFailed):
            scan([Text("b", "buy spam")])


def test_a_prefilter_that_fails_is_never_clean() -> None:
    """A set of RE2 that ran out of memory does not answer as if nothing matched."""
    prefilter = Re2Prefilter([Entry(b"spam", 1)])

    class Empty:
        def Match(self, _data: bytes) -> list[int]:
            return []

    prefilter._set = Empty()
    with pytest.raises(ScanFailed):
        prefilter.hits(b"spam")


def test_a_rule_that_overran_twice_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second overrun of a shard starts a search for the rule; it alone goes, and is told."""
    rules = SPAM + making.rule("slow", '$a = "buy spam"', "$a")
    scanner = making.scanner(making.pack(rules))
    hunted = threading.Event()
    hunt = PackScanner.hunt

    class Slow:
        def __init__(self, names: tuple[str, ...], rules: Any) -> None:
            self.names, self.rules = names, rules

        def match(self, **options: Any) -> Any:
            if "slow" in self.names:
                raise yara.TimeoutError("scanning timed out")
            return self.rules.match(**options)

    monkeypatch.setattr(
        "inspector.scan.scanner.compile_units",
        lambda units: Slow(tuple(name for unit in units for name in unit.names), compile_units(units)),
    )
    shard = scanner._shards[0]
    shard.load()
    shard.rules = Slow(("slow",), shard.rules)

    def hunting(*given: Any) -> None:
        hunt(*given)
        hunted.set()

    monkeypatch.setattr(PackScanner, "hunt", hunting)
    for _ in range(2):
        assert scanner.disabled == ()
        with pytest.raises(ScanFailed):
            scanner.quick([Text("b", "buy spam")])
    assert hunted.wait(30)
    assert scanner.disabled == ("t.slow",)
    assert [one.rule for one in scanner.quick([Text("b", "buy spam")]) or ()] == ["t.spam"]


def test_a_rule_that_minds_no_time_out_is_switched_off(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:
    """Two threads are stuck in it and YARA says nothing: who watches them says so; the rule alone goes, and is told."""
    monkeypatch.setattr("inspector.scan.scanner._HUNT_SECONDS", 0.2)
    rules = SPAM + making.rule("stuck", '$a = "buy spam"', "$a")
    scanner = making.scanner(making.pack(rules))
    let_go, hunted, hunt = threading.Event(), threading.Event(), PackScanner.hunt

    class Stuck:
        def __init__(self, names: tuple[str, ...], rules: Any) -> None:
            self.names, self.rules = names, rules

        def match(self, **options: Any) -> Any:
            if "stuck" in self.names:
                let_go.wait(60)
            return self.rules.match(**options)

    monkeypatch.setattr(
        "inspector.scan.scanner.compile_units",
        lambda units: Stuck(tuple(name for unit in units for name in unit.names), compile_units(units)),
    )
    shard = scanner._shards[0]
    shard.load()
    shard.rules = Stuck(("stuck",), shard.rules)

    def hunting(*given: Any) -> None:
        hunt(*given)
        hunted.set()

    monkeypatch.setattr(PackScanner, "hunt", hunting)
    threads = [threading.Thread(target=scanner.full, args=([Text("b", "buy spam")],)) for _ in range(2)]
    for thread in threads:
        thread.start()
    while len(scanner._running) < 2:
        let_go.wait(0.005)
    scanner.stuck(0)  # a thread that scans nothing
    for thread in threads:
        assert thread.ident is not None
        scanner.stuck(thread.ident)
    assert hunted.wait(30)
    assert scanner.disabled == ("t.stuck",)
    assert "t.stuck overran its time" in caplog.text
    assert [one.rule for one in scanner.quick([Text("b", "buy spam")]) or ()] == ["t.spam"]
    let_go.set()
    for thread in threads:
        thread.join(30)
    assert scanner._running == {}


def test_threads_scan_at_the_same_time() -> None:
    """quick in one thread and full in others give each its own answer."""
    scanner = making.scanner(making.pack(SPAM))
    wrong: list[object] = []

    def work(seed: int) -> None:
        rnd = random.Random(seed)
        for _ in range(300):
            spam = rnd.random() < 0.5
            text = "x" * rnd.randrange(3000) + (" buy spam" if spam else " buy ham")
            found = (scanner.full if seed else scanner.quick)([Text("b", text)])
            if found is None or [one.rule for one in found] != (["t.spam"] if spam else []):
                wrong.append((seed, text[-10:], found))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_both_prefilters_find_the_same(shipped: PackScanner) -> None:
    """The project's packs with RE2 find what they find with hyperscan."""
    other = load(ROOT / "signatures", make=Re2Prefilter).scanner
    assert (shipped.prefilter, other.prefilter) == ("hyperscan", "re2")
    for path in sorted((ROOT / "signatures").rglob("*match/**/*.*")):
        if path.is_dir():
            continue
        data = path.read_bytes()
        # Samples of rules for files are no texts; what is made of them is one all the same.
        text = Text("b", (bytes.fromhex(data.decode()) if path.suffix == ".hex" else data).decode(errors="replace"))
        assert shipped.full([text]) == other.full([text]), path


HARMLESS = """\
Hi, are we still on for lunch at 12:30? 🍕
Guten Morgen! Die Besprechung ist am 24.11.2026 um 10:15 Uhr.
Bonjour, mon numéro est le 06 12 34 56 78, à demain
¿Puedes enviarme el pedido 4500123456?
Oggi non posso, ci sentiamo domani 😊
Call me:  1 (555) 010-0199 or +41 79 555 01 99
Привет! Перезвони мне: +7 912 345-67-89
你好,订单号是 20261122123456789
こんにちは、会議は15時からです🙂
안녕하세요! 내일 봐요
مرحبا، الاجتماع الساعة ١٠
שלום, נתראה מחר ב-9:00
Tere! Kas sa tuled täna?
Dzień dobry, faktura FV/2026/11/0042
Merhaba, yarın görüşürüz
Γεια σου! Τα λέμε στις 17:45
Chào bạn, hẹn gặp lại lúc 8h30
สวัสดี พบกันพรุ่งนี้
नमस्ते, कल मिलते हैं
Hej! Jag skickar koden 123 456 till dig
Olá, o CEP é 01310-100
tracking 1Z999AA10123456784
ISBN 978-3-16-148410-0
EAN 4006381333931
IMEI 352099001761481  build 20261122.1015 took 12345678 ms
192.168.1.10 is my printer
https://example.org/a?id=1234567890123
see you 2026-11-22T10:15:20Z  commit 3f786850e387550fdab836ed7e6dc881de23001b
uuid 123e4567-e89b-12d3-a456-426614174000
1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16  lottery: 4 8 15 16 23 42
<b>bold</b> &amp; done
my webcam is new
who blocked the door?
the scan took 200 5 0
AB12 CDEF is the seat
""".splitlines()


def test_harmless_messages_find_nothing(shipped: PackScanner) -> None:
    """Everyday messages in many languages, with numbers, links, emoji and markup."""
    for text in HARMLESS:
        assert shipped.quick([Text("body", text)]) == (), text
