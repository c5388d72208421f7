"""Ten thousand idle keep-alive connections: memory of each, and what it costs to keep them."""

from __future__ import annotations

import resource
import socket
import time
from dataclasses import dataclass
from functools import partial

from bench.candidate import Candidate, request_bytes
from bench.machine import BenchError, cpu_s, resident_bytes
from bench.report import markdown, row, void
from bench.rounds import say, take_turns
from bench.wire import connect, read_body, read_good_head

NAME = "idle"
ROUNDS = 1
CONNECTIONS = 10_000
SPARE_FILES = 200
HEAD = ("server", "memory per connection", "kept after they closed", "CPU of keeping them")


@dataclass(frozen=True, slots=True)
class Kept:
    """What the connections cost while nothing was sent."""

    bytes_each: float = 0.0
    bytes_after: int = 0
    cpu_share: float = 0.0
    fault: str = ""


def run(candidates: list[Candidate], rounds: int, seconds: int) -> str:
    """Markdown. Only the first round means something: memory is not given back, later rounds reuse it."""
    del rounds
    count = min(CONNECTIONS, _files() - SPARE_FILES)
    results = take_turns(NAME, candidates, 1, partial(_measured, count=count, seconds=max(2, seconds)))
    rows = [_row(name, found[0]) for name, found in results.items()]
    method = (
        f"{count:,} connections, one call on each, then idle; resident memory of the process, without the "
        "kernel's. nginx and HAProxy set part of theirs aside at the start, which is not counted."
    )
    return f"### Idle connections\n\n{method}\n\n{markdown(HEAD, rows)}"


def _files() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _measured(candidate: Candidate, count: int, seconds: int) -> Kept:
    connections: list[socket.socket] = []
    request = request_bytes(candidate)
    before = resident_bytes(*candidate.pids)
    try:
        for number in range(count):
            connection = connect(candidate.port)
            connections.append(connection)
            connection.sendall(request)
            read_body(connection, *read_good_head(connection))
            if number % 1000 == 0:
                say(f"{NAME}: {candidate.name}, {number} connections")
        full = resident_bytes(*candidate.pids)
        used = cpu_s(*candidate.pids)
        time.sleep(seconds)
        share = (cpu_s(*candidate.pids) - used) / seconds
        connections[0].sendall(request)  # still there?
        read_body(connections[0], *read_good_head(connections[0]))
    except (BenchError, OSError) as error:
        return Kept(fault=f"connection {len(connections)}: {error}")
    finally:
        for connection in connections:
            connection.close()
    time.sleep(1)
    return Kept((full - before) / count, resident_bytes(*candidate.pids) - before, share)


def _row(name: str, kept: Kept) -> str:
    if kept.fault:
        return void(name, [kept.fault], len(HEAD) - 1)
    return row(
        name,
        f"{kept.bytes_each / 1000:.1f} KB",
        f"{kept.bytes_after / 1e6:.1f} MB",
        f"{kept.cpu_share * 100:.1f} %",
    )
