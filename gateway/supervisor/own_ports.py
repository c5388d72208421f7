"""No upstream may be the gateway: private ports and sockets are private, the public one would go round."""

from __future__ import annotations

import ipaddress
import os
import socket
from pathlib import Path

from gateway.policy.check_upstreams import Objection
from gateway.policy.target_texts import TargetParts
from gateway.settings import Address, Settings
from gateway.storage.embedded import EmbeddedPostgres, EmbeddedRedis
from gateway.storage.postgres import places_of
from gateway.storage.redis import parse_address

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


POSTGRES_SOCKET = ".s.PGSQL."
"""How the name of every PostgreSQL server's socket begins."""


def own_ports_objection(settings: Settings) -> Objection:
    """Says what is wrong with a target that leads to a port or socket of the gateway with these `settings`.

    Nor may it lead to the PostgreSQL or Redis of the gateway, on whatever machine. Ports must be real ones.
    Names are looked up only if the port is one of ours, so a slow resolver costs nothing in daily life.
    Workers ask again for what a name or link has become.
    """
    own = {"listen": settings.listen, "control": settings.control, "portal": settings.portal}
    stores = _store_places(settings)

    def objection(target: TargetParts) -> str | None:
        if target.socket:
            return _socket_objection(Path(target.socket), settings)
        for name, address in own.items():
            if target.port == address.port and _leads_to(target.host, address.host):
                return (
                    f"is this gateway itself (--{name} {address}); write the address of the API behind it, "
                    f"or move the gateway with --{name}"
                )
        for title, place in stores:
            if target.port == place.port and _leads_to_store(target.host, place.host):
                return f"is the {title} of this gateway; write the address of the API"
        return None

    return objection


def _store_places(settings: Settings) -> list[tuple[str, Address]]:
    """Where the configured servers listen for TCP. The embedded ones never do."""
    places = []
    if settings.database_url is not None:
        places += [("PostgreSQL", Address(host, port)) for host, port in places_of(settings.database_url)]
    if settings.redis_url is not None:
        redis = parse_address(settings.redis_url)
        if redis.sentinels is not None:
            places += [("Redis", Address(host.lower(), port)) for host, port in redis.sentinels.places]
        elif redis.cluster:
            places += [("Redis", Address(host.lower(), port)) for host, port in redis.cluster]
        elif redis.path is None:
            places.append(("Redis", Address(redis.host.lower(), redis.port)))
    return places


def _leads_to_store(host: str, store: str) -> bool:
    """Whether it is the same name, or one for the same machine."""
    if host == store:
        return True
    targets, stores = _addresses(host), _addresses(store)
    if targets & stores:
        return True
    # A server that we reach at home listens, for all we know, on every address of this machine.
    return any(map(_is_local, stores)) and any(map(_is_local, targets))


def _socket_objection(path: Path, settings: Settings) -> str | None:
    """Callers could speak to what is behind the socket in the gateway's name."""
    mend = "write the socket of the API"
    if _same(path, _redis_socket(settings)):
        return f"is the Redis of this gateway; {mend}"
    if path.name.startswith(POSTGRES_SOCKET) or _same(path, EmbeddedPostgres(settings.data_dir).socket_path):
        return f"is PostgreSQL; {mend}"
    if _real(path).is_relative_to(_real(settings.data_dir)):
        return f"is inside this gateway's data folder, {settings.data_dir}; {mend}, or move it elsewhere"
    return None


def _redis_socket(settings: Settings) -> Path | None:
    if settings.redis_url is None:
        return EmbeddedRedis(settings.data_dir).socket_path
    path = parse_address(settings.redis_url).path
    return Path(path) if path is not None else None


def _same(path: Path, own: Path | None) -> bool:
    """Also under another name: links are followed, and what exists is compared itself."""
    if own is None:
        return False
    try:
        return path.samefile(own)
    except OSError:
        return _real(path) == _real(own)


def _real(path: Path) -> Path:
    """Links followed as far as there is something."""
    return Path(os.path.realpath(path))


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


def _is_local(ip: IpAddress) -> bool:
    return _is_here(ip) or _is_ours(ip)


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
