"""How fast a caller takes what it asked for, and when it was last heard of, as far as the kernel knows."""

from __future__ import annotations

import asyncio
import fcntl
import math
import socket
import struct
import termios
from asyncio import Transport
from contextlib import suppress

from gateway.pace import Pace

_LAST_DATA_RECV = struct.Struct("52xI")
"""Of Linux's `struct tcp_info`: milliseconds since the last data came."""


class Uptake:
    """Looks at a caller only while it holds us up."""

    __slots__ = ("_pace", "_taken_bytes", "_unsent_bytes")

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._taken_bytes = 0
        self._unsent_bytes: int | None = None  # when last looked at; None: it did not hold us up

    def deadline(self, now: float, unsent: int) -> float:
        """Until when it has to have taken more, when so much is left."""
        self._look(unsent)
        return self._pace.deadline(now, self._taken_bytes)

    def caught_up(self, now: float, unsent: int) -> None:
        """It does not hold us up any more."""
        if self._unsent_bytes is not None:
            self._look(unsent)
            self._unsent_bytes = None
            self._pace.deadline(now, self._taken_bytes, paused=True)

    def _look(self, unsent: int) -> None:
        if self._unsent_bytes is not None:
            self._taken_bytes += max(0, self._unsent_bytes - unsent)
        self._unsent_bytes = unsent


def unsent_bytes(transport: Transport) -> int:
    """What has been written and has not arrived: held by us and, where the system tells, by the kernel.

    The kernel's part may be megabytes: whoever reads slowly takes from there for minutes.
    """
    count = transport.get_write_buffer_size()
    plug = transport.get_extra_info("socket")
    if plug is not None:
        with suppress(OSError, ValueError):  # closed meanwhile, or a system that does not tell
            count += struct.unpack("i", fcntl.ioctl(plug.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
    return count


def unread_bytes(transport: asyncio.Transport) -> int:
    """What the kernel has received for us and we have not read."""
    plug = transport.get_extra_info("socket")
    if plug is not None:
        with suppress(OSError, ValueError):  # closed meanwhile
            return int(struct.unpack("i", fcntl.ioctl(plug.fileno(), termios.FIONREAD, bytes(4)))[0])
    return 0


def quiet_s(transport: asyncio.Transport) -> float:
    """For how long nothing has come from the other end; infinite where the system does not tell."""
    plug = transport.get_extra_info("socket")
    if plug is not None:
        with suppress(OSError, ValueError, AttributeError, struct.error):  # as above, or no TCP
            info = plug.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV.size)
            return int(_LAST_DATA_RECV.unpack(info)[0]) / 1000
    return math.inf
