"""One client process of a race: `python -m tests.e2e.racer PORT`.

Each line of its input, a key and a number of calls, is answered with how many calls got which status, as
JSON. It calls over eight connections at once, each call when the one before it there was answered.
"""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter
from typing import BinaryIO

CONNECTIONS = 8


def read_status(answers: BinaryIO) -> int:
    """The status of the next answer, whose body is read and dropped."""
    status, length = int(answers.readline().split(b" ", 2)[1]), 0
    while (line := answers.readline().lower()) != b"\r\n":
        if line.startswith(b"content-length:"):
            length = int(line[15:])
    answers.read(length)
    return status


def main() -> None:
    connections = []
    for _ in range(CONNECTIONS):
        connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connections.append((connection, connection.makefile("rb")))
    for line in sys.stdin:
        secret, count = line.split()
        call = f"GET /race HTTP/1.1\r\nHost: race\r\nAuthorization: Bearer {secret}\r\n\r\n".encode()
        statuses: Counter[int] = Counter()
        for begun in range(0, int(count), CONNECTIONS):
            used = connections[: int(count) - begun]
            for connection, _ in used:
                connection.sendall(call)
            statuses.update(read_status(answers) for _, answers in used)
        print(json.dumps(statuses), flush=True)


if __name__ == "__main__":
    main()
