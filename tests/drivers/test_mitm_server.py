"""Listeners, limits and life of the live gateway."""

from __future__ import annotations

import asyncio
from pathlib import Path

from inspector.drivers.mitm_server import ListenerSettings
from tests.drivers.mitm_harness import echo, running, serving


def test_reverse_mode_relays_both_ways(tmp_path: Path) -> None:
    """Bytes go through the session both ways; each side's end reaches the other after its last bytes."""

    async def scenario() -> None:
        async with (
            serving(echo) as upstream,
            running(tmp_path, ListenerSettings("reverse", "127.0.0.1", 0, upstream=upstream)) as run,
        ):
            reader, writer = await run.connect()
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"HELLO"
            [info] = run.gateway.sessions()
            assert (info.bytes, info.server) == (10, f"127.0.0.1:{upstream[1]}")
            writer.write_eof()
            assert await reader.read() == b"bye"
            writer.close()
            assert run.gateway.sessions() == []

    asyncio.run(scenario())
