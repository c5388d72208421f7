"""How long keys that do not work are let wait for their 401, by what is wrong with them."""

from __future__ import annotations

import json
import random
import re
import tempfile
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from socket import socket
from statistics import median, quantiles

from bench.candidates import STREAMS_PORT, UPSTREAM_PORT
from bench.machine import BenchError
from bench.processes import Place
from bench.report import markdown, row
from bench.tollway import tollway
from bench.wire import connect, read_body, read_head
from gateway.accounts.keys import mint
from gateway.model.principal import Mode

NAME = "refusals"
TIMES = 5_000
CONNECTIONS = 2
PAUSE_S = 0.001
"""At most, between calls: refusals go on a grid of milliseconds, and calls that follow at once keep step."""
PORT = 9180

HEAD = ("key", "at once: p50", "p90", "ratio", "as shipped: p50", "p90", "ratio")

Make = Callable[[], str]
Waits = dict[str, list[float]]


def run(times: int = TIMES) -> str:
    """Markdown: on each connection one call after the other, the kinds of keys mixed; ratios to the first."""
    at_once, as_shipped = _measured(times, {"TOLLWAY_KEY_REFUSAL_MS": "0"}), _measured(times, {})
    rows = [
        row(kind, *_figures(at_once[kind], at_once), *_figures(as_shipped[kind], as_shipped))
        for kind in at_once
    ]
    method = (
        f"{times:,} calls of each kind, mixed, on {CONNECTIONS} connections, until the answer is whole. "
        "`At once`: with `TOLLWAY_KEY_REFUSAL_MS=0`. Ratio of medians to the first row."
    )
    return f"### Refusals of keys\n\n{method}\n\n{markdown(HEAD, rows)}"


def _figures(waits: list[float], of_all: Waits) -> tuple[str, str, str]:
    base = next(iter(of_all.values()))
    return (
        f"{median(waits) * 1000:.3f} ms",
        f"{quantiles(waits, n=10)[-1] * 1000:.3f} ms",
        f"{median(waits) / median(base):.3f}",
    )


def _measured(times: int, settings: dict[str, str]) -> Waits:
    with tempfile.TemporaryDirectory(prefix="tollway-bench-") as folder:
        place = Place(Path(folder), (), UPSTREAM_PORT, STREAMS_PORT)
        with tollway(place, PORT, "plentiful", 1, TOLLWAY_WRONG_KEYS_PER_MINUTE="0", **settings):
            kinds = _kinds(next(Path(folder).glob("*/data")))
            return _asked(times, kinds)


def _kinds(data: Path) -> dict[str, Make]:
    """What is wrong with keys, and one of the kind."""
    token = (data / "admin-token").read_text().strip()
    account = _post(token, "accounts", {"name": "refused", "tier": "plentiful"})["id"]
    key = _post(token, f"accounts/{account}/keys", {})
    _post(token, f"keys/{key['id']}/revoke", {})
    revoked, unknown = key["secret"], mint("tw", Mode.LIVE).secret
    return {
        "not seen before": lambda: mint("tw", Mode.LIVE).secret,
        "not seen before, again": lambda: unknown,
        "revoked": lambda: revoked,
        "wrong tail": lambda: _wrong_tail(mint("tw", Mode.LIVE).secret),
        "garbage": lambda: "garbage",
    }


def _wrong_tail(secret: str) -> str:
    return secret[:-1] + ("a" if secret[-1] != "a" else "b")


def _post(token: str, path: str, body: dict[str, str]) -> dict[str, str]:
    asked = urllib.request.Request(
        f"http://127.0.0.1:{PORT + 1}/admin/v1/{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=60) as answer:
        made: dict[str, str] = json.load(answer)
        return made


def _asked(times: int, kinds: dict[str, Make]) -> Waits:
    waits: Waits = {kind: [] for kind in kinds}
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        for found in pool.map(lambda _: _asked_on_one(times // CONNECTIONS, kinds), range(CONNECTIONS)):
            for kind, some in found.items():
                waits[kind] += some
    return waits


def _asked_on_one(times: int, kinds: dict[str, Make]) -> Waits:
    waits: Waits = {kind: [] for kind in kinds}
    with connect(PORT) as connection:
        for _ in range(times):
            for kind in random.sample(list(kinds), len(kinds)):
                secret = kinds[kind]()
                time.sleep(random.uniform(0, PAUSE_S))
                waits[kind].append(_wait_s(connection, secret))
    return waits


def _wait_s(connection: socket, secret: str) -> float:
    head = f"GET /api/v1/projects HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\n\r\n"
    began = time.perf_counter()
    connection.sendall(head.encode())
    answer, rest = read_head(connection)
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer)
    if not answer.startswith(b"HTTP/1.1 401 ") or length is None:
        raise BenchError(f"the answer began with {answer[:40]!r}")
    read_body(connection, int(length[1]), rest)
    return time.perf_counter() - began
