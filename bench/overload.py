"""What a flood from one client costs the gateway and another client: `python -m bench.overload [FLOOD…]`.

A gateway in a process of its own (reverse to a small IRC server in a second one), one client at 127.0.0.1 who says a
message and waits for its echo, and one at 127.0.0.2 who floods: connections that are refused, half-open connections,
messages as fast as they are taken, long texts that are scanned in threads. Printed: messages of the quiet client, their
p50 and p99, and the gateway's memory (RSS) before, during and after.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

HOUSE = Path(__file__).resolve().parent.parent
QUIET, FLOOD = "127.0.0.1", "127.0.0.2"
SECONDS = 10.0
REFUSED = 20_000
HALVES = 500
TALKERS = 20

SERVER = """
import asyncio, sys
async def serve(reader, writer):
    try:
        while line := await reader.readline():
            if line.startswith(b"NICK"):
                writer.write(b":s 001 u :hi\\r\\n")
            elif line.startswith(b"PRIVMSG"):
                writer.write(b":s NOTICE u :got\\r\\n")
                await writer.drain()
            await asyncio.sleep(0)  # everybody in turn
    except (OSError, ValueError):
        pass
    writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


class Place:
    """The gateway under test."""

    def __init__(self, port: int, pid: int) -> None:
        self.port = port
        self.pid = pid

    def memory(self) -> float:
        """MB."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1000
        raise RuntimeError("no VmRSS")

    async def connect(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))

    async def sign_on(self, address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await self.connect(address)
        writer.write(b"NICK u\r\nUSER u 0 * :u\r\n")
        await reader.readuntil(b"001 u :hi\r\n")
        return reader, writer


@asynccontextmanager
async def gateway(limits: dict[str, object]) -> AsyncIterator[Place]:
    """A gateway in front of the small server."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True))
        stack.callback(server.kill)
        assert server.stdout is not None
        upstream = int(server.stdout.readline())
        lines = "".join(f"  {name}: {value}\n" for name, value in limits.items())
        (folder / "inspector.yaml").write_text(
            f'listeners:\n  - {{mode: reverse, address: "127.0.0.1:0", upstream: "127.0.0.1:{upstream}"}}\n'
            f"policy: {HOUSE}/rules/policy.yaml\nsignatures: {HOUSE}/signatures\nmetrics: null\nlimits:\n{lines}")
        command = [str(HOUSE / ".venv/bin/inspector"), "run", "-c", str(folder / "inspector.yaml")]
        process = stack.enter_context(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        stack.callback(process.terminate)
        assert process.stdout is not None
        line = process.stdout.readline()
        port = int(line.split("listening on 127.0.0.1:")[1].split()[0])
        yield Place(port, process.pid)


async def quiet(place: Place, until: Callable[[], bool]) -> list[float]:
    """Times from a message to its echo, in ms, one after the other."""
    reader, writer = await place.sign_on(QUIET)
    times = []
    while not until():
        begin = time.perf_counter()
        writer.write(b"PRIVMSG #room :how are you today\r\n")
        await reader.readline()
        times.append((time.perf_counter() - begin) * 1000)
        await asyncio.sleep(0.005)
    writer.close()
    return times


async def refused(place: Place) -> str:
    """Connections beyond the client's bound."""
    kept = [await place.sign_on(FLOOD) for _ in range(10)]
    begin, done = time.perf_counter(), 0

    async def one() -> None:
        nonlocal done
        while done < REFUSED:
            done += 1
            with contextlib.suppress(OSError):
                reader, writer = await place.connect(FLOOD)
                await reader.read()
                writer.close()

    await asyncio.gather(*(one() for _ in range(20)))
    for _, writer in kept:
        writer.close()
    return f"{REFUSED} refused, {REFUSED / (time.perf_counter() - begin):.0f} a second"


async def halves(place: Place) -> str:
    """Connections that begin TLS and go no further."""
    held = []
    for _ in range(HALVES):
        reader, writer = await place.connect(FLOOD)
        writer.write(b"\x16\x03\x01\x02\x00\x01")
        held.append((reader, writer))
    await asyncio.sleep(3)
    for _, writer in held:
        writer.close()
    return f"{HALVES} half-open"


def talking(text: bytes) -> Callable[[Place], Awaitable[str]]:
    """Sessions that say `text` as fast as it is taken."""
    said = (b"PRIVMSG #room :" + text + b"\r\n") * (8000 // len(text))

    async def flood(place: Place) -> str:
        told = 0
        until = time.perf_counter() + SECONDS

        async def one() -> None:
            nonlocal told
            reader, writer = await place.sign_on(FLOOD)

            async def drain() -> None:
                nonlocal told
                while line := await reader.readline():
                    told += line.startswith(b":s")
            task = asyncio.create_task(drain())
            with contextlib.suppress(OSError):
                while time.perf_counter() < until:
                    writer.write(said)
                    await writer.drain()
                    await asyncio.sleep(0)
            task.cancel()
            writer.close()

        await asyncio.gather(*(one() for _ in range(TALKERS)))
        return f"{told / SECONDS:.0f} messages a second of the flood answered"
    return flood


async def alone(_: Place) -> str:
    """No flood."""
    await asyncio.sleep(3)
    return "nobody else"


async def main() -> None:
    """Each flood beside the quiet client, one after the other, on a fresh gateway."""
    floods: list[tuple[str, Callable[[Place], Awaitable[str]], dict[str, object]]] = [
        ("alone", alone, {}),
        ("refused connections", refused, {"client_sessions": 10}),
        ("half-open connections", halves, {"handshake_seconds": 1}),
        ("messages", talking(b"hello there"), {}),
        ("long texts", talking(b"x " * 250), {"quick_scan_bytes": 64}),
    ]
    for name, flood, more in floods:
        if len(sys.argv) > 1 and name not in sys.argv[1:]:
            continue
        async with gateway(more) as place:
            over = asyncio.Event()
            before = place.memory()
            task = asyncio.create_task(quiet(place, over.is_set))
            await asyncio.sleep(0.5)
            what = await flood(place)
            during = place.memory()
            over.set()
            times = await task
            await asyncio.sleep(2)
            cuts = statistics.quantiles(times, n=100)
            print(f"{name}: {what}; quiet client: {len(times)} messages, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} "
                  f"ms, most {max(times):.1f} ms; memory {before:.0f} -> {during:.0f} -> {place.memory():.0f} MB",
                  flush=True)


if __name__ == "__main__":
    asyncio.run(main())
