"""Short WebSocket messages echoed through each server: CPU per message."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.candidate import STREAMS, Candidate, request_bytes
from bench.machine import BenchError, cpu_s
from bench.report import markdown, median_ratio, row, void
from bench.rounds import take_turns
from bench.wire import connect, read_head

NAME = "websocket"
ROUNDS = 4
CONNECTIONS = 64
PAYLOAD = b"m" * 84
SENT = bytes((0x82, 0x80 | len(PAYLOAD))) + bytes(4) + PAYLOAD  # one binary message, masked with zeros
ECHOED = bytes((0x82, len(PAYLOAD))) + PAYLOAD
HEAD = ("server", "CPU per message and echo", "ratio to nginx", "echoes/s")

_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


@dataclass(frozen=True, slots=True)
class Echoes:
    """One round."""

    cpu_us: float = 0.0
    per_s: float = 0.0
    fault: str = ""


def run(candidates: list[Candidate], rounds: int, seconds: int) -> str:
    """Markdown."""
    results = take_turns(NAME, candidates, rounds, partial(_measured, seconds=seconds))
    base = next(iter(results.values()))
    rows = [_row(name, found, base) for name, found in results.items()]
    method = (
        f"{rounds} interleaved rounds of {seconds} s, {CONNECTIONS} connections with one message of "
        f"{len(PAYLOAD)} bytes under way on each; medians. echoes/s are bounded by the client, which shares "
        "a core with the upstream."
    )
    return f"### WebSocket echo\n\n{method}\n\n{markdown(HEAD, rows)}"


def _measured(candidate: Candidate, seconds: int) -> Echoes:
    connections: dict[int, socket.socket] = {}
    try:
        for _ in range(CONNECTIONS):
            connection = _switched(candidate)
            connections[connection.fileno()] = connection
        before, began = cpu_s(*candidate.pids), time.perf_counter()
        count = _echo(connections, began + seconds)
        used, took = cpu_s(*candidate.pids) - before, time.perf_counter() - began
    except (BenchError, OSError) as error:
        return Echoes(fault=str(error))
    finally:
        for connection in connections.values():
            connection.close()
    return Echoes(cpu_us=used * 1e6 / count, per_s=count / took)


def _switched(candidate: Candidate) -> socket.socket:
    connection = connect(candidate.port)
    connection.sendall(request_bytes(candidate, f"{STREAMS}/echo", extra=_UPGRADE))
    head, rest = read_head(connection)
    if not head.startswith(b"HTTP/1.1 101") or rest:
        connection.close()
        raise BenchError(f"the answer to an upgrade began with {head[:40]!r}")
    return connection


def _echo(connections: dict[int, socket.socket], until: float) -> int:
    """One message is always under way on each connection; how many came back, each as it was sent."""
    count = 0
    came = dict.fromkeys(connections, b"")
    with select.epoll() as poll:
        for number, connection in connections.items():
            poll.register(number, select.EPOLLIN)
            connection.sendall(SENT)
        while time.perf_counter() < until:
            for number, _ in poll.poll(5) or [(-1, 0)]:
                data = came[number] + connections[number].recv(4096) if number in came else b""
                if not data or not ECHOED.startswith(data):
                    raise BenchError("an echo is missing or was changed")
                if data == ECHOED:
                    count += 1
                    data = b""
                    connections[number].sendall(SENT)
                came[number] = data
    return count


def _row(name: str, found: list[Echoes], base: list[Echoes]) -> str:
    faults = {one.fault for one in (*found, *base) if one.fault}
    if faults:
        return void(name, faults, len(HEAD) - 1)
    return row(
        name,
        f"{median(one.cpu_us for one in found):.1f} us",
        f"{median_ratio([one.cpu_us for one in found], [one.cpu_us for one in base]):.2f}",
        f"{median(one.per_s for one in found):,.0f}",
    )
