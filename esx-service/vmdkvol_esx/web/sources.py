"""From where somebody asks: which addresses are one neighbour's. Pure."""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def neighbourhood(source: str) -> str:
    """Return the address, of IPv6 its network: one machine has all addresses of it."""
    try:
        address = ip_address(source)
    except ValueError:
        return source
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(int(address) >> 64)
    return source
