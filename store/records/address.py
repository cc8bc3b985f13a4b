"""Addresses of machines, written as numbers: what they say by themselves, with nobody asked."""

from ipaddress import IPv4Address, IPv6Address, ip_address


def parsed(host: str) -> IPv4Address | IPv6Address:
    """An address; one of IPv4 in the clothes of IPv6 is what it is. Raises ValueError for a name."""
    address = ip_address(host)
    return getattr(address, "ipv4_mapped", None) or address


def is_loopback(host: str) -> bool:
    """Whether this is the address of the machine itself, written as a number: a name, `localhost` too, may come to mean
    another."""
    try:
        return parsed(host).is_loopback
    except ValueError:
        return False
