"""The control socket: who may ask, what is answered, and how little a bad client can do."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from inspector.app import control
from inspector.app.control import Control, ask
from inspector.app.errors import UserError
from inspector.model import Limits


@dataclass
class Row:
    id: str
    user: str | None = None


class Desk:
    """A steward that notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.many = 1

    def status(self) -> dict[str, Any]:
        return {"healthy": True}

    def sessions(self) -> list[Any]:
        return [Row(f"s{n}", "alice") for n in range(self.many)]

    def kill(self, session: str, by: str) -> None:
        if session != "s0":
            raise UserError(f'no session "{session}"')
        self.asked.append(("kill", session, by))

    async def reload(self, by: str) -> dict[str, Any]:
        await asyncio.sleep(0)
        self.asked.append(("reload", by))
        raise UserError("policy.yaml:1:1: a fault\npolicy.yaml:2:1: another")

    def workers(self) -> list[dict[str, Any]]:
        return [{"number": 0, "pid": 7}]

    async def restart(self, by: str) -> dict[str, Any]:
        self.asked.append(("restart", by))
        return {"workers": [], "leaving": [0]}

    async def hold(self, command: str, request: Mapping[str, Any], by: str) -> Any:
        self.asked.append((command, str(request.get("id")), by))
        return {"done": command}


def run(path: Path, talk: Callable[[Desk], Coroutine[Any, Any, None]], **more: Any) -> Desk:
    """Serve on `path` while `talk` runs."""
    async def main() -> Desk:
        steward = Desk()
        server = Control(path, steward, **more)
        await server.start()
        try:
            async with asyncio.timeout(20):
                await talk(steward)
        finally:
            await server.stop()
        return steward
    return asyncio.run(main())


ME = pwd.getpwuid(os.geteuid()).pw_name


def test_commands_and_the_name_of_who_asks(tmp_path: Path) -> None:
    """status, sessions, kill and reload reach the steward with the peer's name from the kernel."""
    async def talk(steward: Desk) -> None:
        assert await asyncio.to_thread(ask, path, "status") == {"healthy": True}
        assert await asyncio.to_thread(ask, path, "sessions") == [{"id": "s0", "user": "alice"}]
        assert await asyncio.to_thread(ask, path, "kill", id="s0") == {"id": "s0"}
        with pytest.raises(UserError, match='no session "x"'):
            await asyncio.to_thread(ask, path, "kill", id="x")
        with pytest.raises(UserError, match=r"1:1: a fault\npolicy\.yaml:2:1: another"):
            await asyncio.to_thread(ask, path, "reload")
    path = tmp_path / "c.sock"
    assert run(path, talk).asked == [("kill", "s0", ME), ("reload", ME)]
    assert not path.exists()


def test_what_a_steward_has_to_ask_for_is_waited_for(tmp_path: Path) -> None:
    """A supervisor of workers answers later; the list of workers and their restart are commands, too."""
    class Later(Desk):
        async def status(self) -> dict[str, Any]:  # type: ignore[override]
            await asyncio.sleep(0)
            return {"healthy": False}

        async def sessions(self) -> list[Any]:  # type: ignore[override]
            await asyncio.sleep(0)
            return [{"id": "s9"}]

        async def kill(self, session: str, by: str) -> None:  # type: ignore[override]
            await asyncio.sleep(0)
            raise UserError(f"no session {session}")

    async def main() -> list[tuple[str, ...]]:
        steward = Later()
        server = Control(path, steward)
        await server.start()
        try:
            async with asyncio.timeout(20):
                assert await asyncio.to_thread(ask, path, "status") == {"healthy": False}
                assert await asyncio.to_thread(ask, path, "sessions") == [{"id": "s9"}]
                with pytest.raises(UserError, match="no session x"):
                    await asyncio.to_thread(ask, path, "kill", id="x")
                assert await asyncio.to_thread(ask, path, "workers") == [{"number": 0, "pid": 7}]
                assert (await asyncio.to_thread(ask, path, "restart"))["leaving"] == [0]
        finally:
            await server.stop()
        return steward.asked

    path = tmp_path / "c.sock"
    assert asyncio.run(main()) == [("restart", ME)]


def test_a_command_may_take_longer_than_a_silent_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A reload that compiles, a restart of workers: only who asks nothing is sent away, and nothing ends half done."""
    monkeypatch.setattr(control, "IDLE_SECONDS", 0.05)

    class Slow(Desk):
        async def restart(self, by: str) -> dict[str, Any]:
            await asyncio.sleep(0.3)
            return await super().restart(by)

    async def main() -> list[tuple[str, ...]]:
        steward = Slow()
        server = Control(path, steward)
        await server.start()
        try:
            assert (await asyncio.to_thread(ask, path, "restart"))["leaving"] == [0]
        finally:
            await server.stop()
        return steward.asked

    path = tmp_path / "c.sock"
    assert asyncio.run(main()) == [("restart", ME)]


def test_the_socket_is_private(tmp_path: Path) -> None:
    """0600 from the first moment; 0660 and the group's with control_group."""
    path = tmp_path / "var" / "c.sock"

    async def private(steward: Desk) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    async def shared(steward: Desk) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o710
    run(path, private)
    import grp
    run(path, shared, group=grp.getgrgid(os.getegid()).gr_name)


def test_an_unknown_group_is_one_sentence(tmp_path: Path) -> None:
    """control_group must exist on this machine."""
    async def talk(steward: Desk) -> None:
        raise AssertionError("it must not start")
    with pytest.raises(UserError, match='no group "no-such-group"'):
        run(tmp_path / "c.sock", talk, group="no-such-group")


def _lines(path: Path, *sent: bytes) -> list[Any]:
    """Send lines on one connection; the answers until it is closed or quiet."""
    with socket.socket(socket.AF_UNIX) as line, line.makefile("rb") as answers:
        line.settimeout(10)
        line.connect(str(path))
        got: list[Any] = []
        for data in sent:
            try:
                line.sendall(data)
            except (BrokenPipeError, ConnectionResetError):
                break
        line.shutdown(socket.SHUT_WR)
        try:
            got.extend(json.loads(answer) for answer in answers)
        except ConnectionResetError:
            pass
        return got


@pytest.mark.parametrize("request_line", [
    b"nonsense\n", b"[]\n", b"{}\n", b'{"command": 1}\n', b'{"command": "kill"}\n', b'{"command": "kill", "id": 3}\n',
    b"[" * 5000 + b"\n", b"\xff\xfe\n", b'{"command": "quarantine"}\n',
])
def test_a_bad_request_is_answered_and_the_next_one_served(tmp_path: Path, request_line: bytes) -> None:
    """Whatever a client writes in a line, it gets one answer, and the connection goes on."""
    async def talk(steward: Desk) -> None:
        first, second = await asyncio.to_thread(_lines, path, request_line, b'{"command": "status"}\n')
        assert first["ok"] is False and first["error"]
        assert second == {"ok": True, "result": {"healthy": True}}
    path = tmp_path / "c.sock"
    assert run(path, talk).asked == []


def test_a_request_is_bounded(tmp_path: Path) -> None:
    """A line longer than limits.control_bytes is refused and the connection closed, without holding more of it."""
    async def talk(steward: Desk) -> None:
        answers = await asyncio.to_thread(_lines, path, b"x" * 100_000 + b"\n")
        assert [answer["ok"] for answer in answers] in ([False], [])
        assert await asyncio.to_thread(ask, path, "status") == {"healthy": True}
    path = tmp_path / "c.sock"
    run(path, talk, limits=lambda: replace(Limits(), control_bytes=2048))


def test_a_long_answer_arrives_whole(tmp_path: Path) -> None:
    """The list of many sessions is not cut."""
    async def talk(steward: Desk) -> None:
        steward.many = 20_000
        assert len(await asyncio.to_thread(ask, path, "sessions")) == 20_000
    path = tmp_path / "c.sock"
    run(path, talk)


def test_idle_connections_end_and_many_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound a connection is told so; a silent one is closed, and then there is room again."""
    monkeypatch.setattr(control, "CONNECTIONS", 2)
    monkeypatch.setattr(control, "IDLE_SECONDS", 0.3)

    async def talk(steward: Desk) -> None:
        silent = [await asyncio.open_unix_connection(str(path)) for _ in range(2)]
        with pytest.raises(UserError, match="too many connections"):
            await asyncio.to_thread(ask, path, "status")
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
        assert await asyncio.to_thread(ask, path, "status") == {"healthy": True}
    path = tmp_path / "c.sock"
    run(path, talk)


def test_a_second_gateway_is_told_so_and_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """A socket that is answered belongs to somebody; one that is not is left over from a crash."""
    path = tmp_path / "c.sock"

    async def talk(steward: Desk) -> None:
        with pytest.raises(UserError, match="another gateway listens there"):
            await Control(path, steward).start()
        assert await asyncio.to_thread(ask, path, "status") == {"healthy": True}
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    run(path, talk)


def test_what_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    """A file in its place is left alone: one sentence."""
    async def talk(steward: Desk) -> None:
        raise AssertionError("it must not start")
    path = tmp_path / "c.sock"
    path.write_text("precious")
    with pytest.raises(UserError, match=r"control socket .*c\.sock: address already in use"):
        run(path, talk)
    assert path.read_text() == "precious"
    with pytest.raises(UserError, match="too long"):
        run(tmp_path / ("x" * 120), talk)


OTHER = """
import os, sys
from pathlib import Path
from inspector.app.control import ask
from inspector.app.errors import UserError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    print(ask(Path(sys.argv[1]), "status"))
except UserError as fault:
    print(fault)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_other_users_are_refused(tmp_path: Path) -> None:
    """Even where the file's mode lets him in, who is neither root, nor us, nor in the group is not served."""
    async def talk(steward: Desk) -> None:
        ask_as_other = [sys.executable, "-c", OTHER, str(path)]
        done = await asyncio.to_thread(
            subprocess.run, ask_as_other, capture_output=True, text=True, check=False, cwd=HOUSE)
        assert "you may not control this gateway" in done.stdout, done.stderr
        path.chmod(0o666)
        done = await asyncio.to_thread(
            subprocess.run, ask_as_other, capture_output=True, text=True, check=False, cwd=HOUSE)
        assert done.stdout == "you may not control this gateway\n", done.stderr
    path = tmp_path / "c.sock"
    for folder in (tmp_path, *tmp_path.parents):
        if folder == tmp_path or folder.name.startswith(("pytest-", "popen-")):
            folder.chmod(0o755)
    run(path, talk)


HOUSE = Path(__file__).resolve().parents[2]


def test_asking_nobody(tmp_path: Path) -> None:
    """No gateway, a left-over socket, or something else that answers: one sentence each."""
    path = tmp_path / "c.sock"
    with pytest.raises(UserError, match=r"no gateway runs .*is not there"):
        ask(path, "status")
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
        with pytest.raises(UserError, match="nobody answers"):
            ask(path, "status")


def test_something_else_answers(tmp_path: Path) -> None:
    """An answer that is not ours, or none in time, is one sentence."""
    path = tmp_path / "c.sock"

    async def main() -> None:
        async def stranger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            writer.write(b"220 hello\r\n")
            writer.close()
        server = await asyncio.start_unix_server(stranger, str(path))
        with pytest.raises(UserError, match="is no gateway"):
            await asyncio.to_thread(ask, path, "status")
        server.close()
        await server.wait_closed()

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(silent, str(path))
        with pytest.raises(UserError, match="does not answer"):
            await asyncio.to_thread(ask, path, "status", seconds=0.2)
        server.close()
        await server.wait_closed()
    asyncio.run(main())
