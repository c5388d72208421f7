"""The benchmark reads wrk right and never prints a figure for a server that answered wrongly."""

from __future__ import annotations

import json
import os
import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import cast

import pytest

from bench import stages
from bench.candidate import HEADERS
from bench.machine import BenchError, cpu_s
from bench.measure import Round, read_wrk
from bench.openloop import load
from bench.report import ratio_to, table
from bench.upstream import BODY

GOOD = """Running 1s test @ http://127.0.0.1:9101/api/v1/projects
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.15ms  303.61us   5.49ms   83.35%
    Req/Sec    55.87k     1.53k   57.70k    90.00%
  Latency Distribution
     50%  985.00us
     75%    1.27ms
     90%    1.44ms
     99%    2.15ms
  50000 requests in 1.00s, 20.00MB read
Requests/sec:  50000.00
Transfer/sec:     18.89MB
"""


def test_a_good_second_becomes_figures() -> None:
    assert read_wrk(GOOD, 1.0) == Round(requests=50000, cpu_us=20.0, per_s=50000.0, p50_ms=0.985, p99_ms=2.15)


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("a refusal among the answers", "  Non-2xx or 3xx responses: 7"),
        ("a connection that broke", "  Socket errors: connect 0, read 3, write 0, timeout 0"),
    ],
)
def test_wrong_answers_void_the_row(case: str, line: str) -> None:
    good = read_wrk(GOOD, 1.0)
    bad = read_wrk(f"{GOOD}{line}\n", 1.0)
    assert bad.fault == line.strip()
    text = table({"nginx": [good, good], "ours": [good, bad]})
    assert f"| ours | void: {line.strip()} |" in text
    assert "| nginx | 20.0 us | 1.00 | - | 50,000 | 0.98 ms | 2.15 ms |" in text


def test_what_redis_took_is_told_beside_it() -> None:
    rounds = [replace(read_wrk(GOOD, 1.0), store_us=store_us) for store_us in (7.0, 9.0, 8.0)]
    assert "| ours | 20.0 us | 1.00 | 8.0 us | 50,000 |" in table({"ours": rounds})


def test_no_answer_at_all_is_void_too() -> None:
    assert read_wrk(GOOD.replace("50000 requests in", "0 requests in"), 1.0).fault


def test_output_that_is_not_wrks_is_an_error() -> None:
    with pytest.raises(BenchError, match="wrk printed something unknown"):
        read_wrk("unable to connect", 1.0)


def test_the_ratio_is_taken_round_by_round() -> None:
    """The machine slowed down by half in the second round: both paid, the ratio stays."""
    base = [Round(1, cpu_us, 1, 1, 1) for cpu_us in (10, 20, 10)]
    ours = [Round(1, cpu_us, 1, 1, 1) for cpu_us in (20, 40, 21)]
    assert ratio_to(base, ours) == 2.0


def test_the_load_is_what_the_method_says() -> None:
    assert len(BODY) == 84
    assert len({line.partition(":")[0] for line in HEADERS}) == 10  # and Host


def test_the_cpu_time_of_a_process_only_grows() -> None:
    before = cpu_s(os.getpid())
    assert cpu_s(os.getpid()) >= before >= 0


def serve(listener: socket.socket, stop: socket.socket, answer: bytes) -> None:
    """Answer whatever comes on any connection until `stop` becomes readable."""
    with ExitStack() as held, selectors.DefaultSelector() as ready:
        ready.register(listener, selectors.EVENT_READ)
        ready.register(stop, selectors.EVENT_READ)
        while True:
            for peer in [cast("socket.socket", key.fileobj) for key, _ in ready.select()]:
                if peer is stop:
                    return
                if peer is listener:
                    ready.register(held.enter_context(listener.accept()[0]), selectors.EVENT_READ)
                elif not answered(peer, answer):
                    ready.unregister(peer)


def answered(peer: socket.socket, answer: bytes) -> bool:
    """Whether the caller was still there."""
    try:
        if not peer.recv(65536):
            return False
        peer.sendall(answer)
    except ConnectionError:  # the load leaves in the midst of an answer when it has seen a wrong one
        return False
    return True


@contextmanager
def answering(answer: bytes) -> Iterator[int]:
    """The port of a server that is gone, its thread too, when the block ends."""
    stop, stopped = socket.socketpair()
    with stop, stopped, socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        thread = threading.Thread(target=serve, args=(listener, stopped, answer))
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.close()
            thread.join()


@pytest.mark.parametrize(
    ("case", "answer", "fault"),
    [
        ("good answers", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend", ""),
        ("a refusal", b"HTTP/1.1 429 Too Many Requests\r\n\r\n", "an answer began with b'HTTP/1.1 429'"),
    ],
)
def test_the_open_loop_asks_for_good_answers(case: str, answer: bytes, fault: str) -> None:
    with answering(answer) as port:
        found = load(port, b"GET / HTTP/1.1\r\n\r\n", b"end", 1000, 0.2)
    assert found.fault == fault
    assert (found.p99_ms >= found.p50_ms > 0) is (not fault)


def test_what_was_timed_becomes_a_table() -> None:
    timed = [
        {"name": "parse", "stats": {"min": 4.5e-6}, "extra_info": {}},
        {"name": "all of it", "stats": {"min": 1e-3}, "extra_info": {"calls": 64}},
    ]
    text = stages.read_figures(json.dumps({"benchmarks": timed}))
    assert text.endswith("| parse | 4.50 |\n| all of it | 15.62 |")
