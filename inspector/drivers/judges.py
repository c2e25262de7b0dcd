"""Who judges files: processes of their own (judge_child.py), and clamd where it is configured.

`Workers` keeps `limits.file_workers` processes, gives each one file at a time, kills what overruns
(`limits.archive_seconds` and a little), replaces what has died or has judged `limits.file_worker_files`. A file whose
worker died is tried once more in another one; the second time, and after an overrun, it is a failure: never clean.
Where there are several workers, large files leave one of them to the small.

Rules travel as a sealed file in memory, loaded by a worker before the first file that is to be judged with them: after
a reload, files that were asked about before are still judged with the rules of then.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Protocol

import msgspec

from inspector.drivers.judge_child import (
    ANSWER_BYTES,
    ASK_BYTES,
    SIZE,
    Answer,
    Ask,
    Crashed,
    FromChild,
    Load,
    Loaded,
    Ready,
    ToChild,
    answer_of,
    packed,
)
from inspector.model import File, FileReport, FileRules, Finding, Judge, Limits, Rules
from inspector.scan.filetypes import KINDS

GRACE = 5.0
"""Seconds beyond limits.archive_seconds before a worker is killed."""
START_SECONDS = 60.0
"""A worker that is not ready after this has failed; rules of a million hashes take a while to load."""
SMALL = 1 << 20
"""Bytes up to which a file is small."""
NAME = 1024
"""Characters of a name's begin and end that are judged; nobody can see more."""
_FAILED_STARTS = 3
"""Starts that fail in a row before files are told to fail, until one succeeds."""
PROGRAM = ("-m", "inspector.drivers.judge_child")
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

_KINDS = frozenset(KINDS)
_SENTENCE = 1000
_WORD = 400
_TAGS = 64
"""Above what openers and packs say; what is longer was made to be long."""

Done = Callable[[FileReport | None, str | None], None]
"""A report, or the sentence of a failure."""


class Second(Protocol):
    """Another opinion on the same content: clamd."""

    async def ask(self, content: int, size: int) -> Finding | None:
        """What it found in the content of this descriptor. Raises OSError or ValueError with one sentence."""
        ...


class Counters:
    """Plain ints, read at scrape time."""

    __slots__ = ("clean", "deaths", "failed", "found", "overruns", "refused", "restarts")

    def __init__(self) -> None:
        self.clean = 0
        """Files in which nothing was found."""
        self.found = 0
        """Files with findings."""
        self.failed = 0
        """Files that could not be judged."""
        self.refused = 0
        """Of these: the queue was full."""
        self.deaths = 0
        """Workers that ended by themselves."""
        self.overruns = 0
        """Workers that were killed because they took too long."""
        self.restarts = 0
        """Workers started in place of another one."""


SHARE = 4
"""One owner may fill the queue's length divided by this."""
OWNERS = 1024
"""Owners whose last turn is remembered."""


class _Job:
    """One file that waits or is being judged."""

    __slots__ = ("about", "content", "deaths", "done", "over", "owner", "rules", "size")

    def __init__(self, about: File, content: int, size: int, rules: FileRules, done: Done, owner: str) -> None:
        self.about = about
        self.content = content
        self.size = size
        self.rules = rules
        self.done = done
        self.owner = owner
        """Whose file it is, for fairness."""
        self.deaths = 0
        self.over = False

    def end(self, report: FileReport | None, failure: str | None) -> None:
        """Answer once; the content is closed."""
        if not self.over:
            self.over = True
            os.close(self.content)
            self.done(report, failure)

    def cancel(self) -> None:
        """Nobody wants the answer any more."""
        if not self.over:
            self.over = True
            os.close(self.content)


class _Worker:
    """One process, seen from the gateway."""

    __slots__ = ("buffer", "files", "job", "key", "loading", "process", "ready", "sock", "timer")

    def __init__(self, process: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.process = process
        self.sock = sock
        self.buffer = b""
        self.ready = False
        self.key = ""
        """Of the rules it has."""
        self.loading = ""
        """Of the rules it is loading."""
        self.job: _Job | None = None
        self.files = 0
        self.timer: asyncio.TimerHandle | None = None

    @property
    def idle(self) -> bool:
        return self.ready and self.job is None and not self.loading


class Workers:
    """The processes that judge files. All methods are called on the loop."""

    def __init__(self, limits: Callable[[], Limits], log: Callable[[str], None], jail: Path) -> None:
        """`jail`: an empty folder, which becomes the root of the processes."""
        self.limits = limits
        self.jail = jail
        self.counters = Counters()
        self._log = log
        self._loop: asyncio.AbstractEventLoop
        self._workers: list[_Worker] = []
        self._ended: list[subprocess.Popen[bytes]] = []
        self._queue: deque[_Job] = deque()
        self._served: OrderedDict[str, int] = OrderedDict()
        """Owner -> his place in the row of those whose file was taken last; the longest ago is taken next."""
        self._turns = 0
        self._rules: FileRules | None = None
        self._blobs: dict[str, int | None] = {}
        """Descriptors of rules by their key; None: being made."""
        self._failed_starts = 0
        self._running = False
        self._said: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    # -- life

    async def start(self, rules: FileRules | None) -> None:
        """Start the processes; those of root become nobody, so this comes after the gateway has dropped privileges."""
        self._loop = asyncio.get_running_loop()
        self._running = True
        await self.use(rules)
        for _ in range(self.limits().file_workers):
            self._spawn()

    async def use(self, rules: FileRules | None) -> None:
        """These rules are in force now: what is idle loads them before somebody needs them."""
        self._rules = rules
        if rules is not None:
            await self._prepare(rules)
        self._forget_rules()
        self._dispatch()

    async def stop(self) -> None:
        """End all processes; files that are not judged are never answered."""
        self._running = False
        for job in self._queue:
            job.cancel()
        self._queue.clear()
        for worker in list(self._workers):
            if worker.job is not None:
                worker.job.cancel()
                worker.job = None
            self._end(worker)
        for task in list(self._tasks):
            task.cancel()
        until = time.monotonic() + 5.0
        while self._reap() and time.monotonic() < until:
            await asyncio.sleep(0.01)
        for descriptor in self._blobs.values():
            if descriptor is not None:
                os.close(descriptor)
        self._blobs.clear()

    @property
    def alive(self) -> int:
        """Workers that are ready."""
        return sum(worker.ready for worker in self._workers)

    @property
    def waiting(self) -> int:
        """Files that no worker has taken yet."""
        return len(self._queue)

    @property
    def broken(self) -> bool:
        """Whether no worker can be started."""
        return self._failed_starts >= _FAILED_STARTS

    # -- asking

    def judge(
        self, about: File, content: int, rules: FileRules | None, done: Done, owner: str = "",
    ) -> Callable[[], None]:
        """Judge the content of a descriptor, which is ours to close; `done` comes later, unless it is taken back.

        `owner`: nobody may have more than a quarter of the queue, and owners take turns.
        """
        size = os.fstat(content).st_size
        most = self.limits().file_queue
        full = len(self._queue) >= most or (
            owner != "" and sum(job.owner == owner for job in self._queue) >= max(1, most // SHARE))
        if rules is None or self.broken or full or not self._running:
            os.close(content)
            self.counters.failed += 1
            if rules is None:
                why = "there are no rules for files"
            elif self.broken or not self._running:
                why = "no process that judges files can be started"
            else:
                self.counters.refused += 1
                why = "too many files wait to be judged"
            return self._loop.call_soon(done, None, why).cancel
        job = _Job(clipped(about), content, size, rules, done, owner)
        self._queue.append(job)
        if rules.key not in self._blobs:
            self._task(self._prepare(rules))
        self._loop.call_soon(self._dispatch)
        return job.cancel

    def _task(self, work: Coroutine[object, object, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, rules: FileRules) -> None:
        key = rules.key
        if key in self._blobs:
            return
        self._blobs[key] = None
        try:
            self._blobs[key] = await asyncio.to_thread(sealed, rules)
        except OSError as error:
            del self._blobs[key]
            why = f"the rules for files cannot be handed on: {(error.strerror or str(error)).lower()}"
            self._log(why)
            self._refuse(key, why)
        self._dispatch()

    def _forget_rules(self) -> None:
        """Rules that nobody will be judged with any more."""
        wanted = {job.rules.key for job in self._queue}
        if self._rules is not None:
            wanted.add(self._rules.key)
        for key in [key for key, descriptor in self._blobs.items() if key not in wanted and descriptor is not None]:
            descriptor = self._blobs.pop(key)
            assert descriptor is not None
            os.close(descriptor)

    def _dispatch(self) -> None:
        """Give idle workers what they can do."""
        if not self._running:
            return
        while self._queue and self._queue[0].over:
            self._queue.popleft()
        for worker in self._workers:
            if not worker.idle:
                continue
            job = self._next()
            if job is not None:
                if job.rules.key == worker.key:
                    self._queue.remove(job)
                    self._serve(job.owner)
                    worker.job = job
                    self._send(worker, Ask(job.about), job.content, self.limits().archive_seconds + GRACE)
                elif not self._load(worker, job.rules.key):
                    continue
            elif self._rules is not None and worker.key != self._rules.key:
                self._load(worker, self._rules.key)

    def _next(self) -> _Job | None:
        """The next file: of the owner who was served longest ago; where there are several workers, one is left to small
        files."""
        large = sum(1 for worker in self._workers if worker.job is not None and worker.job.size > SMALL)
        small_only = len(self._workers) > 1 and large >= len(self._workers) - 1
        best: _Job | None = None
        for job in self._queue:
            if job.over or (small_only and job.size > SMALL) or self._blobs.get(job.rules.key) is None:
                continue
            if best is None or self._served.get(job.owner, 0) < self._served.get(best.owner, 0):
                best = job
        return best

    def _serve(self, owner: str) -> None:
        """The owner's file is taken: the others are before him now."""
        self._turns += 1
        self._served[owner] = self._turns
        self._served.move_to_end(owner)
        if len(self._served) > OWNERS:
            self._served.popitem(last=False)

    def _load(self, worker: _Worker, key: str) -> bool:
        descriptor = self._blobs.get(key)
        if descriptor is None:
            return False
        limits = self.limits()
        worker.loading = key
        load = Load(limits.file_worker_memory, int(limits.archive_seconds + GRACE))
        self._send(worker, load, descriptor, START_SECONDS)
        return True

    def _send(self, worker: _Worker, message: ToChild, descriptor: int, seconds: float) -> None:
        data = packed(message)
        worker.timer = self._loop.call_later(seconds, self._overrun, worker)
        try:
            # One short message at a time: the socket always has room for it
            if len(data) > ASK_BYTES or socket.send_fds(worker.sock, [data], [descriptor]) != len(data):
                raise OSError("a message does not fit")
        except OSError:
            self._loop.call_soon(self._died, worker)

    # -- answers

    def _spawn(self) -> None:
        try:
            process, sock = spawned(self.jail)
        except OSError as error:
            self._start_failed((error.strerror or str(error)).lower())
            return
        sock.setblocking(False)
        worker = _Worker(process, sock)
        worker.timer = self._loop.call_later(START_SECONDS, self._overrun, worker)
        self._workers.append(worker)
        self._loop.add_reader(sock.fileno(), self._readable, worker)

    def _readable(self, worker: _Worker) -> None:
        try:
            data = worker.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._died(worker)
            return
        worker.buffer += data
        while worker in self._workers and len(worker.buffer) >= SIZE.size:
            (size,) = SIZE.unpack_from(worker.buffer)
            if size > ANSWER_BYTES:
                self._died(worker)
                return
            if len(worker.buffer) < SIZE.size + size:
                return
            body, worker.buffer = worker.buffer[SIZE.size:SIZE.size + size], worker.buffer[SIZE.size + size:]
            try:
                message = answer_of(body)
            except ValueError:
                self._died(worker)
                return
            self._heard(worker, message)

    def _heard(self, worker: _Worker, message: FromChild) -> None:
        if worker.timer is not None:
            worker.timer.cancel()
            worker.timer = None
        if isinstance(message, Ready) and not worker.ready:
            worker.ready = True
            for what in message.lacking:
                self._say(what, f"this system does not give the processes that judge files {what}")
        elif isinstance(message, Loaded) and worker.loading:
            worker.key, worker.loading = worker.loading, ""
            if message.failure is None:
                self._failed_starts = 0  # not before: rules can be what ends a worker
            else:
                self._log(message.failure)
                self._refuse(worker.key, message.failure)
        elif isinstance(message, Answer) and worker.job is not None:
            lie = "more than was asked for" if worker.buffer else unbelievable(message, worker.job.size, self.limits())
            if lie is not None:
                self._log(f"a process that judges files answers what none would: {lie}")
                self._died(worker)
                return
            job, worker.job = worker.job, None
            worker.files += 1
            self._count(message.report)
            job.end(message.report, message.failure or (None if message.report else "the file was not judged"))
            if worker.files >= self.limits().file_worker_files:
                self.counters.restarts += 1
                self._end(worker)
                self._spawn()
        elif isinstance(message, Crashed):
            self._log(f"a process that judges files ends because of an internal error: {message.where[:400]}")
            self._died(worker)
            return
        else:
            self._died(worker)
            return
        self._dispatch()

    def _count(self, report: FileReport | None) -> None:
        counters = self.counters
        if report is None:
            counters.failed += 1
        elif report.findings:
            counters.found += 1
        else:
            counters.clean += 1

    def _refuse(self, key: str, why: str) -> None:
        """Rules that cannot be loaded: nothing can be judged with them."""
        for job in [job for job in self._queue if job.rules.key == key]:
            self._queue.remove(job)
            self._count(None)
            job.end(None, why)

    def _overrun(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self.counters.overruns += 1
        job, worker.job = worker.job, None
        if job is not None:
            self._count(None)
            job.end(None, "judging the file took too long")
        self._replace(worker, started=worker.ready)

    def _died(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return
        self.counters.deaths += 1
        job, worker.job = worker.job, None
        if job is not None and not job.over:
            job.deaths += 1
            if job.deaths > 1:
                self._count(None)
                job.end(None, "the process that judged the file has died twice")
            else:
                self._queue.appendleft(job)
        self._replace(worker, started=worker.ready and not worker.loading)

    def _replace(self, worker: _Worker, *, started: bool) -> None:
        self._end(worker)
        if not self._running:
            return
        self.counters.restarts += 1
        if started:
            self._spawn()
        else:
            self._start_failed("it ends before it is ready")

    def _start_failed(self, why: str) -> None:
        self._failed_starts += 1
        self._say("start", f"a process that judges files cannot be started: {why}")
        if self.broken:
            for job in self._queue:
                if not job.over:
                    self._count(None)
                job.end(None, "no process that judges files can be started")
            self._queue.clear()
        self._loop.call_later(min(30.0, 0.1 * 2 ** self._failed_starts), self._spawn_again)

    def _spawn_again(self) -> None:
        if self._running and len(self._workers) < self.limits().file_workers:
            self._spawn()

    def _end(self, worker: _Worker) -> None:
        if worker.timer is not None:
            worker.timer.cancel()
        self._workers.remove(worker)
        self._loop.remove_reader(worker.sock.fileno())
        worker.sock.close()
        with contextlib.suppress(OSError):
            worker.process.kill()
        self._ended.append(worker.process)
        self._reap()

    def _reap(self) -> bool:
        """Collect what has ended; whether something is still to be collected."""
        self._ended = [process for process in self._ended if process.poll() is None]
        if self._ended and self._running:
            self._loop.call_later(0.2, self._reap)
        return bool(self._ended)

    def _say(self, kind: str, sentence: str) -> None:
        if kind not in self._said:
            self._said.add(kind)
            self._log(sentence)


class Judging:
    """The Judges of the gateway: a worker's report, and what clamd says."""

    def __init__(self, workers: Workers) -> None:
        self.workers = workers
        self.second: Second | None = None
        """clamd, where it is configured; a reload may change it."""
        self._tasks: set[asyncio.Task[None]] = set()

    def judge(self, effect: Judge, content: int, done: Done) -> Callable[[], None]:
        """Judge a file; see inspector.drivers.mitm_server.Judges."""
        rules = rules_of(effect.rules)
        if self.second is None:
            return self.workers.judge(effect.about, content, rules, done, effect.client)
        both = _Both(done)
        copy = os.dup(content)
        both.take_back = self.workers.judge(effect.about, content, rules, both.judged, effect.client)
        task = asyncio.get_running_loop().create_task(self._ask(self.second, copy, both))
        self._tasks.add(task)

        def over(task: asyncio.Task[None]) -> None:
            # Not in the task: one that is cancelled before it has begun never gets to a `finally`
            os.close(copy)
            self._tasks.discard(task)

        task.add_done_callback(over)
        both.task = task
        return both.cancel

    @staticmethod
    async def _ask(second: Second, content: int, both: _Both) -> None:
        try:
            finding = await second.ask(content, os.fstat(content).st_size)
        except (OSError, ValueError) as error:
            both.asked((), str(error) or type(error).__name__)
        else:
            both.asked(() if finding is None else (finding,), None)


class _Both:
    """Two opinions that are waited for."""

    __slots__ = ("_done", "_failure", "_findings", "_report", "_waiting", "take_back", "task")

    def __init__(self, done: Done) -> None:
        self._done = done
        self._waiting = 2
        self._report: FileReport | None = None
        self._findings: tuple[Finding, ...] = ()
        self._failure: str | None = None
        self.take_back: Callable[[], None] | None = None
        self.task: asyncio.Task[None] | None = None

    def judged(self, report: FileReport | None, failure: str | None) -> None:
        self._report = report
        self._failure = failure or self._failure
        self._one()

    def asked(self, findings: tuple[Finding, ...], failure: str | None) -> None:
        self._findings = findings
        self._failure = self._failure or failure
        self._one()

    def _one(self) -> None:
        self._waiting -= 1
        if self._waiting:
            return
        report = self._report
        if self._findings:
            report = report or FileReport(size=0, sha256="", sha1="", md5="")
            report = msgspec.structs.replace(report, findings=(*self._findings, *report.findings))
        # What one of them has found counts although the other has failed: but only whole opinions are clean.
        self._done(report, self._failure)

    def cancel(self) -> None:
        if self.take_back is not None:
            self.take_back()
        if self.task is not None:
            self.task.cancel()


class OneJudge:
    """Judges files one after the other and waits for each: for captures. The process starts with the first file."""

    def __init__(self, rules: FileRules | None, limits: Limits, jail: Path) -> None:
        """`jail`: an empty folder, which becomes the root of the process."""
        self._rules = rules
        self._jail = jail
        self._limits = limits
        self._child: tuple[subprocess.Popen[bytes], socket.socket] | None = None
        self._blob = -1

    def judge(self, about: File, content: int) -> FileReport | str:
        """The report on the content of a descriptor, or the sentence of a failure."""
        if self._rules is None:
            return "there are no rules for files"
        for _ in range(2):
            try:
                if self._child is None:
                    self._start(self._rules)
                answer = self._ask(Ask(clipped(about)), content, self._limits.archive_seconds + GRACE)
            except TimeoutError:
                self.close()
                return "judging the file took too long"
            except (OSError, EOFError, ValueError):
                self.close()
                continue
            if isinstance(answer, Answer) and unbelievable(answer, os.fstat(content).st_size, self._limits) is None:
                return answer.report or answer.failure or "the file was not judged"
            self.close()
        return "the process that judged the file has died twice"

    def close(self) -> None:
        """End the process."""
        child, self._child = self._child, None
        if child is not None:
            child[1].close()
            child[0].kill()
            child[0].wait()
        if self._blob >= 0:
            os.close(self._blob)
            self._blob = -1

    def _start(self, rules: FileRules) -> None:
        self._child = spawned(self._jail)
        if self._blob < 0:
            self._blob = sealed(rules)
        limits = self._limits
        if not isinstance(self._receive(START_SECONDS), Ready):
            raise ValueError("not ready")
        loaded = self._ask(
            Load(limits.file_worker_memory, int(limits.archive_seconds + GRACE)), self._blob, START_SECONDS)
        if not isinstance(loaded, Loaded) or loaded.failure is not None:
            raise ValueError("no rules")

    def _ask(self, message: ToChild, descriptor: int, seconds: float) -> FromChild:
        assert self._child is not None
        data = packed(message)
        if len(data) > ASK_BYTES or socket.send_fds(self._child[1], [data], [descriptor]) != len(data):
            raise OSError("a message does not fit")
        return self._receive(seconds)

    def _receive(self, seconds: float) -> FromChild:
        """Raises TimeoutError, EOFError, ValueError."""
        assert self._child is not None
        until = time.monotonic() + seconds
        (size,) = SIZE.unpack(self._read(SIZE.size, until))
        if size > ANSWER_BYTES:
            raise ValueError("too long")
        return answer_of(self._read(size, until))

    def _read(self, size: int, until: float) -> bytes:
        assert self._child is not None
        sock = self._child[1]
        data = b""
        while len(data) < size:
            if not select.select([sock], [], [], max(0.0, until - time.monotonic()))[0]:
                raise TimeoutError
            part = sock.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def rules_of(rules: Rules) -> FileRules | None:
    """What files are judged with."""
    return rules.scanner.files


def unbelievable(answer: Answer, size: int, limits: Limits) -> str | None:
    """What of an answer no worker of ours would say of a file of `size` bytes; None: nothing. A worker that a file has
    taken over may lie about it, but not fill the log, nor name places in messages, nor speak of another file."""
    report = answer.report
    if len(answer.failure or "") > _SENTENCE or (report is None and answer.failure is None):
        return "no report and no sentence"
    if report is None:
        return None
    if answer.failure is not None or report.size != size or not 0 <= report.members <= limits.archive_members + 1:
        return "figures of another file"
    if any(len(digest) != length or digest.strip("0123456789abcdef") for digest, length in (
        (report.sha256, 64), (report.sha1, 40), (report.md5, 32)
    )) or not set(report.kinds) <= _KINDS or len(report.kinds) > len(_KINDS) or len(report.media_type or "") > _WORD:
        return "no digests or kinds"
    if len(report.findings) > limits.findings:
        return "more findings than there may be"
    for one in report.findings:
        words = (one.detector, one.rule, one.pack or "", *one.tags)
        if one.spans or len(one.detail) > _SENTENCE or len(one.tags) > _TAGS or any(len(w) > _WORD for w in words):
            return "a finding that is none of a file"
    return None


def clipped(about: File) -> File:
    """What of an offer the judging needs, in bounds."""
    name = about.file_name
    if len(name) > 2 * NAME:
        name = name[:NAME] + name[-NAME:]
    kind = about.declared_type
    return File(
        file_name=name, size=about.size, method=about.method[:NAME], declared_type=kind[:NAME] if kind else None,
        complete=about.complete)


def sealed(rules: FileRules) -> int:
    """A descriptor of rules that nobody can change any more."""
    descriptor = os.memfd_create("rules", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    left = memoryview(rules.blob)
    while left:
        left = left[os.write(descriptor, left):]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


def spawned(jail: Path) -> tuple[subprocess.Popen[bytes], socket.socket]:
    """A new process and our end of its socket. Raises OSError."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    path = os.pathsep.join(os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", *PROGRAM, str(jail)], stdin=its.fileno(), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=True, cwd="/", start_new_session=True,
            env={"PYTHONPATH": path, "HOME": "/nonexistent", "PATH": "/usr/bin:/bin"},
        )
    except OSError:
        ours.close()
        raise
    finally:
        its.close()
    return process, ours
