"""Ports for servers that tests start.

They lie below those that the kernel gives to outgoing connections and to whoever binds port 0, which may take
any of theirs between our look and the server's start. Each runner of tests has a range of its own.
"""

from __future__ import annotations

import itertools
import os
import re
import socket

HOST = "127.0.0.1"
FIRST, EACH = 10_500, 2000
BUS = 10_000
"""The bus of a Redis Cluster's node listens so far above its port."""


def free_port() -> int:
    """A port nobody listens on, nor on that of a cluster's bus above it. Not given again for a long while."""
    for port in itertools.islice(_in_turn, EACH):
        if _is_free(port) and _is_free(port + BUS):
            return port
    raise AssertionError(f"none of {EACH} ports is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _runner() -> int:
    """Its number, from 1; 0 when tests run one after the other."""
    found = re.fullmatch(r"gw(\d+)", os.environ.get("PYTEST_XDIST_WORKER", ""))
    return int(found[1]) + 1 if found else 0


def _range() -> list[int]:
    """From somewhere in it, since several may run tests on one machine."""
    ports = range(FIRST + _runner() * EACH, FIRST + (_runner() + 1) * EACH)
    start = os.getpid() * 7 % EACH
    return [*ports[start:], *ports[:start]]


_in_turn = itertools.cycle(_range())
