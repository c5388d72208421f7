"""The plain proxy of `bench.rivals.aiohttp_proxy`, started."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.candidate import Candidate
from bench.processes import Place, server


@contextmanager
def aiohttp(place: Place, port: int) -> Iterator[Candidate]:
    """One process on uvloop."""
    command = [sys.executable, "-m", "bench.rivals.aiohttp_proxy", str(port)]
    command.append(f"http://127.0.0.1:{place.upstream}")
    with server(place.folder, "aiohttp", command, port) as process:
        yield Candidate("aiohttp handler + ClientSession", port, (process.pid,))
