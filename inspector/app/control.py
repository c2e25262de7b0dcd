"""The control socket: how an operator's commands reach a running gateway.

A Unix stream socket, 0600 (0660 and the group of `control_group`, where set). A request is one JSON object on one line,
at most limits.control_bytes long; so is its answer, without that bound.

    {"command": "status"}                    -> {"ok": true, "result": {…}}
    {"command": "sessions"}                  -> {"ok": true, "result": [{"id": …, "client": …, …}, …]}
    {"command": "kill", "id": "…"}           -> {"ok": true, "result": {"id": "…"}}
    {"command": "reload"}                    -> {"ok": true, "result": {"version": …}}
    {"command": "workers"}                   -> {"ok": true, "result": [{"number": …, "pid": …, …}, …]}
    {"command": "restart"}                   -> {"ok": true, "result": {"workers": […], "leaving": […]}}
    {"command": "holds", "state": "held"}    -> {"ok": true, "result": [{"id": …, "reference": …, …}, …]}
    {"command": "hold.show", "id": "…"}      -> {"ok": true, "result": {"item": …, "held": …}}
    hold.release, hold.deny, hold.export, hold.piece, hold.erase, hold.rotate: inspector/app/hold_desk.py
    anything else, or what could not be done -> {"ok": false, "error": "one or more sentences"}

Who asks is known from the kernel (SO_PEERCRED) by his name on this machine; only root, the gateway's own user, the
members of the control group and who has a role are answered. A private folder (0700) around the socket becomes 0710 for
that group, so that its members can reach the socket and nothing else. What they change is an event, which is the
steward's duty.

Each command belongs to a role: view, review or operate. A role that is configured belongs to those who are named, and
to nobody else; one that is not, to root and the gateway's own user. Members of the control group may do without a role
what they could before there were roles (OF_THE_GROUP), as long as that role is not configured.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import inspect
import json
import os
import pwd
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Protocol

from inspector.app.errors import UserError
from inspector.model import Limits

IDLE_SECONDS = 30.0
"""A connection that asks nothing for so long is closed."""
CONNECTIONS = 32
"""Served at a time; one above is told so and closed."""
ANSWER_BYTES = 64 << 20
"""Longest answer a client reads."""
BACKLOG = 16
COMMANDS: Mapping[str, str] = {
    "status": "view", "sessions": "view", "kill": "operate", "reload": "operate", "workers": "view",
    "restart": "operate",
    "holds": "view", "hold.show": "review", "hold.release": "review", "hold.deny": "review", "hold.export": "review",
    "hold.piece": "review", "hold.erase": "operate", "hold.rotate": "operate",
}
"""Command -> the role it needs."""
OF_THE_GROUP = frozenset({"status", "sessions", "kill", "reload", "workers", "restart"})
"""What the control group may do without a role."""


class Steward(Protocol):
    """What the gateway does for an operator. `by` is his name. All raise UserError for what cannot be done. What has
    to be asked of other processes comes as an awaitable."""

    def status(self) -> Mapping[str, Any] | Awaitable[Mapping[str, Any]]: ...
    def sessions(self) -> list[Any] | Awaitable[list[Any]]: ...
    def kill(self, session: str, by: str) -> Awaitable[None] | None: ...
    def workers(self) -> list[dict[str, Any]]: ...
    async def restart(self, by: str) -> Mapping[str, Any]: ...
    async def reload(self, by: str) -> Mapping[str, Any]: ...
    async def hold(self, command: str, request: Mapping[str, Any], by: str) -> Any: ...


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end."""

    name: str
    trusted: bool
    """root, or the gateway's own user."""
    member: bool
    """Of the control group."""
    roles: frozenset[str]
    """Configured ones in which he is named."""


class Control:
    """Listens on the control socket and passes commands to the steward."""

    def __init__(
        self, path: Path, steward: Steward, *, group: str | None = None, limits: Callable[[], Limits] = Limits,
        roles: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        self.path = path
        self.steward = steward
        self.group = group
        self.roles: Mapping[str, Collection[str]] = roles or {}
        """Role -> names and @groups; may be replaced. A role that is not there is not configured."""
        self.limits = limits
        """Asked for each request: a reload may change it."""
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._inode: int | None = None

    async def start(self) -> None:
        """Bind the socket; a stale one is removed. Raises UserError: another gateway listens there, or it cannot be."""
        gid = None
        if self.group is not None:
            try:
                gid = grp.getgrnam(self.group).gr_gid
            except KeyError:
                raise UserError(f'control_group: this machine has no group "{self.group}"') from None
        if self._answered():
            raise UserError(f"control socket {self.path}: another gateway listens there")
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        mask = os.umask(0o177)
        try:
            os.umask(0o077)
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.umask(0o177)
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISSOCK(self.path.lstat().st_mode):
                    self.path.unlink()
            listening.bind(str(self.path))
            if gid is not None:
                os.chown(self.path, -1, gid)
                os.chmod(self.path, 0o660)
                _let_pass(self.path.parent, gid)
            self._inode = self.path.stat().st_ino
        except OSError as fault:
            listening.close()
            why = "its path is too long" if fault.errno is None else (fault.strerror or str(fault)).lower()
            raise UserError(f"control socket {self.path}: {why}") from None
        finally:
            os.umask(mask)
        self._server = await asyncio.start_unix_server(
            self._serve, sock=listening, limit=max(1024, int(self.limits().control_bytes)), backlog=BACKLOG)

    async def stop(self) -> None:
        """Close the socket and remove it, if it is still ours."""
        if self._server is not None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()
            self._server = None
        with contextlib.suppress(OSError):
            if self._inode is not None and self.path.stat().st_ino == self._inode:
                self.path.unlink()

    def _answered(self) -> bool:
        """Whether somebody listens on the socket that is there already."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.path))
            except OSError as fault:
                return fault.errno in (errno.EAGAIN, errno.ETIMEDOUT, errno.EACCES)
        return True

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            if len(self._tasks) > CONNECTIONS:
                await _answer(writer, _fault("too many connections to the control socket"))
                return
            by = self._who(writer)
            if not (by.trusted or by.member or by.roles):
                await _answer(writer, _fault("you may not control this gateway"))
                return
            while True:
                try:
                    async with asyncio.timeout(IDLE_SECONDS):
                        line = await reader.readline()
                except ValueError:
                    await _answer(writer, _fault(f"a request has at most {self.limits().control_bytes:g} bytes"))
                    return
                if not line.endswith(b"\n"):
                    return
                answer = await self._obey(line, by)  # as long as it takes: a reload compiles, a restart starts programs
                async with asyncio.timeout(IDLE_SECONDS):
                    await _answer(writer, answer)
        except (TimeoutError, OSError):
            return
        finally:
            self._tasks.discard(task)
            writer.close()

    def _who(self, writer: asyncio.StreamWriter) -> Peer:
        """Who is at the other end."""
        peer: socket.socket = writer.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, gid = struct.unpack("3i", raw)
        try:
            name = pwd.getpwuid(uid).pw_name
        except KeyError:
            name = f"uid {uid}"
        groups = {gid}
        with contextlib.suppress(KeyError, OSError):
            groups.update(os.getgrouplist(pwd.getpwuid(uid).pw_name, gid))
        return Peer(
            name, uid in (0, os.geteuid()), self.group is not None and _is_of(self.group, groups),
            frozenset(role for role, names in self.roles.items() if any(
                _is_of(one[1:], groups) if one.startswith("@") else one == name for one in names)))

    def _may(self, by: Peer, command: str) -> bool:
        """Whether somebody may give a command."""
        role = COMMANDS[command]
        if role in self.roles:
            return role in by.roles
        return by.trusted or (by.member and command in OF_THE_GROUP)

    async def _obey(self, line: bytes, by: Peer) -> dict[str, Any]:
        if len(line) > self.limits().control_bytes:
            return _fault(f"a request has at most {self.limits().control_bytes:g} bytes")
        try:
            request = json.loads(line)
        except (ValueError, RecursionError):
            return _fault("a request is one JSON object on one line")
        if not isinstance(request, dict):
            return _fault("a request is one JSON object on one line")
        try:
            return {"ok": True, "result": await self._do(request, by)}
        except UserError as fault:
            return _fault(fault.sentence)

    async def _do(self, request: dict[str, Any], peer: Peer) -> Any:
        steward, command, by = self.steward, request.get("command"), peer.name
        if not isinstance(command, str) or command not in COMMANDS:
            raise UserError(f"unknown command (one of {', '.join(COMMANDS)})")
        if not self._may(peer, command):
            raise UserError(f"{by} may not do this: it needs the role {COMMANDS[command]}")
        match command:
            case "status":
                return dict(await _given(steward.status()))
            case "sessions":
                return [asdict(row) if is_dataclass(row) and not isinstance(row, type) else row
                        for row in await _given(steward.sessions())]
            case "kill":
                if not isinstance(session := request.get("id"), str):
                    raise UserError("kill takes the id of a session")
                await _given(steward.kill(session, by))
                return {"id": session}
            case "reload":
                return dict(await steward.reload(by))
            case "workers":
                return steward.workers()
            case "restart":
                return dict(await steward.restart(by))
        return await steward.hold(command, request, by)


async def _given[T](found: T | Awaitable[T]) -> T:
    """What a steward says, at once or later."""
    return await found if inspect.isawaitable(found) else found


def _is_of(group: str, groups: Collection[int]) -> bool:
    """Whether a group of that name is among these."""
    try:
        return grp.getgrnam(group).gr_gid in groups
    except KeyError:
        return False


def _let_pass(folder: Path, gid: int) -> None:
    """A folder of ours that nobody else may enter lets the control group pass to the socket, and see nothing (0710)."""
    about = folder.stat()
    if about.st_uid == os.geteuid() and stat.S_IMODE(about.st_mode) == 0o700:
        os.chown(folder, -1, gid)
        os.chmod(folder, 0o710)  # noqa: S103 - so that its members pass, and no others


def _fault(sentence: str) -> dict[str, Any]:
    return {"ok": False, "error": sentence}


async def _answer(writer: asyncio.StreamWriter, answer: dict[str, Any]) -> None:
    writer.write(json.dumps(answer, ensure_ascii=True, default=str).encode() + b"\n")
    await writer.drain()


def ask(path: Path, command: str, seconds: float = 30.0, **more: Any) -> Any:
    """One command to the gateway that listens on `path`; its result. Raises UserError: no gateway, no permission, or
    what the gateway says is wrong."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(seconds)
            line.connect(str(path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # Who is not served has been told so, and the other end is closed before anything is sent.
                line.sendall(json.dumps({"command": command, **more}).encode() + b"\n")
            answer = _read(line)
    except FileNotFoundError:
        raise UserError(f"no gateway runs with this configuration ({path} is not there)") from None
    except ConnectionRefusedError:
        raise UserError(f"no gateway runs with this configuration (nobody answers on {path})") from None
    except PermissionError:
        raise UserError(f"you may not control this gateway ({path})") from None
    except TimeoutError:
        raise UserError(f"the gateway does not answer ({path}, {seconds:g} seconds)") from None
    except OSError as fault:
        raise UserError(f"control socket {path}: {(fault.strerror or str(fault)).lower()}") from None
    try:
        said = json.loads(answer)
        ok, result, error = said["ok"], said.get("result"), said.get("error")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"what answers on {path} is no gateway") from None
    if not ok:
        raise UserError(str(error))
    return result


def _read(line: socket.socket) -> bytes:
    got = bytearray()
    while not got.endswith(b"\n") and len(got) < ANSWER_BYTES:
        data = line.recv(65536)
        if not data:
            break
        got += data
    return bytes(got)
