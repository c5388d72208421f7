"""Ports are taken before anything is started, so that a clash is one clear line."""

from __future__ import annotations

import itertools
import os
import socket
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import StartupError
from gateway.settings import PREFIX, Address, Settings
from gateway.supervisor.own_ports import overlap

Found = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family and where to bind in it."""


@dataclass(frozen=True, slots=True)
class Ports:
    """What is ours: `settings` with real port numbers, the public port's posts, holders of the others."""

    settings: Settings
    posts: tuple[tuple[socket.socket, ...], ...]
    held: tuple[socket.socket, ...]


def reserve(settings: Settings) -> Ports:
    """Bind the three ports without listening; port 0 becomes a real one. StartupError when one is taken.

    Of the public port, each worker gets sockets of its own. The others' hold the port as long as they are
    open; the control process binds beside them. All with SO_REUSEPORT.
    """
    asked = {"listen": settings.listen, "control": settings.control, "portal": settings.portal}
    for (one, first), (other, second) in itertools.combinations(asked.items(), 2):
        # With SO_REUSEPORT the kernel would deal customers' calls out to both.
        if first.port and overlap(first, second):
            raise StartupError(f"--{other} {second} is already taken by --{one} {first}. {_mend(other)}")
    for name, address in asked.items():
        check_free(f"--{name} {address}", address, _mend(name))
    first_post = _post("listen", settings.listen)
    listen = _with_port(settings.listen, first_post[0])
    posts = (first_post, *(_post("listen", listen) for _ in range(1, settings.workers)))
    control, portal = _hold("control", settings.control), _hold("portal", settings.portal)
    real = replace(
        settings,
        listen=listen,
        control=_with_port(settings.control, control),
        portal=_with_port(settings.portal, portal),
    )
    return Ports(real, posts, (control, portal))


def _post(name: str, address: Address) -> tuple[socket.socket, ...]:
    """A socket for each address of a name, all with the same port."""
    title, mend = f"--{name} {address}", _mend(name)
    sockets: list[socket.socket] = []
    for family, (host, asked, *rest) in _resolve(title, address, mend):
        port = asked or (sockets[0].getsockname()[1] if sockets else 0)
        sockets.append(_bind(title, (family, (host, port, *rest)), mend, share=True))
    return tuple(sockets)


def _with_port(address: Address, bound: socket.socket) -> Address:
    return Address(address.host, bound.getsockname()[1])


def check_free(title: str, address: Address, mend: str) -> None:
    """StartupError unless `address` can be bound, all of a name's; it says what, why and how to mend it."""
    if address.port:
        for found in _resolve(title, address, mend):
            # Without SO_REUSEPORT: another gateway of the same user would let us share its port unnoticed.
            _bind(title, found, mend, share=False).close()


def _hold(name: str, address: Address) -> socket.socket:
    title, mend = f"--{name} {address}", _mend(name)
    return _bind(title, _resolve(title, address, mend)[0], mend, share=True)


def _mend(name: str) -> str:
    return f"Choose another with --{name} or {PREFIX}{name.upper()}."


def _resolve(title: str, address: Address, mend: str) -> list[Found]:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "this is not a host name"
        raise StartupError(f"{title} can not be used: {reason}. {mend}") from error
    return [(family, target) for family, _, _, _, target in found]


def _bind(title: str, found: Found, mend: str, *, share: bool) -> socket.socket:
    family, target = found
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as our listeners do
        if share:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(target)
        holder.setblocking(False)
    except OSError as error:
        holder.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartupError(f"{title} can not be used: {reason}. {mend}") from error
    return holder
