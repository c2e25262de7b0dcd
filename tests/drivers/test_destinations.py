"""Which destinations a client may ask for."""

from __future__ import annotations

import ipaddress

import pytest

from inspector.drivers.destinations import CLASSES, Destinations, classes

ALL = tuple(CLASSES)


def never(ip: object, port: int) -> bool:
    """Nothing is the gateway's own."""
    return False


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("127.0.0.1", {"loopback", "private"}),
        ("127.8.9.10", {"loopback", "private"}),
        ("0.0.0.0", {"loopback", "private"}),
        ("::1", {"loopback", "private"}),
        ("::", {"loopback", "private"}),
        ("::ffff:127.0.0.1", {"loopback", "private"}),
        ("64:ff9b::7f00:1", {"loopback", "private"}),
        ("2002:7f00:1::", {"loopback", "private"}),
        ("::127.0.0.1", {"loopback", "private"}),
        ("169.254.169.254", {"link_local", "private"}),
        ("::ffff:169.254.169.254", {"link_local", "private"}),
        ("fe80::1", {"link_local", "private"}),
        ("10.1.2.3", {"private"}),
        ("172.16.0.1", {"private"}),
        ("192.168.1.1", {"private"}),
        ("100.64.0.1", {"private"}),
        ("fd00::1", {"private"}),
        ("fec0::1", {"private"}),
        ("224.0.0.1", {"private"}),
        ("255.255.255.255", {"private"}),
        ("8.8.8.8", set()),
        ("2606:4700::1111", set()),
    ],
)
def test_classes_of_addresses(address: str, found: set[str]) -> None:
    """Each address has the classes that it, or an IPv4 address inside it, belongs to."""
    assert classes(ipaddress.ip_address(address)) == found


def test_denied_classes_are_refused_with_a_sentence() -> None:
    """The default of explicit proxies refuses what is inside, and says what it is."""
    rules = Destinations.parse((), ALL)
    assert rules.refusal("metadata", "169.254.169.254", 80, never) == "169.254.169.254 is link_local and private"
    assert rules.refusal("host", "8.8.8.8", 5222, never) is None


def test_a_scoped_address_is_judged_without_its_scope() -> None:
    """fe80::1%eth0 is link-local."""
    assert Destinations.parse((), ALL).refusal("x", "fe80::1%eth0", 80, never) is not None


def test_allow_overrides_deny() -> None:
    """An allowed network or name opens denied classes; a near miss does not."""
    rules = Destinations.parse(("10.1.0.0/16", "chat.example.net", "*.inside.example"), ALL)
    assert rules.refusal("x", "10.1.2.3", 5222, never) is None
    assert rules.refusal("x", "10.2.2.3", 5222, never) is not None
    assert rules.refusal("Chat.Example.Net.", "10.9.9.9", 5222, never) is None
    assert rules.refusal("evilchat.example.net", "10.9.9.9", 5222, never) is not None
    assert rules.refusal("a.inside.example", "10.9.9.9", 5222, never) is None
    assert rules.refusal("inside.example", "10.9.9.9", 5222, never) is not None
    assert rules.refusal("notinside.example", "10.9.9.9", 5222, never) is not None


def test_allow_of_a_v4_network_covers_the_mapped_form() -> None:
    """::ffff:10.1.2.3 is 10.1.2.3."""
    assert Destinations.parse(("10.1.0.0/16",), ALL).refusal("x", "::ffff:10.1.2.3", 5222, never) is None


def test_own_is_refused_whatever_is_allowed() -> None:
    """The gateway's own ports stay closed, also through an IPv4 address inside an IPv6 one."""
    rules = Destinations.parse(("0.0.0.0/0", "::/0", "localhost"), ())

    def own(ip: object, port: int) -> bool:
        return str(ip) == "127.0.0.1" and port == 9464

    assert rules.refusal("localhost", "127.0.0.1", 9464, own) == "127.0.0.1 port 9464 is the gateway itself"
    assert rules.refusal("localhost", "::ffff:127.0.0.1", 9464, own) is not None
    assert rules.refusal("localhost", "127.0.0.1", 5222, own) is None


def test_ports() -> None:
    """Listed ports only; none listed: any."""
    rules = Destinations.parse((), (), frozenset({5222, 5223}))
    assert rules.refusal("x", "8.8.8.8", 80, never) == "port 80 is not allowed"
    assert rules.refusal("x", "8.8.8.8", 5222, never) is None


def test_a_network_may_be_denied() -> None:
    """`deny` takes networks beside classes; another word is an error."""
    rules = Destinations.parse((), ("8.8.8.0/24",))
    assert rules.refusal("x", "8.8.8.8", 80, never) == "8.8.8.8 is in a denied network"
    assert rules.refusal("x", "::ffff:8.8.8.8", 80, never) is not None
    assert rules.refusal("x", "10.0.0.1", 80, never) is None
    with pytest.raises(ValueError, match="privat"):
        Destinations.parse((), ("privat",))
