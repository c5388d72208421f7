"""Calls at a constant rate, whatever the server does: an open loop.

Latency counts from the instant a call was due, not from when a connection was free to send it, so a server
that stalls pays for every call that had to wait meanwhile (no coordinated omission).
"""

from __future__ import annotations

import gc
import select
import socket
import time
from collections import deque
from dataclasses import dataclass
from statistics import quantiles

CONNECTIONS = 128
GIVE_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class Latencies:
    """What callers saw, in milliseconds; `late_ms` is the 99th percentile of our own delay."""

    p50_ms: float
    p99_ms: float
    late_ms: float
    fault: str = ""


class _Load:
    """All connections of one run. One call at a time on each."""

    def __init__(self, port: int, request: bytes, ends_with: bytes) -> None:
        self._request = request
        self._ends_with = ends_with
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._free: deque[int] = deque()
        self._due: dict[int, float] = {}  # when the call under way on a connection was due
        self._answers: dict[int, bytes] = {}
        self.latencies: list[float] = []
        self.delays: list[float] = []
        self.fault = ""
        self._blocked = False
        for _ in range(CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
            self._sockets[connection.fileno()] = connection
            self._free.append(connection.fileno())
            self._poll.register(connection, select.EPOLLIN)

    def run(self, rate: float, seconds: float) -> None:
        """Call `rate` times a second, evenly; ends when all answers are there or something is wrong."""
        count = int(rate * seconds)
        began = time.perf_counter()
        number = 0
        while (number < count or self._due) and not self.fault:
            now = time.perf_counter()
            while number < count and (due := began + number / rate) <= now and self._free:
                self._send(due, now)
                number += 1
            # Calls that wait for a connection are late because of the server, not because of us.
            self._blocked = not self._free
            self._receive(self._patience(began + number / rate, waiting=number < count))
            if now - began > seconds + GIVE_UP_S:
                self.fault = f"{count - len(self.latencies)} of {count} calls not answered"

    def _patience(self, due: float, *, waiting: bool) -> float:
        if not waiting:
            return GIVE_UP_S
        return max(0.0, due - time.perf_counter()) if self._free else 0.05

    def _send(self, due: float, now: float) -> None:
        number = self._free.popleft()
        self._due[number] = due
        if not self._blocked:
            self.delays.append(now - due)
        sent = self._sockets[number].send(self._request)
        if sent != len(self._request):
            self.fault = "a request did not fit into the socket"

    def _receive(self, patience_s: float) -> None:
        # epoll rounds its patience up to milliseconds; select on the epoll itself takes microseconds.
        if not select.select([self._poll], [], [], patience_s)[0]:
            return
        for number, _ in self._poll.poll(0):
            try:
                data = self._sockets[number].recv(65536)
            except ConnectionError:
                data = b""
            if not data or number not in self._due:
                self.fault = "a connection was closed"
                return
            answer = self._answers.pop(number, b"") + data
            if not answer.startswith(b"HTTP/1.1 2"):
                self.fault = f"an answer began with {answer[:12]!r}"
                return
            if answer.endswith(self._ends_with):
                self.latencies.append(time.perf_counter() - self._due.pop(number))
                self._free.append(number)
            else:
                self._answers[number] = answer

    def close(self) -> None:
        self._poll.close()
        for connection in self._sockets.values():
            connection.close()


def load(port: int, request: bytes, ends_with: bytes, rate: float, seconds: float) -> Latencies:
    """Make the same call at a constant rate; every answer must be a 2xx whose body ends as given."""
    running = _Load(port, request, ends_with)
    gc.disable()
    try:
        running.run(rate, seconds)
    except OSError as error:
        running.fault = f"{error.strerror or error}"
    finally:
        gc.enable()
        running.close()
    if running.fault or len(running.latencies) < 100:
        return Latencies(0, 0, 0, running.fault or "too few calls")
    found = quantiles(running.latencies, n=100)
    return Latencies(found[49] * 1e3, found[98] * 1e3, _last_percent(running.delays) * 1e3)


def _last_percent(figures: list[float]) -> float:
    return quantiles(figures, n=100)[98] if len(figures) > 1 else 0.0
