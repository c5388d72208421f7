"""Ports are taken before anything is started, so that a clash is one clear line."""

from __future__ import annotations

import os
import socket
from dataclasses import replace

from gateway.errors import StartupError
from gateway.settings import Address, Settings


def reserve(settings: Settings) -> tuple[Settings, list[socket.socket]]:
    """Bind the three ports without listening; port 0 becomes a real one. StartupError when one is taken.

    The sockets hold the ports against others as long as they are open; our processes bind beside them with
    SO_REUSEPORT.
    """
    for name, address in (
        ("listen", settings.listen),
        ("control", settings.control),
        ("portal", settings.portal),
    ):
        check_free(name, address)
    listen = _bind("listen", settings.listen, share=True)
    control = _bind("control", settings.control, share=True)
    portal = _bind("portal", settings.portal, share=True)
    real = replace(
        settings,
        listen=Address(settings.listen.host, listen.getsockname()[1]),
        control=Address(settings.control.host, control.getsockname()[1]),
        portal=Address(settings.portal.host, portal.getsockname()[1]),
    )
    return real, [listen, control, portal]


def check_free(name: str, address: Address) -> None:
    """StartupError unless `address` can be bound."""
    if address.port:
        # Without SO_REUSEPORT: another gateway of the same user would let us share its port unnoticed.
        _bind(name, address, share=False).close()


def _bind(name: str, address: Address, *, share: bool) -> socket.socket:
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, _, _, _, target = found[0]
        holder = socket.socket(family, socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise StartupError(f"--{name} {address}: {error.strerror}.") from error
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(target)
    except OSError as error:
        holder.close()
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise StartupError(
            f"--{name} {address} can not be used: {reason}. Choose another with --{name}."
        ) from error
    return holder
