"""A few threads for the work of many clients, who take turns: nobody's work keeps the others' waiting.

Long scans and the resolver's questions block a thread. Each owner (a client's address) may have a part of the threads
at a time, and so many waiting; the owner who was served longest ago is next. Work that does not come to its end
(`stuck_seconds`) no longer counts among the threads, up to as many again: a rule, or a name server that never answers,
does not stop the rest. It is told, and when it ends after all its answer is heard like any other.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable


class Full(Exception):
    """There is no room for the work: one sentence."""


class _Work:
    """Something to be done in a thread."""

    __slots__ = ("done", "on_stuck", "over", "owner", "run", "since", "stuck", "thread")

    def __init__(
        self, owner: str, run: Callable[[], None], done: Callable[[BaseException | None], None],
        on_stuck: Callable[[int], None] | None,
    ) -> None:
        self.owner = owner
        self.run = run
        self.done = done
        self.on_stuck = on_stuck
        self.over = False
        """Answered, or taken back: nobody waits for it."""
        self.since = 0.0
        self.stuck = False
        self.thread = 0
        """The thread's identity, while it runs."""


class Turns:
    """Threads, and who waits for one. All methods are called on the loop."""

    def __init__(
        self, name: str, threads: int, share: int, most: Callable[[], int], per_owner: Callable[[], int],
        stuck_seconds: Callable[[], float],
    ) -> None:
        """`share`: threads that one owner may have at a time; `most`, `per_owner`: bounds of what waits, in all and of
        one owner."""
        self.threads = threads
        self.share = share
        self.waiting = 0
        """Work that no thread has taken yet."""
        self.stuck = 0
        """Threads whose work does not end, now."""
        self.refused = 0
        """Work for which there was no room."""
        self._most = most
        self._per_owner = per_owner
        self._stuck_seconds = stuck_seconds
        self._loop = asyncio.get_running_loop()
        self._pool = concurrent.futures.ThreadPoolExecutor(2 * threads, name)
        self._queues: OrderedDict[str, deque[_Work]] = OrderedDict()
        """Owner -> his work that waits; who is to be served next stands first."""
        self._running: dict[str, int] = {}
        """Owner -> threads that work for him (stuck ones included)."""
        self._works: set[_Work] = set()
        self._closed = False

    def submit(
        self, owner: str, run: Callable[[], None], done: Callable[[BaseException | None], None],
        on_stuck: Callable[[int], None] | None = None,
    ) -> Callable[[], None]:
        """Run `run` in a thread; then `done` is called on the loop, with its error if it raised one. What is returned
        takes the work back: `done` is not called then. `on_stuck` hears, once, in which thread (its identity) the work
        does not end. Raises Full."""
        queue = self._queues.get(owner)
        if self._closed or self.waiting >= self._most() or (queue is not None and len(queue) >= self._per_owner()):
            self.refused += 1
            raise Full("too much waits" if queue is None else "too much of this client waits")
        if queue is None:
            queue = self._queues[owner] = deque()
        work = _Work(owner, run, done, on_stuck)
        queue.append(work)
        self.waiting += 1
        self._next()

        def take_back() -> None:
            if not work.over:
                work.over = True
                mine = self._queues.get(owner)
                if mine is not None and work in mine:
                    self._drop(owner, mine, work)

        return take_back

    def check(self) -> None:
        """Look for work that does not end; to be called from time to time."""
        late = self._loop.time() - self._stuck_seconds()
        for work in self._works:
            if work.since < late and not work.stuck and self.stuck < self.threads:
                work.stuck = True
                self.stuck += 1
                if work.on_stuck is not None:
                    work.on_stuck(work.thread)
        self._next()

    def close(self) -> None:
        """Take nothing more; what waits is not done."""
        self._closed = True
        self._queues.clear()
        self.waiting = 0
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> None:
        """Give free threads their work."""
        while self.waiting and len(self._works) - self.stuck < self.threads:
            work = self._pick()
            if work is None:
                return
            self._works.add(work)
            self._running[work.owner] = self._running.get(work.owner, 0) + 1
            work.since = self._loop.time()
            self._pool.submit(self._run, work).add_done_callback(functools.partial(self._over, work))

    def _pick(self) -> _Work | None:
        """The oldest work of the first owner who has not got his share."""
        for owner, queue in self._queues.items():
            if self._running.get(owner, 0) < self.share:
                work = queue[0]
                self._queues.move_to_end(owner)
                self._drop(owner, queue, work)
                return work
        return None

    def _drop(self, owner: str, queue: deque[_Work], work: _Work) -> None:
        """The work waits no more."""
        queue.remove(work)
        self.waiting -= 1
        if not queue:
            del self._queues[owner]

    def _run(self, work: _Work) -> None:
        """In a thread."""
        work.thread = threading.get_ident()
        work.run()

    def _over(self, work: _Work, future: concurrent.futures.Future[None]) -> None:
        """In a thread, or where the pool was closed."""
        # A loop that has been closed cannot be told any more (RuntimeError): nobody waits there.
        if not future.cancelled() and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._ended, work, future.exception())

    def _ended(self, work: _Work, error: BaseException | None) -> None:
        self._works.discard(work)
        if work.stuck:
            self.stuck -= 1
        left = self._running[work.owner] - 1
        if left:
            self._running[work.owner] = left
        else:
            del self._running[work.owner]
        if not work.over:
            work.over = True
            work.done(error)
        if not self._closed:
            self._next()


class Rounds:
    """Turns of the loop itself: whoever has brought much waits until his client's turn comes, and of each client one
    goes on in each turn of the loop. However many sessions flood, the others wait for one of them."""

    def __init__(self, soon: Callable[[Callable[[], None]], object]) -> None:
        """`soon`: calls in the next turn of the loop."""
        self._soon = soon
        self._waiting: OrderedDict[str, deque[Callable[[], None]]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    def wait(self, client: str, call: Callable[[], None]) -> None:
        """Call in a turn of this client's."""
        if not self._waiting:
            self._soon(self._round)
        queue = self._waiting.get(client)
        if queue is None:
            queue = self._waiting[client] = deque()
        queue.append(call)

    def _round(self) -> None:
        calls = []
        for client, queue in list(self._waiting.items()):
            calls.append(queue.popleft())
            if not queue:
                del self._waiting[client]
        if self._waiting:
            self._soon(self._round)
        for call in calls:
            call()
