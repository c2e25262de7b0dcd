"""What is said at the start of a worker survives the way."""

from __future__ import annotations

import msgspec

from inspector.app.snapshot import Snapshot
from inspector.app.worker_words import SPEECH, Begin, InForce, Lease, Ready
from inspector.model import Expect, FileOffer


def test_all_of_it_comes_out_as_it_went_in() -> None:
    """Through msgpack and plain values, as the channel carries it: numbers as keys, bytes, addresses."""
    snapshot = Snapshot(3, None, "/etc", b"\xff: 1", "/var/in-force/3", "policy.yaml", "signatures")
    begin = Begin(
        SPEECH, 1, 2, snapshot, "gw", 5.0, [("127.0.0.1:1080", 1080, [7, 8])], 9, {0: 10, 1: 11}, 12, {0: 13},
        None, "json")
    ready = Ready(SPEECH, "0.1.0", InForce(3, "sha256:00", ["core@1"], True, ["a warning"]))
    lease = Lease("127.0.0.1:1080", 9400, Expect("10.0.0.5:1", "dcc", offer=FileOffer(file_name="a")), 6.0, ("a", "b"))
    for one in (begin, ready, lease):
        assert msgspec.convert(msgspec.msgpack.decode(msgspec.msgpack.encode(one), strict=False), type(one)) == one
