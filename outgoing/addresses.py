"""Which addresses belong to the open internet.

The rules are those of runpod 1.12's rp_ssrf, and where that stops: none of the IPv6 ranges that carry an IPv4 address
inside (6to4, NAT64, Teredo, mapped).
"""

from __future__ import annotations

import ipaddress

_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared address space, RFC 6598; is_private only since CPython 3.12.4
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "::/96",  # IPv4-compatible
        "::ffff:0:0/96",  # IPv4-mapped
        "::ffff:0:0:0/96",  # IPv4-translated
        "64:ff9b::/96",  # NAT64
        "64:ff9b:1::/48",  # local NAT64
        "2001::/32",  # Teredo
        "2002::/16",  # 6to4
        "fec0::/10",  # site-local
    )
)


def is_public(address: str) -> bool:
    """Whether an address belongs to one machine on the open internet and to nothing else."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if any(parsed in network for network in _REFUSED_NETWORKS if network.version == parsed.version):
        return False
    return parsed.is_global and not (parsed.is_multicast or parsed.is_reserved or parsed.is_unspecified)


def is_any(_: str) -> bool:
    """For what the operator configured: a bucket on their own network, a language model on this machine."""
    return True
