"""A gateway on Node: http-proxy-middleware behind a key map and a counter, see `node_gateway.cjs`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.candidate import CALLS_PER_S, KEY, Candidate, Missing
from bench.processes import Place, server

FOLDER = Path(".tollway/bench/node")
SCRIPT = Path(__file__).parent / "node_gateway.cjs"
PACKAGE = "http-proxy-middleware"


@contextmanager
def node(place: Place, port: int) -> Iterator[Candidate]:
    """One process, no cluster."""
    program = shutil.which("node")
    if program is None:
        raise Missing("apt-get install nodejs npm")
    modules = Path(__file__).parents[2] / FOLDER / "node_modules"
    if not (modules / PACKAGE).exists():
        raise Missing(f"npm install --prefix {FOLDER} {PACKAGE}@3")
    environ = {**os.environ, "NODE_PATH": str(modules), "NODE_ENV": "production", "BENCH_KEY": KEY}
    numbers = (port, place.upstream, place.streams, CALLS_PER_S)
    command = [program, str(SCRIPT), *map(str, numbers)]
    with server(place.folder, "node", command, port, environ) as process:
        yield Candidate(
            "http-proxy-middleware on Node", port, (process.pid,), "SHA-256 of the key; one rate in memory"
        )
