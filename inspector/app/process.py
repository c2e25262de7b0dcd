"""What every process of the gateway does for itself: hardening, its loop, its private folders, becoming another user.

Shared by the gateway in one process (supervisor.py), the supervisor of several workers (workers.py) and a worker
(worker.py). mitmproxy is not imported here: the supervisor of workers does without.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import pwd
import resource
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from inspector.app import build, config, logs
from inspector.app.errors import UserError
from inspector.model import Limits
from inspector.store.retention import Retention
from inspector.store.sqlite import StoreError, Writer, location

MODES = {
    "socks5": "point the client's SOCKS5 proxy at {address}",
    "connect": "point the client's HTTPS (CONNECT) proxy at {address}",
    "transparent": "redirect the clients' traffic to {address} at the firewall",
    "reverse": "let clients connect to {address} instead of {upstream}",
}
"""How a client gets to a listener."""


def stray(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error that nobody awaited: its type and place, never its text, which may hold what a peer said."""
    from inspector.drivers.mitm_layer import where

    error = context.get("exception")
    logs.tell("error", f"internal error: {where(error) if isinstance(error, BaseException) else 'in the event loop'}")


_ARENAS, _TRIM, _MMAP = -8, -1, -3
"""mallopt(3): M_ARENA_MAX, M_TRIM_THRESHOLD, M_MMAP_THRESHOLD."""


def one_heap() -> None:
    """Have glibc keep one heap and give back what is large; before there are threads.

    With a heap for each thread, each reload, which comes on another thread of the pool, leaves another one full of
    holes: some MiB in twenty minutes. There is nothing to win by several: one thread runs Python at a time.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_ARENAS, 1)
        # Told once, it does not grow to 32 MiB with what was freed last: rules and indexes stay out of the heap.
        mallopt(_MMAP, 1 << 20)
        mallopt(_TRIM, 4 << 20)


TIDY_SECONDS = 60.0
"""Between two times that memory is given back: 5 ms of the heap's lock where there are thousands of holes."""


async def tidy() -> None:
    """Give back to the system, each minute, what malloc keeps and nobody uses; for ever. Else the most that was ever
    needed at once stays."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    while trim is not None:
        await asyncio.sleep(TIDY_SECONDS)
        await asyncio.to_thread(trim, 0)


def harden() -> None:
    """No core dumps (they would hold people's words and keys); as many files as may be; memory that stays whole."""
    one_heap()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    os.umask(0o077)
    # What messages and sessions make dies by itself.
    gc.set_threshold(10_000, 20, 50)
    # A thread that works (the writer, a reload) keeps the loop waiting for so long each time: 0.8 ms instead of 5.4.
    sys.setswitchinterval(0.0005)


class Collector:
    """Has the garbage collector walk everything if ended sessions pile up: a net that should stay empty.

    An ended session dies by itself (decision 74). One that does not would keep what its TLS holds outside of Python, 40
    to 70 KiB that the collector does not count: its own thresholds, which are made for messages, would let a hundred
    thousand of them pile up. So what is dead is at most as much as what lives (or LEAST), and the walk, which grows
    with the living, costs a session that did not die no more than walking a living one.
    """

    LEAST = 200
    """What is worth a walk: some milliseconds where few live."""

    def __init__(self, left: Callable[[], int], living: Callable[[], int]) -> None:
        """`left`: what is over and not freed."""
        self._left, self._living = left, living
        self._held = 0
        """Of these, what the last walk has not freed, either: somebody holds it."""

    def look(self) -> bool:
        """Collect, if it is time; whether it was."""
        left = self._left()
        self._held = min(self._held, left)
        if left - self._held < max(self.LEAST, self._living()):
            return False
        gc.collect()
        self._held = self._left()
        return True

    async def run(self) -> None:
        """Look each second, for ever."""
        while True:
            await asyncio.sleep(1.0)
            self.look()


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop where it is installed, unless INSPECTOR_LOOP=asyncio; the gateway runs without it."""
    wanted = os.environ.get("INSPECTOR_LOOP", "auto")
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        if wanted == "uvloop":
            raise UserError("INSPECTOR_LOOP=uvloop, but uvloop is not installed") from None
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def event_store(
    loaded: config.Config, gateway: str, chain: str, key: Path | None, limits: Limits | None = None,
) -> Writer:
    """The running writer of a chain; a folder of ours around the store is made private. Raises UserError."""
    try:
        writer = Writer(
            location(loaded.store.events), gateway=gateway, limits=limits or loaded.limits, text=loaded.privacy.text,
            tell=lambda sentence: logs.tell("error", sentence), chain=chain, key=key,
        )
        if writer.keeper is not None:
            writer.keeper.retention = Retention(loaded.retention.days, loaded.retention.megabytes)
        if not writer.path.parent.exists() or within(writer.path.parent, loaded.state):
            private(writer.path.parent)
        writer.start()
    except StoreError as error:
        raise UserError(str(error)) from None
    return writer


def greet(path: str | None, loaded: config.Config, addresses: Iterable[tuple[str, str, int]]) -> None:
    """Say where the gateway listens and how a client gets to it. `addresses`: (mode, host, port) of what was bound."""
    upstreams = {str(listener.address): listener.upstream for listener in loaded.listeners}
    for mode, host, port in addresses:
        here = address(host, port)
        upstream = upstreams.get(here)
        how = MODES[mode].format(address=here, upstream=upstream or "the server")
        print(f"inspector: listening on {here} ({mode}): {how}", flush=True)
    more = "" if path is None else f" -c {path}"
    print(f"inspector: clients must trust the certificate of `inspector ca export{more}`; "
          f"events: `inspector events{more}`", flush=True)


def become_user(loaded: config.Config, store: Path) -> None:
    """Become `user`, once everything is bound; the state folders and the event store's files are given to him."""
    if os.geteuid() != 0:
        return
    if loaded.user is None:
        logs.tell("warning", "running as root; `user:` names who to become after binding")
        return
    try:
        entry = pwd.getpwnam(loaded.user)
    except KeyError:
        raise UserError(str(loaded.fault(f'this machine has no user "{loaded.user}"', "user"))) from None
    from inspector.drivers.mitm_tls import CERTIFICATE_FILE, KEY_FILE

    give(loaded.state, entry.pw_uid, entry.pw_gid)
    for folder, names in (
        (loaded.tls.authority, (KEY_FILE, CERTIFICATE_FILE)),
        (store.parent, tuple(store.name + end for end in ("", "-wal", "-shm", "-journal"))),
    ):
        if folder.is_dir() and not within(folder, loaded.state):
            give_files(folder, names, entry.pw_uid, entry.pw_gid)
    quarantine, key = loaded.store.quarantine, loaded.store.key
    if quarantine.is_dir() and not within(quarantine, loaded.state):
        give(quarantine, entry.pw_uid, entry.pw_gid)
    if key is not None and key.is_file():
        os.chown(key, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
    for folder in (loaded.state, store.parent, quarantine):
        if not may_write(folder, entry):
            raise UserError(
                f"{folder}: the user {loaded.user} cannot write there (may he enter all folders above?)")
    os.initgroups(loaded.user, entry.pw_gid)
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


async def drained(work: Coroutine[Any, Any, object], stops: Callable[[], int]) -> None:
    """Carry out a drain, until it ends or there are two `stops`: a second signal stops at once."""

    async def again() -> None:
        while stops() < 2:
            await asyncio.sleep(0.05)

    tasks = {asyncio.ensure_future(work), asyncio.ensure_future(again())}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def resident(pid: int) -> int:
    """Resident bytes of a process; 0: it is gone."""
    with contextlib.suppress(OSError, ValueError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def address(host: str, port: int) -> str:
    """host:port, an IPv6 host in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def why(error: OSError) -> str:
    """An error's own sentence."""
    return error.args[1] if len(error.args) > 1 else str(error)


def refused(error: Exception) -> UserError:
    """What kept the gateway from opening something, for its user."""
    return UserError(why(error) if isinstance(error, OSError) else str(error))


def private(folder: Path) -> None:
    """Make a folder that only its owner enters. Raises UserError."""
    try:
        build.private_folder(folder)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made or kept private: {(error.strerror or str(error)).lower()}") from None


def give(folder: Path, uid: int, gid: int) -> None:
    """The folder and what is in it, without following links."""
    for place, folders, files in os.walk(folder):
        os.chown(place, uid, gid, follow_symlinks=False)
        for name in (*folders, *files):
            os.chown(Path(place) / name, uid, gid, follow_symlinks=False)


def give_files(folder: Path, names: Sequence[str], uid: int, gid: int) -> None:
    """Our files in a folder elsewhere, and the folder if nothing else is in it: the rest is not ours to give."""
    there = os.listdir(folder)
    for name in there:
        if name in names:
            os.chown(folder / name, uid, gid, follow_symlinks=False)
    if set(there) <= set(names):
        os.chown(folder, uid, gid, follow_symlinks=False)


def within(folder: Path, state: Path) -> bool:
    """Whether a folder is the state folder or lies in it."""
    return folder == state or state in folder.parents


def may_write(folder: Path, entry: pwd.struct_passwd) -> bool:
    """Whether a user may make files in a folder; asked in his shoes, by root."""
    groups = os.getgroups()
    try:
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setegid(entry.pw_gid)
        os.seteuid(entry.pw_uid)
        return os.access(folder, os.W_OK | os.X_OK, effective_ids=True)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
