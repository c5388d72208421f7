"""One gigabyte down and one up through each server: CPU, speed, and how much memory grew meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median

from bench.candidate import STREAMS, Candidate, request_bytes
from bench.machine import BenchError, cpu_s, forget_peak, peak_bytes, resident_bytes
from bench.report import markdown, median_ratio, row, void
from bench.rounds import take_turns
from bench.wire import connect, read_body, read_good_head

NAME = "bodies"
ROUNDS = 2
GIGABYTE = 1_000_000_000
PIECE = memoryview(bytes(1_000_000))
HEAD = ("server", "way", "CPU per GB", "ratio to nginx", "MB/s", "peak memory above idle")


@dataclass(frozen=True, slots=True)
class Transfer:
    """One gigabyte one way."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    grown_bytes: int = 0
    fault: str = ""


def run(candidates: list[Candidate], rounds: int, seconds: int) -> str:
    """Markdown. `seconds` means nothing here: it takes as long as it takes."""
    del seconds
    rows: list[str] = []
    for way, transfer in (("down", _download), ("up", _upload)):
        results = take_turns(f"1 GB {way}", candidates, rounds, partial(_measured, transfer=transfer))
        base = next(iter(results.values()))
        rows += [_row(name, way, found, base) for name, found in results.items()]
    method = f"One connection, {rounds} interleaved rounds; medians, memory the most of all rounds."
    return f"### 1 GB bodies\n\n{method}\n\n{markdown(HEAD, rows)}"


def _measured(candidate: Candidate, transfer: Callable[[Candidate], None]) -> Transfer:
    forget_peak(*candidate.pids)
    idle = resident_bytes(*candidate.pids)
    before, began = cpu_s(*candidate.pids), time.perf_counter()
    try:
        transfer(candidate)
    except (BenchError, OSError) as error:
        return Transfer(fault=str(error))
    return Transfer(
        cpu_s=cpu_s(*candidate.pids) - before,
        wall_s=time.perf_counter() - began,
        grown_bytes=peak_bytes(*candidate.pids) - idle,
    )


def _download(candidate: Candidate) -> None:
    buffer = bytearray(1_000_000)
    with connect(candidate.port) as connection:
        connection.sendall(request_bytes(candidate, f"{STREAMS}/download/{GIGABYTE}"))
        length, rest = read_good_head(connection)
        got = len(rest)
        while got < GIGABYTE and (count := connection.recv_into(buffer)):
            got += count
    if got != GIGABYTE or length != GIGABYTE:
        raise BenchError(f"{got} of {GIGABYTE} bytes came back")


def _upload(candidate: Candidate) -> None:
    length_line = f"Content-Length: {GIGABYTE}\r\n"
    with connect(candidate.port) as connection:
        connection.sendall(request_bytes(candidate, f"{STREAMS}/upload", "POST", length_line))
        for _ in range(GIGABYTE // len(PIECE)):
            connection.sendall(PIECE)
        length, rest = read_good_head(connection)
        counted = read_body(connection, length, rest)
    if counted != b"%d" % GIGABYTE:
        raise BenchError(f"the upstream counted {counted!r} of {GIGABYTE} bytes")


def _row(name: str, way: str, found: list[Transfer], base: list[Transfer]) -> str:
    faults = {one.fault for one in (*found, *base) if one.fault}
    if faults:
        return void(name, faults, len(HEAD) - 1)
    return row(
        name,
        way,
        f"{median(one.cpu_s for one in found):.2f} s",
        f"{median_ratio([one.cpu_s for one in found], [one.cpu_s for one in base]):.2f}",
        f"{GIGABYTE / 1e6 / median(one.wall_s for one in found):,.0f}",
        f"{max(one.grown_bytes for one in found) / 1e6:.1f} MB",
    )
