"""A gigabyte each way, sized and chunked: every byte arrives and is booked, and the worker stays as small."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from io import BufferedIOBase
from pathlib import Path

import pytest

from bench.machine import forget_peak, peak_bytes, resident_bytes
from tests.e2e.conftest import Customer, Gateway, eventually
from tests.e2e.test_operations import worker_pids

SIZE = (1 << 30) + 12_345
GROWTH_BYTES = 16 << 20
"""What a worker may take for a stream, however long: windows, and what the allocator keeps of them."""

PIECE = bytes(range(256)) * 4096
END = b"these are the last bytes"

POLICIES = """
upstreams: {{large: {{targets: ["http://127.0.0.1:{port}"]}}}}
tiers: {{paid: {{}}}}
routes: [{{name: all, match: {{path: /**}}, upstream: large}}]
"""


def pieces(size: int) -> Iterator[bytes]:
    """A body of so many bytes, whose end can be told from its middle."""
    left = size - len(END)
    while left:
        piece = PIECE[:left]
        left -= len(piece)
        yield piece
    yield END


def send(sink: socket.socket, size: int, *, chunked: bool) -> None:
    for piece in pieces(size):
        sink.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
    if chunked:
        sink.sendall(b"0\r\n\r\n")


def read_head(source: BufferedIOBase) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = source.readline()
        assert line, "it ended within a head"
        head += line
    return head.lower()


def body_size(source: BufferedIOBase, head: bytes) -> int:
    """How long a body was, once all of it has come; its last bytes are looked at."""
    last = bytearray()
    if b"\r\ntransfer-encoding: chunked\r\n" in head:
        total = 0
        while size := int(source.readline(), 16):
            total += _skip(source, size, last)
            source.readline()
        source.readline()
    else:
        total = _skip(source, int(head.partition(b"\r\ncontent-length: ")[2].split()[0]), last)
    assert bytes(last[-len(END) :]) == END
    return total


def _skip(source: BufferedIOBase, size: int, last: bytearray) -> int:
    buffer, left = memoryview(bytearray(1 << 20)), size
    while left:
        count = source.readinto(buffer[:left])
        assert count, "it ended within a body"
        left -= count
        last[:] = last[-len(END) :] + buffer[max(0, count - len(END)) : count]
    return size


class Talk(socketserver.StreamRequestHandler):
    rbufsize = 1 << 20

    def handle(self) -> None:
        """`GET /sized/N` and `/chunked/N` have N bytes; anything else is told how many it brought."""
        while self.rfile.peek(1):  # type: ignore[attr-defined]  # a buffered reader has it
            head = read_head(self.rfile)
            kind, size = head.split(b" ")[1].split(b"/")[1:]
            if head.startswith(b"get"):
                chunked = kind == b"chunked"
                framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %b" % size
                self.request.sendall(b"HTTP/1.1 200 OK\r\n%b\r\n\r\n" % framing)
                send(self.request, int(size), chunked=chunked)
            else:
                counted = b"%d" % body_size(self.rfile, head)
                self.request.sendall(
                    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(counted), counted)
                )


@pytest.fixture(scope="module")
def paid(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Customer]:
    """A customer of a gateway with one worker."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Talk) as upstream:
        upstream.daemon_threads = True
        threading.Thread(target=upstream.serve_forever, daemon=True).start()
        port = upstream.server_address[1]
        gateway = Gateway(Path(tmp_path_factory.mktemp("large")), port)
        gateway.write_policies(POLICIES.format(port=port))
        try:
            gateway.start("--workers", "1")
            customer = gateway.customer("paid")
            transfer(customer, "down", "sized", 1 << 24)
            transfer(customer, "up", "chunked", 1 << 24)
            yield customer
            assert gateway.stop() == 0, gateway.log
        finally:
            gateway.kill()
            upstream.shutdown()


def transfer(paid: Customer, way: str, framing: str, size: int) -> int:
    """How many bytes arrived at the other end."""
    with socket.create_connection(("127.0.0.1", paid.gateway.listen), 60) as caller:
        source = caller.makefile("rb")
        method = b"GET" if way == "down" else b"POST"
        head = b"%b /%b/%d HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\n" % (
            method,
            framing.encode(),
            size,
            paid.secret.encode(),
        )
        chunked = framing == "chunked"
        if way == "up":
            head += b"Transfer-Encoding: chunked\r\n" if chunked else b"Content-Length: %d\r\n" % size
        caller.sendall(head + b"\r\n")
        if way == "up":
            send(caller, size, chunked=chunked)
        answer = read_head(source)
        assert answer.startswith(b"http/1.1 200 ")
        return body_size(source, answer) if way == "down" else int(source.read(len(str(size))))


def rows_of(paid: Customer, count: int) -> list[dict[str, int]]:
    def booked() -> list[dict[str, int]]:
        rows = paid.gateway.events(paid.account)
        return rows if len(rows) >= count else []

    found: list[dict[str, int]] = eventually(booked, f"{count} usage rows")
    return found


@pytest.mark.parametrize("way", ["down", "up"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_gigabyte(way: str, framing: str, paid: Customer) -> None:
    (worker,) = worker_pids(paid.gateway)
    before = len(rows_of(paid, 2))
    forget_peak(worker)
    held = resident_bytes(worker)
    assert transfer(paid, way, framing, SIZE) == SIZE
    assert peak_bytes(worker) - held < GROWTH_BYTES
    row = rows_of(paid, before + 1)[0]
    assert row["egress_bytes" if way == "down" else "ingress_bytes"] == SIZE
