"""Processes that judge files: what they do to a gateway when files make them hang, die, grow or lie."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inspector import scan
from inspector.drivers import judges as module
from inspector.drivers.judges import Judging, OneJudge, Workers, clipped
from inspector.model import File, FileReport, FileRules, Finding, Judge, Limits, Rules
from inspector.scan import FileJudge
from tests.drivers.mitm_harness import until
from tests.engine.toy import ToyPolicy, ToyScanner
from tests.scan import making_files as made
from tests.test_golden import PCAPS

LIMITS = Limits(archive_seconds=1.0, file_workers=2)

JAIL = Path(__file__).parent
"""Any folder will do."""

NAUGHTY = """
import os, time
import inspector.scan.files as files
from inspector.drivers.judge_child import main
real = files.FileJudge.judge

def judge(self, source, about):
    data = source if isinstance(source, bytes) else os.pread(source, 200, 0)
    if data.startswith(b"hang"):
        while True:
            pass
    if data.startswith(b"sleep"):
        time.sleep(60)
    if data.startswith(b"die"):
        os.kill(os.getpid(), 9)
    if data.startswith(b"crash"):
        raise KeyError("the secret word")
    if data.startswith(b"hog"):
        held = []
        while True:
            held.append(bytes(1 << 20))
    if data.startswith(b"lie"):
        os.write(0, b"\\0\\0\\0\\5hello")
        time.sleep(60)
    if data.startswith(b"long"):
        os.write(0, b"\\xff\\xff\\xff\\xff")
        time.sleep(60)
    if data.startswith(b"forge"):
        import msgspec
        from inspector.model import Finding
        report = real(self, source, about)
        how = eval(data[5:].decode())
        if how == "twice":
            from inspector.drivers.judge_child import Answer, packed
            os.write(0, packed(Answer(report, None)) * 2)
            time.sleep(60)
        return msgspec.structs.replace(report, **how)
    return real(self, source, about)

files.FileJudge.judge = judge
main()
"""


def file_rules() -> FileRules:
    """Real rules of a small pack."""
    rules = scan.load(PCAPS / "packs" / "golden", Limits()).scanner.files
    assert rules is not None
    return rules


def content(data: bytes) -> int:
    """A descriptor of a file without a name."""
    descriptor = os.memfd_create("content")
    os.write(descriptor, data)
    return descriptor


class Asker:
    """Workers, and what they said."""

    def __init__(self, limits: Limits, sentences: list[str]) -> None:
        self.limits = limits
        self.sentences = sentences
        self.workers = Workers(lambda: self.limits, sentences.append, JAIL)
        self.rules = file_rules()

    def ask(self, data: bytes, name: str = "a.txt", rules: FileRules | None = None) -> asyncio.Future[Any]:
        """(report, failure), some time."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.workers.judge(
            File(file_name=name), content(data), rules or self.rules, lambda *said: answer.set_result(said))
        return answer

    async def failure(self, data: bytes) -> str:
        report, failure = await self.ask(data)
        assert report is None
        assert isinstance(failure, str)
        return failure


@asynccontextmanager
async def asking(
    monkeypatch: pytest.MonkeyPatch, limits: Limits = LIMITS, program: str | None = NAUGHTY,
) -> AsyncIterator[Asker]:
    """Started workers; all are gone in the end."""
    if program is not None:
        monkeypatch.setattr(module, "PROGRAM", ("-c", program))
    monkeypatch.setattr(module, "GRACE", 0.3)
    asker = Asker(limits, [])
    await asker.workers.start(asker.rules)
    processes = [worker.process for worker in asker.workers._workers]
    try:
        yield asker
    finally:
        await asker.workers.stop()
        assert all(process.poll() is not None for process in processes)


def run(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), 60))


def test_files_are_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each gets its own report, whoever judges it; results are counted by kind."""

    async def scenario() -> None:
        async with asking(monkeypatch, program=None) as asker:
            answers = await asyncio.gather(*(asker.ask(b"%d" % number * 10) for number in range(20)))
            assert [report.size for report, _ in answers] == [len(b"%d" % n * 10) for n in range(20)]
            assert len({report.sha256 for report, _ in answers}) == 20
            report, failure = await asker.ask(b"MZ" + bytes(100), "photo.jpg.exe")
            assert failure is None
            assert any(finding.rule == "file.double_extension" for finding in report.findings)
            counters = asker.workers.counters
            assert (counters.clean, counters.found, counters.failed) == (20, 1, 0)
            await until(lambda: asker.workers.alive == 2, 20)
            assert asker.workers.waiting == 0

    run(scenario)


@pytest.mark.parametrize("how", [b"hang", b"sleep"])
def test_a_worker_that_overruns_is_killed(monkeypatch: pytest.MonkeyPatch, how: bytes) -> None:
    """The file is a failure, another worker takes its place, and others' files go on meanwhile."""

    async def scenario() -> None:
        async with asking(monkeypatch) as asker:
            slow = asker.ask(how)
            report, _ = await asker.ask(b"fine")
            assert report.size == 4
            assert not slow.done()
            assert await slow == (None, "judging the file took too long")
            counters = asker.workers.counters
            assert (counters.overruns, counters.restarts, counters.failed) == (1, 1, 1)
            report, _ = await asker.ask(b"fine again")
            assert report.size == 10
            await until(lambda: asker.workers.alive == 2, 20)

    run(scenario)


@pytest.mark.parametrize("how", [b"die", b"lie", b"long"])
def test_a_file_that_kills_its_worker_twice_is_a_failure(monkeypatch: pytest.MonkeyPatch, how: bytes) -> None:
    """Killed in the middle of a file, or speaking nonsense: tried once more, then a failure; never clean."""

    async def scenario() -> None:
        async with asking(monkeypatch) as asker:
            assert await asker.failure(how) == "the process that judged the file has died twice"
            counters = asker.workers.counters
            assert (counters.deaths, counters.failed, counters.clean) == (2, 1, 0)
            report, _ = await asker.ask(b"fine")
            assert report.size == 4

    run(scenario)


def test_a_file_whose_worker_died_once_is_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The death may have been another file's fault, or an operator's: the second worker judges it."""
    tmp_path.chmod(0o755)

    async def scenario() -> None:
        async with asking(monkeypatch) as asker:
            answer = asker.ask(b"sleep")
            await until(lambda: any(worker.job for worker in asker.workers._workers), 20)
            (worker,) = [worker for worker in asker.workers._workers if worker.job]
            job = worker.job
            assert job is not None
            os.pwrite(job.content, b"woken", 0)
            os.kill(worker.process.pid, signal.SIGKILL)
            report, failure = await answer
            assert (report.size, failure) == (5, None)
            assert asker.workers.counters.deaths == 1

    run(scenario)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that makes its judge grow gets a failure, at the bound of one worker."""

    async def scenario() -> None:
        async with asking(monkeypatch, replace(LIMITS, file_worker_memory=200 << 20, archive_seconds=10)) as asker:
            assert await asker.failure(b"hog") == "not enough memory to judge the file"
            report, _ = await asker.ask(b"fine")
            assert report.size == 4

    run(scenario)


def test_an_error_of_ours_is_told_without_what_the_file_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its type and place are logged; the file is a failure."""

    async def scenario() -> None:
        async with asking(monkeypatch) as asker:
            assert await asker.failure(b"crash") == "the process that judged the file has died twice"
            told = [sentence for sentence in asker.sentences if "internal error" in sentence]
            assert told[0].startswith("a process that judges files ends because of an internal error: KeyError at ")
            assert "secret" not in "".join(asker.sentences)

    run(scenario)


@pytest.mark.parametrize("how", [
    "{'size': 1}", "{'sha256': '../x'}", "{'kinds': ('image',) * 900}", "{'kinds': ('harmless',)}", "{'members': -1}",
    "{'media_type': 'x' * 9000}", "'twice'", "{'findings': (Finding('file', 'file.bomb', 'low'),) * 1000}",
    "{'findings': (Finding('file', 'x' * 9000, 'low'),)}",
    "{'findings': (Finding('file', 'file.bomb', 'low', spans=((0, 0, 9),)),)}",
])
def test_a_worker_that_was_taken_over_cannot_say_what_it_likes(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    """Answers about another file, in advance, too long, with places in messages: a failure, and another worker."""

    async def scenario() -> None:
        async with asking(monkeypatch, replace(LIMITS, archive_seconds=20.0)) as asker:
            failure = await asker.failure(b"forge" + how.encode())
            assert failure == "the process that judged the file has died twice"
            assert any("answers what none would" in sentence for sentence in asker.sentences)
            report, _ = await asker.ask(b"content")
            assert report.size == 7

    run(scenario)


def test_a_worker_is_replaced_after_so_many_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """limits.file_worker_files: what its parsers leak stays small."""

    async def scenario() -> None:
        limits = replace(LIMITS, file_workers=1, file_worker_files=2)
        async with asking(monkeypatch, limits, program=None) as asker:
            first = asker.workers._workers[0].process.pid
            for number in range(4):
                report, _ = await asker.ask(b"%d" % number)
                assert report.size == 1
            assert asker.workers.counters.restarts == 2
            assert asker.workers.counters.deaths == 0
            assert asker.workers._workers[0].process.pid != first

    run(scenario)


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above limits.file_queue a file is a failure at once; the descriptor is closed."""

    async def scenario() -> None:
        async with asking(monkeypatch, replace(LIMITS, file_queue=3)) as asker:
            waiting = [asker.ask(b"fine") for _ in range(3)]
            assert await asker.failure(b"one too many") == "too many files wait to be judged"
            assert asker.workers.counters.refused == 1
            for answer in waiting:
                report, _ = await answer
                assert report.size == 4

    before = len(os.listdir("/proc/self/fd"))
    run(scenario)
    gc.collect()  # before Python 3.13 a mapped file has a descriptor of its own
    assert len(os.listdir("/proc/self/fd")) <= before


def test_nobody_keeps_all_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """One client's many files: the file of another one is taken next, and there is always room for it."""

    async def scenario() -> None:
        async with asking(monkeypatch, replace(LIMITS, file_workers=1, file_queue=20), program=None) as asker:
            order: list[str] = []

            def ask(owner: str, name: str) -> None:
                asker.workers.judge(
                    File(file_name=name), content(b"x"), asker.rules,
                    lambda report, failure: order.append(name if failure is None else f"{name}: {failure}"), owner)

            for n in range(8):
                ask("10.0.0.66", f"flood{n}")
            ask("10.0.0.5", "ours")
            await until(lambda: len(order) == 9, 30)
            refused = [each for each in order if "too many" in each]
            taken = [each for each in order if "too many" not in each]
            assert len(refused) == 3, "a quarter of the queue is one client's share"
            assert taken.index("ours") <= 1, order

    run(scenario)


def test_a_question_can_be_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it waits or is being judged: nobody is answered, the next file is judged."""

    async def scenario() -> None:
        async with asking(monkeypatch, replace(LIMITS, file_workers=1)) as asker:
            said: list[Any] = []
            take_back = [
                asker.workers.judge(File(), content(data), asker.rules, lambda *answer: said.append(answer))
                for data in (b"sleep", b"fine")
            ]
            await until(lambda: any(worker.job for worker in asker.workers._workers), 20)
            for call in take_back:
                call()
                call()
            report, _ = await asker.ask(b"another")
            assert report.size == 7
            assert said == []

    run(scenario)


def test_large_files_leave_a_worker_to_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that take their time do not keep a small one waiting."""

    async def scenario() -> None:
        async with asking(monkeypatch, replace(LIMITS, archive_seconds=20)) as asker:
            await until(lambda: asker.workers.alive == 2, 20)
            large = [asker.ask(b"sleep" + bytes(2 << 20)) for _ in range(2)]
            report, _ = await asker.ask(b"small")
            assert report.size == 5
            assert not any(answer.done() for answer in large)
            assert asker.workers.waiting == 1

    run(scenario)


def test_after_a_reload_files_are_judged_with_the_rules_they_were_asked_about(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
) -> None:
    """A worker loads what a file needs; rules that nobody needs any more are let go."""
    pack = tmp_path / "p"
    pack.mkdir()
    (pack / "pack.yaml").write_text(
        "name: p\nversion: 2026.1.0\ndescription: A test\nlicense: Apache-2.0\n"
        "content:\n  - {file: f.yar, kind: yara}\n")
    (pack / "f.yar").write_text(
        'rule tulips { meta: id = "p.tulips" severity = "high" description = "x" scope = "file" '
        'strings: $a = "tulips" condition: $a }\n')
    loaded = scan.load(tmp_path, Limits()).scanner.files
    assert loaded is not None
    new = loaded

    async def scenario() -> None:
        async with asking(monkeypatch, program=None) as asker:
            old = asker.rules
            waiting = asker.ask(b"tulips", rules=old)
            await asker.workers.use(new)
            after = asker.ask(b"tulips", rules=new)
            report, _ = await waiting
            assert report.findings == ()
            report, _ = await after
            assert [finding.rule for finding in report.findings] == ["p.tulips"]
            await asker.workers.use(new)
            assert set(asker.workers._blobs) == {new.key}
            report, _ = await asker.ask(b"tulips", rules=old)
            assert report.findings == ()

    run(scenario)


DIES_OF_ITS_RULES = """
import os
import inspector.scan
from inspector.drivers.judge_child import main
inspector.scan.FileJudge = lambda blob: os.kill(os.getpid(), 9)
main()
"""


@pytest.mark.parametrize("program", ["raise SystemExit(1)", DIES_OF_ITS_RULES], ids=["start", "rules"])
def test_a_program_that_does_not_start_is_told_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, program: str,
) -> None:
    """Files are failures meanwhile, not kept waiting; one sentence; once it starts, files are judged."""

    async def scenario() -> None:
        async with asking(monkeypatch, program=program) as asker:
            waiting = asker.ask(b"fine")
            assert await waiting == (None, "no process that judges files can be started")
            assert asker.workers.broken
            assert await asker.failure(b"fine") == "no process that judges files can be started"
            assert asker.sentences == ["a process that judges files cannot be started: it ends before it is ready"]
            monkeypatch.setattr(module, "PROGRAM", ("-m", "inspector.drivers.judge_child"))
            await until(lambda: not asker.workers.broken, 30)
            report, _ = await asker.ask(b"fine")
            assert report.size == 4

    run(scenario)


def test_without_rules_nothing_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scanner without rules for files judges none."""

    async def scenario() -> None:
        workers = Workers(lambda: LIMITS, print, JAIL)
        await workers.start(None)
        said: list[Any] = []
        workers.judge(File(), content(b"x"), None, lambda *answer: said.append(answer))
        await until(lambda: bool(said))
        assert said == [(None, "there are no rules for files")]
        await workers.stop()

    run(scenario)


class Opinion:
    """A second one."""

    def __init__(self, said: Finding | Exception | None) -> None:
        self.said = said

    async def ask(self, content: int, size: int) -> Finding | None:
        assert os.pread(content, 10, 0) == b"content"
        assert size == 7
        if isinstance(self.said, Exception):
            raise self.said
        return self.said


CLAMD = Finding("clamd", "clamd.Toy", "high")


@pytest.mark.parametrize(("second", "findings", "failure"), [
    (None, (), None), (CLAMD, (CLAMD,), None), (OSError("clamd cannot be reached"), (), "clamd cannot be reached"),
    (ValueError("clamd: size limit"), (), "clamd: size limit"),
])
def test_two_opinions(
    monkeypatch: pytest.MonkeyPatch, second: Finding | Exception | None, findings: Any, failure: str | None,
) -> None:
    """Clean is what both call clean; the findings of both count; a second opinion that fails is a failure, and what the
    first has found is told all the same."""

    class Judged(ToyScanner):
        files = file_rules()  # type: ignore[assignment]

    async def scenario() -> None:
        async with asking(monkeypatch, program=None) as asker:
            judging = Judging(asker.workers)
            judging.second = Opinion(second)
            said: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            effect = Judge("f", File(file_name="a.txt"), Rules(1, ToyPolicy(), Judged()))
            judging.judge(effect, content(b"content"), lambda *answer: said.set_result(answer))
            report, why = await said
            assert why == failure
            assert (None if report is None else report.findings) == findings
            open_files = len(os.listdir("/proc/self/fd"))
            take_back = judging.judge(effect, content(b"content"), lambda *answer: said.set_result(answer))
            take_back()
            await until(lambda: len(os.listdir("/proc/self/fd")) == open_files)

    run(scenario)


def test_rules_that_cannot_be_handed_on_are_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """No memory for them: files are answered, not kept waiting; one sentence."""

    class Other:
        key, blob = "other", b"x"

    def full(*args: object) -> int:
        raise OSError(12, "Cannot allocate memory")

    async def scenario() -> None:
        async with asking(monkeypatch, program=None) as asker:
            with monkeypatch.context() as patch:
                patch.setattr(os, "memfd_create", full)
                descriptor = os.open("/dev/null", os.O_RDONLY)
                said: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                asker.workers.judge(File(), descriptor, Other(), lambda *answer: said.set_result(answer))
                why = "the rules for files cannot be handed on: cannot allocate memory"
                assert await said == (None, why)
                assert asker.sentences == [why]
            report, _ = await asker.ask(b"fine")
            assert report.size == 4

    run(scenario)


def test_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """For captures: the same process, waited for; hangs and deaths are failures, and the next file is judged."""
    monkeypatch.setattr(module, "PROGRAM", ("-c", NAUGHTY))
    monkeypatch.setattr(module, "GRACE", 0.3)
    judge = OneJudge(file_rules(), LIMITS, JAIL)

    def ask(data: bytes) -> FileReport | str:
        descriptor = content(data)
        try:
            return judge.judge(File(file_name="a.txt"), descriptor)
        finally:
            os.close(descriptor)

    try:
        report = ask(b"fine")
        assert isinstance(report, FileReport)
        assert report.size == 4
        assert ask(b"sleep") == "judging the file took too long"
        assert ask(b"die") == "the process that judged the file has died twice"
        assert ask(b"lie") == "the process that judged the file has died twice"
        assert isinstance(ask(b"fine"), FileReport)
        assert OneJudge(None, LIMITS, JAIL).judge(File(), 0) == "there are no rules for files"
    finally:
        judge.close()
        judge.close()


def files() -> dict[str, bytes]:
    """One of each kind that there is an opener for, with something in it."""
    inside = {"a.txt": b"tulips", "b.exe": made.pe(), "dir/c.sh": made.SCRIPT}
    return {
        "a.zip": made.zipped(inside), "a.tar": made.tarred(inside), "a.cab": made.cab(inside),
        "a.7z": made.sevenzip(inside), "a.rar": made.rar5(inside), "old.rar": made.rar4(inside),
        "a.iso": made.iso({"A.TXT": b"tulips"}),
        "a.docx": made.docx(made.vba_project(b"Sub AutoOpen()\r\nEnd Sub\r\n")),
        "a.odt": made.odt(macros=True), "a.doc": made.ole({"WordDocument": b"x"}),
        "a.pdf": made.pdf([(b"<< /OpenAction << /S /JavaScript /JS (app.alert(1)) >> >>", None)]),
        "a.eml": made.mail(inside), "a.rtf": made.rtf(b"\\object"), "eicar.com": made.EICAR, "a.exe": made.pe(),
        "caf\xe9.zip": made.zipped({"caf\xe9.txt": b"x", "\u202etxt.exe": made.pe()}),
        **{f"a.{name}": data for name, data in made.compressed(made.zipped(inside)).items()},
        **{f"{codec}.txt": "5105 1051 0510 5100 ｅ\u0301 http://b\u00fccher.example/ карта".encode(codec, "replace")
           for codec in ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "cp1252", "cp1251")},
    }


def test_confinement_changes_no_judgement() -> None:
    """Every kind of file gets the same report from the confined process as without one: nothing that it needs is read
    when it may not read any more."""
    rules = file_rules()
    here, there = FileJudge(rules.blob), OneJudge(rules, Limits(), JAIL)
    try:
        for name, data in files().items():
            descriptor = content(data)
            about = File(file_name=name, size=len(data))
            assert there.judge(about, descriptor) == here.judge(descriptor, about), name
            os.close(descriptor)
    finally:
        there.close()


def test_they_end_with_the_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, it cannot stop them: they end by themselves when nobody asks any more."""
    process, sock = module.spawned(JAIL)
    assert sock.recv(1)
    sock.close()
    assert process.wait(30) == 0


def test_names_are_judged_in_bounds() -> None:
    """Of a name that nobody could show, its begin and its end: the ending counts."""
    about = File(file_name="a" * 5000 + ".exe", declared_type="t" * 5000, size=5, sender="amy", texts=())
    short = clipped(about)
    assert len(short.file_name) == 2 * module.NAME
    assert short.file_name.endswith(".exe")
    assert (len(short.declared_type or ""), short.size, short.sender) == (module.NAME, 5, None)
    assert clipped(File(file_name="a.txt")).file_name == "a.txt"
