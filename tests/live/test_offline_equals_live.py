"""A customer's capture gives offline what its replay gives live (design, section 10)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inspector import policy, scan
from inspector.app.replay import Player, play
from inspector.app.scan import Inspection
from inspector.classify.probes import classifier
from inspector.drivers.pcap import open_capture
from inspector.model import Limits, Rules
from inspector.protocols.registry import SPECS
from inspector.store.lines import render
from inspector.store.sqlite import Reader
from inspector.wire.located import load_yaml
from tests.live.peers import GatewayChild
from tests.ports import free_port
from tests.test_golden import PCAPS, golden_captures

pytestmark = pytest.mark.live

Line = dict[str, Any]

COMPARED = ("message", "file", "verdict", "oddity")
IGNORED = {
    "t", "file", "flow", "client", "server", "packets", "packets_to_verdict", "latency", "id", "message", "reference",
    "gateway", "schema", "offer",
}
"""What cannot be the same: times, places, and names made from them."""

ABOUT_PACKETS = ("tcp.", "ip.", "link.")
"""Oddities of packets: the live gateway's kernel keeps them to itself."""

ABOUT_PLACES = ("irc.dcc_foreign_address", "irc.dcc_private_address")
"""Oddities of announced addresses: in a replay all ends are on loopback."""

ANNOUNCED = {f"{spec.name}.announced" for spec in SPECS if spec.expected_only} | {"oft.announced"}
"""Side connections that are known, or whose people are, by the address alone. (A bytestream has its hash.)"""

KNOWN_BY_PLACE = ("user", "identity")
"""What a side connection has from the announcement of its address."""

QUIET_SECONDS = 0.4
"""The gateway's answers come at once here; what it refuses is waited for this long."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayChild]:
    """A gateway that judges by the golden policy and packs, logs everything, and changes nothing by itself."""
    names = [edit.name for spec in SPECS for edit in spec.edits]
    child = GatewayChild(
        tmp_path_factory.mktemp("replay"),
        [{"mode": "socks5", "address": f"127.0.0.1:{free_port()}", "destinations": {"allow": ["127.0.0.0/8"]}},
         {"mode": "connect", "address": f"127.0.0.1:{free_port()}", "destinations": {"allow": ["127.0.0.0/8"]}}],
        policy=load_yaml((PCAPS / "policy.yaml").read_text(), "policy.yaml").value,
        signatures=str(PCAPS / "packs"), archive="full", edits=dict.fromkeys(names, False),
        # What waits for a sign-on that never comes (a server link) is judged before the replay goes on.
        limits={"sign_on_seconds": 0.2},
    )
    yield child
    child.stop()


def beside(lines: list[Line]) -> set[str]:
    """The flows that are side connections."""
    return {line["flow"] for line in lines if line["event"] == "flow" and line["carried"]}


OF_A_JUDGE = ("md5", "sha1", "sha256", "media_type", "members", "encrypted", "kind")
"""What only a judge says of a file."""


def comparable(line: Line, ends: set[str], sides: set[str]) -> str | None:
    """What is compared of a line; None: it is not. `ends`: addresses that are those of the flow's own ends."""
    if line["event"] not in COMPARED or str(line.get("name")).startswith((*ABOUT_PACKETS, *ABOUT_PLACES)):
        return None
    kept = {name: value for name, value in line.items() if name not in IGNORED}
    if line["flow"] in sides:
        kept = {name: value for name, value in kept.items() if name not in KNOWN_BY_PLACE}
    if line["event"] == "file" and not line["complete"]:
        # Its session is over: whether the judge's answer came before that is a matter of milliseconds.
        kept = {name: value for name, value in kept.items() if name not in OF_A_JUDGE}
    host, _, _ = (kept.get("address") or "").rpartition(":")
    if host in ends:  # an offer that names its own end
        kept["address"] = "own"  # the player takes ports of its own
    if line.get("reference") and kept.get("notice"):
        kept["notice"] = kept["notice"].replace(line["reference"], "(reference)")
    network, slash, name = (kept.get("conversation") or "").partition("/")
    if network in ends:  # a server that has not told its name yet
        kept["conversation"] = f"own{slash}{name}"
    return json.dumps(kept, sort_keys=True)


def offline(capture: Path, folder: Path) -> tuple[list[Line], set[str]]:
    """The lines of a scan, judged by the gateway's own files; without those of side connections that are known by the
    addresses they were announced with, and by nothing else: a replay keeps no address. And what carried those."""
    compiled = policy.compile((folder / "policy.yaml").read_text(), "policy.yaml")
    rules = Rules(1, compiled, scan.load(PCAPS / "packs", Limits()).scanner)
    lines: list[Line] = []
    inspection = Inspection(
        rules, classifier(SPECS), SPECS, Limits(), lambda row: lines.append(json.loads(render(row, None))))
    opened = open_capture(capture.name, capture, Limits())
    inspection.capture(opened)
    opened.close()
    flows = [line for line in lines if line["event"] == "flow"]
    carried = {
        name for line in flows for name in line["carried"]
        if any(reason["rule"] in ANNOUNCED for reason in line["evidence"])
    }
    lost = {line["flow"] for line in flows if carried.intersection(line["carried"])}
    return [line for line in lines if line["flow"] not in lost], carried


@pytest.mark.parametrize("capture", [
    pytest.param(path, id=path.relative_to(PCAPS).as_posix()) for path in golden_captures()
])
def test_offline_equals_live(capture: Path, gateway: GatewayChild) -> None:
    """The replay of a golden capture through the gateway is logged as its scan says."""
    lines, lost = offline(capture, gateway.folder)
    if any(line["event"] == "trouble" and line["name"] == "gap" for line in lines):
        pytest.skip("bytes are missing in the capture: they cannot be replayed")
    listeners = json.loads(gateway.config.read_text())["listeners"]
    address = listeners[len(capture.name) % 2]["address"].rpartition(":")
    with Reader(gateway.folder / "events.db") as reader:
        before = reader.last()
    player = Player((address[0], int(address[2])), quiet=QUIET_SECONDS)
    assert play(str(capture), player, Limits()) is None
    player.end()
    assert [played.refused for played in player.sessions] == [None] * len(player.sessions)
    if not all(played.track.from_start for played in player.sessions):
        pytest.skip("a session that was joined in its middle is replayed as one from its start")
    ends = {"127.0.0.1"}.union(*({p.track.client.ip, p.track.server.ip} for p in player.sessions))
    wanted = sorted(filter(None, (comparable(line, ends, beside(lines)) for line in lines)))
    deadline = time.monotonic() + 10
    while True:
        with Reader(gateway.folder / "events.db") as reader:
            rows = [json.loads(line) for _, line in reader.select(after=before)]
        ended = sum(line["event"] == "flow" for line in rows) >= len(player.sessions)
        unknown = {line["flow"] for line in rows if line["event"] == "flow" and lost.intersection(line["carried"])}
        rows = [line for line in rows if line["flow"] not in unknown]
        live = sorted(filter(None, (comparable(line, ends, beside(rows)) for line in rows)))
        if ended or time.monotonic() > deadline:
            break
        time.sleep(0.05)
    assert live == wanted, "\n".join(sorted(set(live) ^ set(wanted)))
