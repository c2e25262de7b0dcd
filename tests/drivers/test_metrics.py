"""Metrics: a page that Prometheus reads, with no label that names a person, from a server that cannot be held up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from inspector.drivers import metrics as module
from inspector.drivers.judges import Workers
from inspector.drivers.leases import Leases
from inspector.drivers.metrics import (
    LABELS,
    Family,
    Metrics,
    MetricsServer,
    Reloads,
    of_counters,
    of_files,
    of_reloads,
    of_sessions,
    of_store,
    of_tallies,
    one,
)
from inspector.drivers.spool import Spool
from inspector.engine.world import Tally
from inspector.model import Expect, Limits
from inspector.store.sqlite import Writer
from tests.store.rows import message


def _samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus' own parser reads: (name, sorted labels) -> value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode()) for sample in family.samples
    }


def _page(*sources: Callable[[], Any]) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    metrics = Metrics()
    for source in sources:
        metrics.add(source)
    return _samples(metrics.render())


def test_what_sessions_did_is_told_by_protocol_action_and_rule() -> None:
    """Every count of a tally is on the page."""
    tally = Tally()
    tally.sessions, tally.messages, tally.passed = 3, 20, 17
    tally.actions["block"] = 2
    tally.rules[("no cards", "shadow")] = 4
    tally.troubles[("gap", "pass")] = 5
    tally.oddities["irc.empty_line"] = 6
    irc = ("protocol", "irc")
    assert _page(of_tallies(lambda: {"irc": tally})) == {
        ("inspector_flows_total", (irc,)): 3, ("inspector_messages_total", (irc,)): 20,
        ("inspector_events_passed_total", (irc,)): 17,
        ("inspector_verdicts_total", (("action", "block"), irc)): 2,
        ("inspector_rule_matches_total", (("action", "shadow"), irc, ("rule", "no cards"))): 4,
        ("inspector_troubles_total", (("action", "pass"), irc, ("rule", "gap"))): 5,
        ("inspector_oddities_total", (irc, ("rule", "irc.empty_line"))): 6,
    }


def test_files_and_leases_are_told(tmp_path: Path) -> None:
    """What is in the spool, who judges, what is leased; no name of a file or user anywhere."""
    limits = Limits()
    spool, leases = Spool(tmp_path / "spool", lambda: limits), Leases(lambda: 1.0)
    workers = Workers(lambda: limits, print, tmp_path)
    spool.start()
    spool.open().append(b"12345", b"123")
    pool = leases.make("127.0.0.1:1080", (9400, 9401), 60.0)
    for port in (5001, 5002, 5003):
        pool.take(Expect(f"192.0.2.1:{port}", "dcc"), 1.0)
    leases.unclaimed = 4
    page = _page(of_files(spool, leases, workers))
    assert page[("inspector_spool_files", ())] == 1
    assert page[("inspector_spool_bytes", ())] == 8
    assert page[("inspector_leases", ())] == 2
    assert page[("inspector_leases_exhausted_total", ())] == 1
    assert page[("inspector_leases_unclaimed_total", ())] == 4
    assert page[("inspector_file_workers", ())] == 0
    assert all(not labels for _, labels in page)


def test_the_page_is_read_anew_each_time() -> None:
    """Counting on shows at the next scrape, without any call."""
    reloads = Reloads()
    metrics = Metrics()
    metrics.add(of_reloads(reloads))
    assert _samples(metrics.render())[("inspector_reload_refused", ())] == 0
    reloads.refused += 1
    reloads.last_refused = True
    after = _samples(metrics.render())
    assert after[("inspector_reload_refused", ())] == 1
    assert after[("inspector_reloads_total", (("action", "refused"),))] == 1


def test_names_of_rules_cannot_break_the_page() -> None:
    """Quotation marks, backslashes and line ends in a label's value are escaped; the parser reads them back."""
    evil = 'a "rule"\\ with\nall\ud800'
    page = _page(lambda: [Family("x_total", "counter", "h\nelp \\", [(("irc", None, evil), 1)])])
    assert page == {("x_total", (("protocol", "irc"), ("rule", evil.replace("\ud800", "?")))): 1}


def test_no_label_names_a_person_or_a_host() -> None:
    """There are four labels, and sessions give only their protocol and listener."""
    assert LABELS == ("protocol", "action", "rule", "listener")
    sessions = [SimpleNamespace(protocol="irc", listener="127.0.0.1:1080", user="alice", client="10.0.0.5:1")] * 2
    assert _page(of_sessions(lambda: sessions)) == {
        ("inspector_sessions", (("listener", "127.0.0.1:1080"), ("protocol", "irc"))): 2}


def test_the_store_and_plain_counters(tmp_path: Path) -> None:
    """Rows, failures and health of the store; every slot of an object of ints."""
    writer = Writer(tmp_path / "e.db")
    assert _page(of_store(writer))[("inspector_store_up", ())] == 0
    writer.start()
    writer.put(message(1))
    page = _page(of_store(writer))
    assert page[("inspector_store_up", ())] == 1
    writer.close()
    assert _page(of_store(writer))[("inspector_store_rows_total", ())] == 1

    class Counters:
        __slots__ = ("accepted", "tls_failed")

        def __init__(self) -> None:
            self.accepted, self.tls_failed = 7, 8
    assert _page(of_counters("inspector_gateway", Counters())) == {
        ("inspector_gateway_accepted_total", ()): 7, ("inspector_gateway_tls_failed_total", ()): 8}


def test_fractions_are_kept() -> None:
    """A value that is not whole is written with all its digits."""
    assert _page(lambda: [one("x", "gauge", "a time", 1764000000.25)]) == {("x", ()): 1764000000.25}


def _talk(with_server: Callable[[int], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        metrics = Metrics()
        metrics.add(lambda: [one("x_total", "counter", "one", 1)])
        server = MetricsServer(metrics)
        port = await server.start("127.0.0.1", 0)
        try:
            async with asyncio.timeout(20):
                await with_server(port)
        finally:
            await server.stop()
    asyncio.run(main())


async def _ask(port: int, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


def test_the_server_gives_the_page() -> None:
    """GET gives it, HEAD its length, other paths and methods a short no."""
    async def talk(port: int) -> None:
        head, _, body = (await _ask(port, b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n")).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
        assert _samples(body) == {("x_total", ()): 1}
        head, _, body = (await _ask(port, b"HEAD /metrics HTTP/1.0\r\n\r\n")).partition(b"\r\n\r\n")
        assert b"200 OK" in head and body == b""
        assert (await _ask(port, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404")
        assert (await _ask(port, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405")
        assert (await _ask(port, b"\xff\x00\r\n\r\n")).startswith(b"HTTP/1.1 405")
    _talk(talk)


def test_the_server_cannot_be_held_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless request is cut at its bound, a silent client after its time, others are served meanwhile."""
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr(module, "CONNECTIONS", 3)

    async def talk(port: int) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        assert b"200 OK" in await _ask(port, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert (await _ask(port, b"GET /" + b"x" * 20_000)).startswith(b"HTTP/1.1 431")
        for reader, writer in silent:
            assert await reader.read() == b""
            writer.close()
    _talk(talk)


def test_a_port_that_is_taken_is_one_sentence() -> None:
    """The address is in the error's text."""
    async def talk(port: int) -> None:
        with pytest.raises(OSError, match=rf"metrics: cannot listen on 127\.0\.0\.1:{port}"):
            await MetricsServer(Metrics()).start("127.0.0.1", port)
    _talk(talk)


def test_what_must_be_asked_of_others_is_asked_before_each_page() -> None:
    """The page waits for it, and shows what came."""
    async def main() -> None:
        asked: list[int] = []

        async def before() -> None:
            await asyncio.sleep(0)
            asked.append(len(asked))

        metrics = Metrics()
        metrics.add(lambda: [one("asked", "gauge", "how often", len(asked))])
        server = MetricsServer(metrics, before)
        port = await server.start("127.0.0.1", 0)
        try:
            for n in (1, 2):
                page = await _ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                assert f"\nasked {n}\n".encode() in page
        finally:
            await server.stop()
    asyncio.run(main())
