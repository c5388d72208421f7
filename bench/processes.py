"""Starts one program, waits until it listens, and stops it whatever happens."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from bench.machine import BenchError, free_port, pin, wait_for_port, wait_for_socket

STOP_S = 60
STOPS = (signal.SIGINT, signal.SIGTERM)
SAID_CHARACTERS = 2000
"""Of a program's output: all are told to be quiet, so what there is tells why a row is void."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a candidate lives: its folder, the cores it is measured on, and what it stands in front of."""

    folder: Path
    cores: tuple[int, ...]
    upstream: int  # port: answers at once
    streams: int  # port: bodies of any size and a WebSocket echo

    def pin(self, pids: tuple[int, ...]) -> None:
        """One core each, as far as they go."""
        for number, pid in enumerate(pids):
            pin(pid, self.cores[number % len(self.cores)])


@contextmanager
def server(
    folder: Path,
    name: str,
    command: list[str],
    listens_on: int | Path,
    environ: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """The running program. BenchError when it does not come to listen. Shows what it printed at its end."""
    if isinstance(listens_on, int):
        free_port(listens_on)
    log = folder / f"{name}.out"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environ, cwd=_above_bench())
    try:
        try:
            if isinstance(listens_on, int):
                wait_for_port(listens_on)
            else:
                wait_for_socket(listens_on)
        except BenchError as error:
            raise BenchError(f"{name} did not start: {error}") from error
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if said := log.read_text(errors="replace").strip():
            print(f"\n{name} said: {said[-SAID_CHARACTERS:]}", file=sys.stderr)


def _above_bench() -> Path:
    return Path(__file__).parent.parent


def stop_when_asked() -> None:
    """From now on SIGTERM is a KeyboardInterrupt, too, so that what was started is stopped."""
    for number in STOPS:
        signal.signal(number, _stop)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Once: asking again does not keep servers from being stopped."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    print("\nstopping", file=sys.stderr)
    raise KeyboardInterrupt
