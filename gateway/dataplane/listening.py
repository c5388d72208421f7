"""The public port's listening sockets: attended by a worker, kept by the supervisor.

A listening socket that is closed resets the connections that wait in its queue: made by their callers, not
yet seen by us. So ours outlive the workers. Each worker has a post: one socket per address of the port, with
SO_REUSEPORT beside those of the other workers. Whoever comes next to a post finds its queue as it was.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import select
import socket
import struct
from collections.abc import Callable, Collection, Sequence

log = logging.getLogger("tollway.dataplane")

BACKLOG = 1024
HANDSHAKE_S = 0.25
"""For connections that were being made when the port was muted: a round trip or two."""
QUEUE_S = 1.0
"""The longest that a muted queue is given to be accepted."""

Post = Sequence[socket.socket]


class Listeners:
    """The posts that this worker attends: its own, and those of workers that are not there."""

    def __init__(self, posts: Sequence[Post], make: Callable[[], asyncio.BaseProtocol]) -> None:
        """`make` gives a protocol for each socket that is accepted."""
        self._posts = posts
        self._make = make
        self._attended: dict[int, list[asyncio.Server]] = {}

    async def attend(self, number: int) -> None:
        """Accept what comes to this post. Again changes nothing."""
        if number in self._attended:
            return
        servers = self._attended[number] = []
        for listening in self._posts[number]:
            server = await asyncio.get_running_loop().create_server(
                self._make,
                sock=listening.dup(),  # the server closes what it was given
                backlog=BACKLOG,
            )
            servers.append(server)

    def leave(self, number: int) -> None:
        """Accept nothing more at this post; what waits there is for whoever attends it next."""
        for server in self._attended.pop(number, ()):
            server.close()

    async def attend_only(self, numbers: Collection[int]) -> None:
        """Attend these posts and no other."""
        for number in list(self._attended):
            if number not in numbers:
                self.leave(number)
        for number in numbers:
            await self.attend(number)

    def leave_all(self) -> None:
        """Accept nothing more."""
        for number in list(self._attended):
            self.leave(number)

    async def close(self) -> None:
        """The port is given up: accept what waits, let nobody new wait, then close it."""
        for post in self._posts:
            for listening in post:
                mute(listening)
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + HANDSHAKE_S + QUEUE_S
        await asyncio.sleep(HANDSHAKE_S)
        while self._is_waited_for() and loop.time() < give_up_at:  # noqa: ASYNC110  the kernel has no event
            await asyncio.sleep(0)  # each turn of the loop accepts
        self.leave_all()
        for post in self._posts:
            for listening in post:
                listening.close()

    def _is_waited_for(self) -> bool:
        return any(_has_waiting(one) for number in self._attended for one in self._posts[number])


def _has_waiting(listening: socket.socket) -> bool:
    poll = select.poll()
    poll.register(listening, select.POLLIN)
    return bool(poll.poll(0))


_SO_ATTACH_FILTER = 26
_SYN_WITHOUT_ACK = 0x02
_SYN_AND_ACK = 0x12
_FLAGS_AT = 13
_FILTER = b"".join(
    struct.pack("HBBI", *instruction)
    for instruction in (
        (0x30, 0, 0, _FLAGS_AT),  # load the flags of the TCP header
        (0x54, 0, 0, _SYN_AND_ACK),  # of these, only the two
        (0x15, 0, 1, _SYN_WITHOUT_ACK),  # a connection that begins?
        (0x06, 0, 0, 0),  # drop it
        (0x06, 0, 0, 0xFFFFFFFF),  # anything else passes
    )
)


def mute(listening: socket.socket) -> None:
    """Let no new connection begin, without breaking those that have: their queue can be emptied for good.

    For all processes that share the socket. Callers' kernels try again after a second, when the port is
    closed, or another gateway's. A system without such filters may lose what comes in the last instant.
    """
    program = ctypes.create_string_buffer(_FILTER, len(_FILTER))
    count = len(_FILTER) // 8
    try:
        listening.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", count, ctypes.addressof(program))
        )
    except OSError as error:
        log.debug("the public port could not be muted", extra={"error": error.strerror})
