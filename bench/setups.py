"""TLS session set-ups: the server and the clients of `bench tls`.

    python -m bench.setups server CERTIFICATE KEY
    python -m bench.setups load PORT AT_ONCE SECONDS PID

The server answers a stream header over TLS. A client connects with TLS (no resumption), sends its header, waits for the
answer and goes. After a warm-up the CPU time of process PID is read at the start and the end; one JSON line is printed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
import time

from bench.load import HEADER, WARM_UP
from bench.processes import cpu_seconds, family
from bench.reflector import HEADER as ANSWER
from bench.reflector import MECHANISMS

FEATURES = ANSWER + b"<stream:features>" + MECHANISMS + b"</stream:features>"


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        if await reader.readuntil(b"version='1.0'>"):
            writer.write(FEATURES)
        await reader.read()
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def serve(certificate: str, key: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def load(port: int, at_once: int, seconds: float, pid: int) -> None:
    # What gateways show is their own authority's: the bench measures, it does not verify.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    done = failed = 0
    why = ""

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="bench.test")
        try:
            writer.write(HEADER)
            await reader.readuntil(b"</stream:features>")
        finally:
            writer.transport.abort()

    async def again() -> None:
        nonlocal done, failed, why
        while True:
            try:
                await asyncio.wait_for(one(), 20)
                done += 1
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                failed += 1
                why = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.1)

    tasks = [asyncio.ensure_future(again()) for _ in range(at_once)]
    await asyncio.sleep(WARM_UP + 1)
    before, start, cpu = done, time.perf_counter(), cpu_seconds(family(pid))
    await asyncio.sleep(seconds)
    spent, count, wall = cpu_seconds(family(pid)) - cpu, done - before, time.perf_counter() - start
    for task in tasks:
        task.cancel()
    print(json.dumps({"setups": count, "cpu": spent, "wall": wall, "failed": failed, "why": why}), flush=True)


if __name__ == "__main__":
    import uvloop

    if sys.argv[1] == "server":
        uvloop.run(serve(sys.argv[2], sys.argv[3]))
    else:
        uvloop.run(load(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
