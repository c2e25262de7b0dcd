"""One client: an IPv4 address, or a network of 64 bits of IPv6."""

from __future__ import annotations

import pytest

from inspector.model import client_of


@pytest.mark.parametrize(("ip", "client"), [
    ("10.0.0.1", "10.0.0.1"), ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
    ("2001:db8:1:2:ffff:1:2:3", "2001:db8:1:2::/64"), ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
    ("::1", "::/64"), ("fe80::1%eth0", "fe80::/64"),
    ("::ffff:10.0.0.1", "10.0.0.1"), ("", ""), ("a:b", "a:b"),
])
def test_client_of(ip: str, client: str) -> None:
    """All addresses that one host may take are one client."""
    assert client_of(ip) == client
