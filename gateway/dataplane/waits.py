"""How long a caller may take: which wait is on, whether there is room for more, and what ends it."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from dataclasses import dataclass

from gateway.dataplane.reading import ReadingProtocol
from gateway.dataplane.uptake import Uptake, unsent_bytes
from gateway.deadlines import NEVER
from gateway.errors import RequestTimeout
from gateway.model.policies import Route
from gateway.outbox import Outbox
from gateway.pace import Pace


@dataclass(frozen=True, slots=True)
class Waits:
    """How long a caller may take, in seconds; how large a head may be, and how many connections there are."""

    head_s: float = 10.0
    body_s: float = 30.0
    min_bytes_per_s: int = 240  # of a body, and of an answer that is read, on average over `body_s`
    keepalive_s: float = 75.0
    max_head_bytes: int = 65536
    max_connections: int = 20_000
    max_connections_per_address: int = 4096


class TimedProtocol(ReadingProtocol):
    """Watches the clock and both directions' room. What is handled when is decided on top of it."""

    def __init__(self, outbox: Outbox, waits: Waits) -> None:
        super().__init__(outbox, waits.max_head_bytes)
        self.deadline = NEVER
        self._waits = waits
        self._loop = asyncio.get_running_loop()
        self._upload_paused = False
        self._reading_paused = False
        self._awaits_turn = False  # others with large pieces are read first
        self._uptake: Uptake | None = None  # of a caller that has been seen not to read
        self._paced_route: Route | None = None  # whose answer that was
        self._last_route: Route | None = None  # whose answer has been written

    @abstractmethod
    def _advance(self) -> None:
        """Go on with whatever can go on now."""

    # -- reading from the caller --------------------------------------------------------------------------

    def _set_wait(self) -> None:
        """Which wait is on now, and whether there is room for more bytes."""
        if self._deaf:
            return
        paused = self._held_back() or self._awaits_turn or bool(self._waiting or self._unfed)
        paused = paused or bool(self._stalled and self.exchange is None)
        if self._reading_paused or paused:
            self._pause_reading(paused=paused)
        if self._stalled:
            return  # the wait for the caller to read goes on
        if (incoming := self._incoming) is not None:
            pace = incoming.pace = incoming.pace or self._pace_on(incoming.route)
            paused = paused or incoming.holds_back
            self.deadline = pace.deadline(self._loop.time(), incoming.ingress_bytes, paused=paused)
        elif self.exchange is not None:
            return  # the upstream's side watches it; a deadline that passes meanwhile means nothing
        elif self._head_bytes and self.deadline > (latest := self._loop.time() + self._waits.head_s):
            self.deadline = latest

    def _pace_on(self, route: Route | None) -> Pace:
        rate = route.min_bytes_per_s if route is not None else None
        return Pace(self._waits.body_s, self._waits.min_bytes_per_s if rate is None else rate)

    def _pause_reading(self, *, paused: bool) -> None:
        if paused is not self._reading_paused and not self.transport.is_closing():
            self._reading_paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def _held_back(self) -> bool:
        incoming = self._incoming
        return self._upload_paused or (
            incoming is not None and incoming.uplink is None and bool(incoming.body_parts)
        )

    def pause_upload(self) -> None:
        self._upload_paused = True
        self._set_wait()

    def resume_upload(self) -> None:
        self._upload_paused = False
        self._advance()

    # -- writing to the caller ----------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """The caller reads slower than the upstream writes."""
        self._stalled = True
        self.deadline = self._loop.time()  # looked at in the next sweep: mostly it has read on by then
        if self.exchange is not None and self.exchange.uplink is not None:
            self.exchange.uplink.pause_answer()

    def resume_writing(self) -> None:
        self._stalled = False
        now = self._loop.time()
        if self._uptake is not None:
            self._uptake.caught_up(now, unsent_bytes(self.transport))
        if self.exchange is None or self.transport.is_closing():
            self.deadline = now + (self._waits.body_s if self._deaf else self._waits.keepalive_s)
        else:
            self.deadline = NEVER
            if self.exchange.uplink is not None:
                self.exchange.uplink.resume_answer()
        self._advance()

    # -- when it is over ------------------------------------------------------------------------------------

    def expire(self) -> None:
        """Deadlines: the caller took too long."""
        if self._stalled:
            self._watch_reader()
        elif self._waits_for_us():
            return
        elif self._deaf:
            self.transport.abort()  # it has been told and does not leave
        elif self._incoming is not None or self._head_bytes:
            self._refuse_unread(RequestTimeout())
            self._advance()
        elif self.transport.get_write_buffer_size():
            self.transport.abort()
        else:
            self.transport.close()

    def _waits_for_us(self) -> bool:
        """Whether a call is at hand, and not we wait for its caller. Who has ended its side waits no more."""
        call = self.exchange is not None and (self._deaf or self._incoming is None)
        return call and not self.transport.is_closing()

    def _watch_reader(self) -> None:
        """Cut a caller that reads too slowly; in a tunnel only one that reads nothing at all."""
        route = self._last_route if self.exchange is None else self.exchange.route
        if self._uptake is None or route is not self._paced_route:
            is_tunnel = self.exchange is not None and self.exchange.status == 101
            self._paced_route = route
            self._uptake = Uptake(Pace(self._waits.body_s, 0) if is_tunnel else self._pace_on(route))
        now = self._loop.time()
        self.deadline = self._uptake.deadline(now, unsent_bytes(self.transport))
        if self.deadline <= now:
            self.abort()  # what the kernel still holds is dropped, too
