"""A plain blocking client: one connection, one answer after the other."""

from __future__ import annotations

import re
import socket

from bench.machine import BenchError

TIMEOUT_S = 60.0


def connect(port: int) -> socket.socket:
    """A connection that gives up waiting after a minute."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """The head of an answer and what came after it. BenchError when the connection ends before."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            raise BenchError("the connection was closed before an answer")
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


def read_good_head(connection: socket.socket) -> tuple[int, bytes]:
    """The length of a 2xx answer's body and what has come of it. BenchError for any other answer."""
    head, rest = read_head(connection)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    if not head.startswith(b"HTTP/1.1 2") or length is None:
        raise BenchError(f"the answer began with {head[:40]!r}")
    return int(length[1]), rest


def read_body(connection: socket.socket, length: int, rest: bytes) -> bytes:
    """A short body, whole."""
    while len(rest) < length:
        more = connection.recv(65536)
        if not more:
            raise BenchError("the connection was closed within an answer")
        rest += more
    return rest
