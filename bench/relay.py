"""The peer that added latency is measured against: a relay of asyncio protocols that looks at nothing.

    python -m bench.relay LISTEN_PORT UPSTREAM_PORT uvloop|asyncio
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast


class Half(asyncio.Protocol):
    """One side of a connection."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: Half | None = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        for data in self.early:
            self.transport.write(data)
        self.early.clear()

    def data_received(self, data: bytes) -> None:
        other = self.other
        assert other is not None
        if other.transport is None:
            other.early.append(data)
        else:
            other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


async def main(listen: int, upstream: int) -> None:
    loop = asyncio.get_running_loop()
    opening: set[asyncio.Task[object]] = set()

    def accepted() -> Half:
        client, server = Half(), Half()
        client.other, server.other = server, client
        task: asyncio.Task[object] = loop.create_task(loop.create_connection(lambda: server, "127.0.0.1", upstream))
        opening.add(task)
        task.add_done_callback(opening.discard)
        return client

    server = await loop.create_server(accepted, "127.0.0.1", listen, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    _, listen, upstream, kind = sys.argv
    if kind == "uvloop":
        import uvloop

        uvloop.run(main(int(listen), int(upstream)))
    else:
        asyncio.run(main(int(listen), int(upstream)))
