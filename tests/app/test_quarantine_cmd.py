"""`inspector quarantine`: what it prints, what it writes, and the exit status scripts rely on."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector.app import quarantine_cmd
from inspector.app.cli import STATES, main
from inspector.app.control import Control
from inspector.app.hold_desk import Rules
from inspector.model import DOWN, STEPS
from tests.app.test_hold_desk import Desk, _file
from tests.store.test_holds import held

EVIL = "hi \x1b[2J\u202e\nfake line"


class Steward:
    """A gateway of which only the hold desk is there."""

    def __init__(self, desk: Desk) -> None:
        self.hold = desk.ask

    def status(self) -> dict[str, Any]:
        return {}

    def sessions(self) -> list[Any]:
        return []

    def kill(self, session: str, by: str) -> None: ...

    async def reload(self, by: str) -> dict[str, Any]:
        return {}

    def workers(self) -> list[dict[str, Any]]:
        return []

    async def restart(self, by: str) -> dict[str, Any]:
        return {}


Said = tuple[int, str, str]


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "inspector.yaml"
    path.write_text("control: c.sock\n")
    yield path


def play(config: Path, capsys: pytest.CaptureFixture[str], scene: Callable[[Desk, Callable[..., Any]], Any],
         **more: Any) -> None:
    """Run a scene with a desk behind a control socket; its second argument runs a command."""
    async def work() -> None:
        desk = Desk(config.parent / "q", more.pop("rules", Rules()), **more)
        desk.open()
        await desk.start()
        server = Control(config.parent / "c.sock", Steward(desk))
        await server.start()

        async def command(*words: str) -> Said:
            code = await asyncio.to_thread(main, ["quarantine", *words, "-c", str(config)])
            return (code, *capsys.readouterr())
        try:
            async with asyncio.timeout(60):
                await scene(desk, command)
        finally:
            await server.stop()
            await desk.stop()
    asyncio.run(work())


def test_the_states_are_those_of_the_model() -> None:
    """The command line names them without importing it."""
    assert STATES == STEPS


def test_list(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object an item, as the interface has it; a table that no peer can write to; by state."""
    async def scene(desk: Desk, command: Any) -> None:
        assert await command("list", "--format", "jsonl") == (0, "", "")
        desk.now = time.time()
        await desk.keep(held(t=1764000000.0), -1)
        await desk.keep(held("h2", sender=EVIL, recipients=("a", "b", "c"), rule=None), -1)
        code, out, _ = await command("list", "--format", "jsonl")
        first, second = map(json.loads, out.splitlines())
        assert code == 0 and list(first) == [
            "id", "reference", "t", "state", "protocol", "kind", "sender", "recipients", "rule", "size", "expires",
            "about", "sendable"]
        assert (first["id"], first["t"], first["state"]) == ("h1", "2025-11-24T16:00:00.000000Z", "held")
        assert first["expires"].endswith("Z") and second["sender"] == EVIL
        code, out, _ = await command("list")
        assert code == 0 and "\x1b" not in out and "\u202e" not in out and len(out.splitlines()) == 4
        assert "a, b and 1 more" in out and out.endswith("2 items\n")
        await desk.do("deny", "h2")
        code, out, _ = await command("list", "--state", "denied", "--format", "jsonl")
        assert [json.loads(line)["id"] for line in out.splitlines()] == ["h2"]
        code, out, err = await command("list", "--state", "gone")
        assert code == 2 and out == "" and "invalid choice" in err
    play(config, capsys, scene)


def test_show(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a reviewer needs; nothing of a peer's acts on his terminal."""
    async def scene(desk: Desk, command: Any) -> None:
        await desk.keep(held(texts=(("body", EVIL), ("subj\nect", "s")), findings=("dlp.card_number",), message="m1",
                             conversation="room", reason="because"), -1)
        code, out, _ = await command("show", "k7qm-2f9x")
        assert code == 0 and "\x1b" not in out and "\u202e" not in out and "\nfake" not in out
        for words in ("hi \\x1b[2J\\u202e\\nfake line", "subj\\nect", "dlp.card_number", "m1", "room", "because",
                      "outbound", "alice@example.net to bob@example.net", "(authenticated), from 10.0.0.5"):
            assert words in out, words
        code, out, _ = await command("show", "h1", "--format", "jsonl")
        said = json.loads(out)
        assert said["texts"][0] == ["body", EVIL] and said["user"] == "alice@example.net" and "raw" not in said
        await desk.keep(held("h2", about="file", raw=b"", file_name="a.docx", file_type="document", digest="00ff"), -1)
        code, out, _ = await command("show", "h2")
        assert "a.docx, 12 bytes, document" in out and "00ff" in out and "must send it again" in out
        assert desk.steps("h2") == ["held", "shown"]
        code, out, err = await command("show", "h9\x1b[2J")
        assert (code, out, err) == (1, "", "inspector: nothing is held as h9\\x1b[2J\n")
    play(config, capsys, scene)


def test_release(config: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent or queued, and which; 1 when it was released already."""
    from inspector.app import hold_desk

    async def scene(desk: Desk, command: Any) -> None:
        for number in range(1, 8):
            await desk.keep(held(f"h{number}", reference=f"AAAA-BBB{number}"), -1)
        assert await command("release", "aaaabbb1", "--note", "ok") == (
            0, "h1 is released and queued: it goes out when alice@example.net signs on\n", "")
        assert await command("release", "h1") == (1, "", "inspector: h1 was released already (released)\n")
        assert desk.rows[-1]["note"] == "ok"
        desk.room.sign_on("f1")

        async def send() -> None:
            while not desk.room.given():
                await asyncio.sleep(0.001)
            await desk.deliver("h2", "f1")
            desk.came("h2", "f1", True)
        sending = asyncio.create_task(send())
        assert await command("release", "h2") == (0, "h2 is released and sent\n", "")
        await sending
        monkeypatch.setattr(hold_desk, "ANSWER_SECONDS", 0.01)
        assert await command("release", "h3") == (
            0, "h3 is released and queued: it waits for room in his session\n", "")
        code, _, err = await command("release", "h2")
        assert code == 1 and err == "inspector: h2 was released already (delivered)\n"
        assert await command("deny", "h4") == (0, "h4 is denied\n", "")
        code, _, err = await command("release", "h4")
        assert code == 1 and err == "inspector: h4 was denied already\n"
        await desk.keep(held("h8", about="file", raw=b""), -1)
        await desk.keep(held("h9", about="file", raw=b"", way=DOWN, user="carol"), -1)
        assert await command("release", "h8") == (
            0, "h8 is released: alice@example.net must send it again (has been told)\n", "")
        assert await command("release", "h9") == (
            0, "h9 is released: its sender must send it again (carol will be told when he signs on)\n", "")
    play(config, capsys, scene)


def test_a_release_of_which_nobody_knows(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The session ended right behind what was sent in it: that is said, and is no success."""
    async def scene(desk: Desk, command: Any) -> None:
        await desk.keep(held(), -1)
        desk.room.sign_on("f1")

        async def send() -> None:
            while not desk.room.given():
                await asyncio.sleep(0.001)
            await desk.deliver("h1", "f1")
            desk.came("h1", "f1", True)
            desk.ended("f1")
        sending = asyncio.create_task(send())
        assert await command("release", "h1") == (
            1, "", "inspector: h1 was sent, and its session ended in that moment: nobody knows whether it was read\n")
        await sending
        code, out, _ = await command("list", "--state", "uncertain", "--format", "jsonl")
        assert code == 0 and json.loads(out)["id"] == "h1"
    play(config, capsys, scene, settle_seconds=30)


def test_export(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new file, only for its owner; never another one's place, and nothing half."""
    async def scene(desk: Desk, command: Any) -> None:
        data = os.urandom(600_000)
        await desk.keep(held("h1"), -1)
        await desk.keep(held("h2", about="file", raw=b""), _file(config.parent, data))
        target = config.parent / "out.bin"
        code, out, _ = await command("export", "h2", str(target))
        assert code == 0 and out.startswith(f"h2 is exported to {target}: 600000 bytes")
        assert target.read_bytes() == data and stat.S_IMODE(target.stat().st_mode) == 0o600
        code, out, err = await command("export", "h1", str(target))
        assert (code, out) == (1, "") and "is there already" in err and target.read_bytes() == data
        assert desk.steps("h1") == ["held"]
        target.unlink()
        target.symlink_to(config.parent / "elsewhere")
        code, _, err = await command("export", "h1", str(target))
        assert code == 1 and not (config.parent / "elsewhere").exists()
        target.unlink()
        code, _, _ = await command("export", "h1", str(target))
        assert code == 0 and json.loads(target.read_bytes())["id"] == "h1"
        target.unlink()
        code, _, err = await command("export", "h9", str(target))
        assert code == 1 and not target.exists() and "nothing is held as h9" in err
        for path in (config.parent / "q").glob("*.item"):
            path.write_bytes(path.read_bytes()[:-1])
        code, _, err = await command("export", "h2", str(target))
        assert code == 1 and not target.exists() and "h2 is damaged" in err
        code, _, err = await command("export", "h2", "/nowhere/out.bin")
        assert code == 1 and "/nowhere/out.bin: no such file" in err
    play(config, capsys, scene)


def test_erase_and_rotate(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In plain words."""
    async def scene(desk: Desk, command: Any) -> None:
        await desk.keep(held("h1"), -1)
        await desk.keep(held("h2"), -1)
        assert await command("erase", "h1", "--note", "x") == (0, "h1 is erased: its key is gone\n", "")
        assert await command("rotate") == (0, "the key is new; 1 items are wrapped by it\n", "")
        assert (await command("erase", "h1"))[0] == 1
    play(config, capsys, scene)


def test_four_eyes_are_a_no_until_the_second_pair(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 1: nothing has been released yet."""
    async def scene(desk: Desk, command: Any) -> None:
        await desk.keep(held("h1"), -1)
        code, out, err = await command("release", "h1")
        assert (code, out) == (1, "") and "h1: noted; a second person must ask for the same within 15 minutes" in err
    play(config, capsys, scene, rules=Rules(four_eyes=frozenset({"release"})))


def test_no_gateway_is_one_sentence(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is read past the gateway: who looks is always known."""
    for words in (["list"], ["show", "h1"], ["release", "h1"], ["export", "h1", str(config.parent / "out")]):
        assert main(["quarantine", *words, "-c", str(config)]) == 1
        out, err = capsys.readouterr()
        assert out == "" and "no gateway runs" in err and len(err.splitlines()) == 1
    assert not (config.parent / "out").exists()


def test_nothing_is_imported_that_a_command_does_not_need() -> None:
    """It answers at once: neither mitmproxy nor the store is loaded."""
    import subprocess
    import sys

    code = ("import sys; import inspector.app.quarantine_cmd; "
            "sys.exit(any(name in sys.modules for name in ('mitmproxy', 'cryptography', 'yara')))")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert quarantine_cmd.__doc__
