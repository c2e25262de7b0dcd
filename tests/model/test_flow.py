"""Flows: identifiers made without chance, and Community ID."""

from __future__ import annotations

from inspector.model import DOWN, UP, Address, community_id, flow_id


def test_the_ways_are_each_other_s_other() -> None:
    """UP and DOWN lead to each other."""
    assert UP.other is DOWN
    assert DOWN.other is UP


def test_a_flow_s_id_depends_on_its_five_tuple_and_first_time_only() -> None:
    """The same connection gives the same 16 hex digits; another port, transport or microsecond gives others."""
    client, server = Address("10.0.0.5", 51128), Address("64.12.24.50", 443)
    one = flow_id(client, server, "tcp", 1700000000.5)
    assert one == flow_id(client, server, "tcp", 1700000000.5)
    assert len(one) == 16
    assert set(one) <= set("0123456789abcdef")
    others = {
        flow_id(Address("10.0.0.5", 51129), server, "tcp", 1700000000.5), flow_id(client, server, "udp", 1700000000.5),
        flow_id(client, server, "tcp", 1700000000.500001), flow_id(server, client, "tcp", 1700000000.5), one,
    }
    assert len(others) == 5


def test_community_id_follows_its_specification() -> None:
    """The specification's baseline example (TCP 128.232.110.120:34855 and 66.35.250.204:80), in both directions."""
    one, two = Address("128.232.110.120", 34855), Address("66.35.250.204", 80)
    assert community_id(one, two, "tcp") == "1:LQU9qZlK+B5F3KDmev6m5PMibrg="
    assert community_id(two, one, "tcp") == community_id(one, two, "tcp")
    assert community_id(one, two, "udp") != community_id(one, two, "tcp")
    assert community_id(Address("chat.example.net", 1), two, "tcp") is None
