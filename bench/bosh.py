"""XMPP over HTTP: CPU of a request with its answer, in the engine alone, beside the same two messages on a bare stream.

One process, no sockets, no driver: what the carrier adds to a message is here, what HTTP costs on the wire is not.
"""

from __future__ import annotations

import sys
import time

from bench.figures import ratio, spread, table
from bench.texts import everyday
from inspector.engine.world import World
from inspector.model import DOWN, UP, Chunk, Limits, Way
from inspector.protocols.registry import BY_NAME
from tests.evasion.line import Line
from tests.protocols import test_xmpp
from tests.protocols.bosh_disguises import answer, bound, post

PAIRS = 500
"""Requests, each with its answer, of one measured window."""
Said = list[tuple[Way, bytes]]


def messages(count: int) -> list[tuple[bytes, bytes]]:
    """Messages of about 300 bytes, one of each way: (up, down)."""
    texts = iter(everyday(2 * count, 120))
    return [(
        f"<message xmlns='jabber:client' to='bob@example.org/barn' id='up' type='chat'><body>{next(texts)}</body>"
        f"</message>".encode(),
        f"<message xmlns='jabber:client' from='bob@example.org/barn' to='alice@example.com/desk' type='chat'><body>"
        f"{next(texts)}</body></message>".encode(),
    ) for _ in range(count)]


def window(name: str, login: Said, said: Said) -> float:
    """Microseconds of CPU of a pair, behind a login."""
    line = Line(BY_NAME[name], "block", world=World(Limits()))
    for way, data in login:
        line.feed(way, data)
    session, world = line.session, line.world
    start = time.process_time()
    for number, (way, data) in enumerate(said):
        session.step(Chunk(way, line.at + number, data), world)
    took = time.process_time() - start
    assert session.context.user is not None, "nobody is signed on"
    return 1e6 * took / PAIRS


def run(rounds: int) -> None:
    """Prints the table."""
    plain = test_xmpp.login()
    over = bound(plain)
    first = 1000 + sum(way is UP for way, _ in over)
    costs: dict[str, list[float]] = {"bare stream": [], "BOSH": []}
    for number in range(rounds):
        print(f"\rround {number + 1}/{rounds}", end="", file=sys.stderr, flush=True)
        pairs = messages(PAIRS)
        costs["bare stream"].append(window("xmpp", plain, [
            each for up, down in pairs for each in ((UP, up), (DOWN, down))]))
        costs["BOSH"].append(window("xmpp_bosh", over, [
            each for index, (up, down) in enumerate(pairs)
            for each in ((UP, post(first + index, up)), (DOWN, answer(down)))]))
    print("\r" + " " * 20 + "\r", end="", file=sys.stderr, flush=True)
    base = costs["bare stream"]
    print(table(["two messages, one each way", "µs CPU", "of a bare stream"], [
        [name, spread(each), spread(ratio(each, base), 1)] for name, each in costs.items()]))
