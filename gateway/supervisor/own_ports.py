"""No upstream may be the gateway: private ports are private, and calls to the public one would go round."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable

from gateway.settings import Address, Settings

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


def own_ports_objection(settings: Settings) -> Callable[[str, int], str | None]:
    """Says what is wrong with a target that leads to one of the ports in `settings`, which must be real ones.

    Names are looked up only if the port is one of ours, so a slow resolver costs nothing in daily life. A
    name that leads here only later on is not noticed.
    """
    own = {"listen": settings.listen, "control": settings.control, "portal": settings.portal}

    def objection(host: str, port: int) -> str | None:
        for name, address in own.items():
            if port == address.port and _leads_to(host, address.host):
                return (
                    f"is this gateway itself (--{name} {address}); write the address of the API behind it, "
                    f"or move the gateway with --{name}"
                )
        return None

    return objection


def overlap(one: Address, other: Address) -> bool:
    """Whether two listeners on these addresses would get each other's connections."""
    return one.port == other.port and any(
        mine == its or (mine.version == its.version and (mine.is_unspecified or its.is_unspecified))
        for mine in _addresses(one.host)
        for its in _addresses(other.host)
    )


def _leads_to(host: str, own_host: str) -> bool:
    targets, own = _addresses(host), _addresses(own_host)
    if targets & own:
        return True
    if not any(_is_here(ip) for ip in own):
        return False  # bound to one address of a network card, and that is not the target
    return any(_is_here(ip) or (_everywhere(own) and _is_ours(ip)) for ip in targets)


def _is_here(ip: IpAddress) -> bool:
    """Loopback by any of its names; connecting to the unspecified address leads there as well."""
    return ip.is_loopback or ip.is_unspecified


def _everywhere(own: set[IpAddress]) -> bool:
    return any(ip.is_unspecified for ip in own)


def _is_ours(ip: IpAddress) -> bool:
    """Whether a network card of this machine has the address: only those can be bound."""
    family = socket.AF_INET if ip.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(ip), 0))
    except OSError:
        return False
    return True


def _addresses(host: str) -> set[IpAddress]:
    """What a host stands for, IPv4 in IPv6 unwrapped; nothing if it is unknown."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        return set()
    return {_unwrapped(ipaddress.ip_address(text.partition("%")[0])) for text in found}


def _unwrapped(ip: IpAddress) -> IpAddress:
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip
