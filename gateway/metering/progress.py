"""Notes how far long calls are: what had flowed is known even if the worker is killed."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.metering.meter import Meter
from gateway.model.exchange import Exchange


class _Noted:
    """What the journal has of one long call."""

    __slots__ = ("due_us", "flowed", "segment")

    def __init__(self, due_us: int) -> None:
        self.due_us = due_us
        self.flowed = (-1, 0, 0, 0, 0)
        self.segment = 0


class LongCallNotes:
    """Writes the progress of each long call every `interval_s`, beginning so long after its start.

    A call in which nothing flows is noted once, and again when the journal has gone on to another segment:
    so no open call holds on to older ones, and a thousand silent tunnels write nothing.
    """

    def __init__(self, meter: Meter, interval_s: float) -> None:
        self._meter = meter
        self._interval_us = round(interval_s * 1_000_000)
        self._noted: dict[int, _Noted] = {}

    def note(self, calls: Iterable[Exchange], now_us: int) -> None:
        """`calls`: all long calls of the worker that have begun; others are forgotten. Monotonic `now_us`."""
        before, self._noted = self._noted, {}
        for exchange in calls:
            noted = before.get(exchange.sequence)
            if noted is None:
                noted = _Noted(exchange.started_monotonic_us + self._interval_us)
            self._noted[exchange.sequence] = noted
            if noted.due_us <= now_us:
                noted.due_us = now_us + self._interval_us
                self._write(exchange, noted, now_us)

    def _write(self, exchange: Exchange, noted: _Noted, now_us: int) -> None:
        conversation = exchange.conversation
        messages = (
            (0, 0) if conversation is None else (conversation.ingress.messages, conversation.egress.messages)
        )
        flowed = (exchange.status, exchange.ingress_bytes, exchange.egress_bytes, *messages)
        if flowed == noted.flowed and noted.segment == self._meter.segment:
            return
        started_us, answered_us = exchange.started_monotonic_us, exchange.answered_at_us
        times = (now_us - started_us, answered_us - started_us if answered_us else 0)
        if self._meter.progress(exchange, (*flowed[:3], *times, *messages)):
            noted.flowed, noted.segment = flowed, self._meter.segment
