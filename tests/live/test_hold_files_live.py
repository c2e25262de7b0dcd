"""A file that waits for a reviewer: uploaded (XEP-0363) through the gateway to a real Prosody, twice."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.live.peers import GatewayChild, Servers, now

pytest.importorskip("slixmpp", reason="slixmpp is not installed (make test installs it)")

from tests.live.test_upload_live import Site, UploadProsody, ask_slot
from tests.live.test_xmpp_live import online
from tests.ports import free_port

pytestmark = pytest.mark.live

POLICY = {
    "files": [{"when": {"file.name": "*"}, "mode": "spool"}],
    "rules": [{"name": "plans wait", "when": {"event": "file", "file.name": "plan*", "file.complete": True},
               "then": "hold"}],
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, servers: Servers) -> Iterator[Site]:
    """A gateway before Prosody and its upload host."""
    folder = tmp_path_factory.mktemp("hold_files")
    xmpp, second = free_port(), free_port()
    prosody = UploadProsody(folder, servers, f"http://127.0.0.1:{second}/")
    try:
        listeners: list[dict[str, Any]] = [
            {"mode": "reverse", "address": f"127.0.0.1:{xmpp}", "upstream": f"127.0.0.1:{prosody.port}"},
            {"mode": "reverse", "address": f"127.0.0.1:{second}", "upstream": f"127.0.0.1:{prosody.http}",
             "protocols": ["http_upload"]},
        ]
        gateway = GatewayChild(
            folder / "gateway", listeners, policy=POLICY, tls={"upstream_ca": str(servers.ca_file)})
        try:
            yield Site("reverse", prosody, gateway, xmpp, 0)
        finally:
            code = gateway.stop()
        assert code == 0, gateway.child.text()
    finally:
        prosody.child.stop()


def _items(site: Site) -> list[dict[str, Any]]:
    done = site.gateway.inspector("quarantine", "list", "--format", "jsonl")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_held_file_is_kept_whole_and_may_be_sent_again_after_its_release(site: Site, tmp_path: Path) -> None:
    """The upload is refused and says that it waits; nothing is at the server; the reviewer has every byte; after the
    release its sender is told, the same content passes once more and is delivered, another one is held."""
    content, before = os.urandom(700_000), now()

    async def scenario() -> None:
        async with online("alice", "plain", site.xmpp, site.gateway.authority) as alice:
            async def put(name: str, data: bytes) -> tuple[int, bytes]:
                slot = await ask_slot(alice, name, len(data))
                return await asyncio.to_thread(site.ask, "PUT", slot.put, data, slot.headers)

            status, text = await put("plan.bin", content)
            assert status == 403 and b"waits for review" in text
            (item,) = _items(site)
            assert item["reference"].encode() in text
            assert (item["state"], item["about"], item["size"], item["sendable"]) == ("held", "file", 700_000, False)
            await alice.wait(lambda stanza: stanza.get("type") == "headline")
            target = tmp_path / "plan.bin"
            done = await asyncio.to_thread(site.gateway.inspector, "quarantine", "export", item["id"], str(target))
            assert done.returncode == 0, done.stderr
            assert target.read_bytes() == content
            done = await asyncio.to_thread(site.gateway.inspector, "quarantine", "release", item["id"])
            assert done.returncode == 0, done.stderr
            assert "must send it again (has been told)" in done.stdout
            notice = await alice.wait(lambda stanza: stanza.get("type") == "headline")
            assert "plan.bin was released" in "".join(notice.itertext())
            assert (await put("plan.bin", content + b"!"))[0] == 403
            assert (await put("plan.bin", content))[0] == 201
    asyncio.run(scenario())
    first, second = _items(site)
    assert (second["state"], second["size"]) == ("held", 700_001)
    site.gateway.wait_row("review", after=before, hold=first["id"], step="delivered")
    assert [row["step"] for row in site.gateway.rows("review") if row["hold"] == first["id"]] == [
        "held", "exported", "released", "delivered"]
    row = site.gateway.wait_row("verdict", after=before, held=first["id"], did="hold")
    assert (row["rule"], row["sender"].partition("/")[0]) == ("plans wait", "alice@localhost")
