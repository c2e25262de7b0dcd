"""Who counts as one client where bounds are for each client: an address, and of IPv6 a network of 64 bits.

A network gives its hosts addresses below one prefix of 64 bits (RFC 4291, 2.5.1), and a host may take as many of them
as it likes (RFC 8981): a bound for each single address would be none.
"""

from __future__ import annotations

import functools
import ipaddress


@functools.lru_cache(maxsize=4096)
def client_of(ip: str) -> str:
    """The client that an address belongs to, as the key of tables; what is no address stays as it is."""
    if ":" not in ip:
        return ip
    try:
        address = ipaddress.IPv6Address(ip.partition("%")[0])
    except ValueError:
        return ip
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
