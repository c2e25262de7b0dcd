"""Chat while something else goes on: round trips of quiet sessions.

    python -m bench.latency PORT SESSIONS

Signs on as bench.load does, prints "ready". Lines of standard input: "quiet" and "meanwhile" say under which name it
counts what it measures from now on, "stop" prints both as one JSON line and forgets them. Each session sends its next
message PAUSE after the answer to the last.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

from bench import texts
from bench.load import Client

PAUSE = 0.05


class Quiet(Client):
    """A client that is in no hurry."""

    waits: list[float]
    began = 0.0

    def data_received(self, data: bytes) -> None:
        if not self.talking:
            super().data_received(data)
            return
        self.size += len(data)
        if self.size >= texts.SIZE:
            self.size -= texts.SIZE
            self.waits.append(time.perf_counter() - self.began)
            asyncio.get_running_loop().call_later(PAUSE, self.say)

    def say(self) -> None:
        self.began = time.perf_counter()
        self.transport.write(self.messages.next())


async def main(port: int, sessions: int) -> None:
    loop = asyncio.get_running_loop()
    named: dict[str, list[float]] = {"quiet": [], "meanwhile": []}
    clients: list[Quiet] = []
    for number in range(1, sessions + 1):
        client = Quiet("xmpp", False, number)
        client.waits = []
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
        clients.append(client)
    await asyncio.wait_for(asyncio.gather(*(client.ready for client in clients)), 60)
    for number, client in enumerate(clients):
        loop.call_later(PAUSE * number / sessions, client.say)
    print("ready", flush=True)
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        word = line.strip()
        if word == "stop":
            print(json.dumps({name: shares(waits) for name, waits in named.items()}), flush=True)
        for client in clients:
            client.waits = named.get(word, [])
        if word == "stop":
            for waits in named.values():
                waits.clear()


def shares(waits: list[float]) -> dict[str, float]:
    """How many, their middle and their 99th percentile, seconds."""
    found = sorted(waits)
    return {
        "count": len(found), "p50": found[len(found) // 2] if found else 0.0,
        "p99": found[len(found) * 99 // 100] if found else 0.0,
    }


if __name__ == "__main__":
    import uvloop

    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
