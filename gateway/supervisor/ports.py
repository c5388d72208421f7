"""Ports are taken before anything is started, so that a clash is one clear line."""

from __future__ import annotations

import itertools
import os
import socket
from dataclasses import replace
from typing import Any

from gateway.errors import StartupError
from gateway.settings import PREFIX, Address, Settings
from gateway.supervisor.own_ports import overlap

Found = tuple[socket.AddressFamily, tuple[Any, ...]]
"""A family and where to bind in it."""


def reserve(settings: Settings) -> tuple[Settings, list[socket.socket]]:
    """Bind the three ports without listening; port 0 becomes a real one. StartupError when one is taken.

    The sockets hold the ports against others as long as they are open; our processes bind beside them with
    SO_REUSEPORT.
    """
    asked = {"listen": settings.listen, "control": settings.control, "portal": settings.portal}
    for (one, first), (other, second) in itertools.combinations(asked.items(), 2):
        # With SO_REUSEPORT the kernel would deal customers' calls out to both.
        if first.port and overlap(first, second):
            raise StartupError(f"--{other} {second} is already taken by --{one} {first}. {_mend(other)}")
    for name, address in asked.items():
        check_free(f"--{name} {address}", address, _mend(name))
    listen, control, portal = (_hold(name, address) for name, address in asked.items())
    real = replace(
        settings,
        listen=Address(settings.listen.host, listen.getsockname()[1]),
        control=Address(settings.control.host, control.getsockname()[1]),
        portal=Address(settings.portal.host, portal.getsockname()[1]),
    )
    return real, [listen, control, portal]


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
    except OSError as error:
        holder.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartupError(f"{title} can not be used: {reason}. {mend}") from error
    return holder
