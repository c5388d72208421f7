"""Who takes part in which measurement, and all of them running side by side."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from bench.candidate import PATH, Candidate, Missing
from bench.machine import BenchError
from bench.processes import Place
from bench.rivals import aiohttp, envoy, haproxy, nginx, node
from bench.tollway import tollway
from bench.upstream import BODY, HEADER_COUNT, upstreams

UPSTREAM_PORT = 9100  # as in the bench policies
STREAMS_PORT = 9103  # likewise

ALL = frozenset(("calls", "latency", "bodies", "websocket", "idle"))
ONLY_CALLS = frozenset(("calls",))
SHORT = frozenset(("calls", "latency"))

Start = Callable[[Place, int], AbstractContextManager[Candidate]]


@dataclass(frozen=True, slots=True)
class Entry:
    """One row: how it is started, and what it takes part in."""

    name: str
    port: int
    start: Start
    parts: frozenset[str] = ALL
    cores: int = 1


# The first is what everybody is compared with. A gateway's two other ports follow its own.
ENTRIES = (
    Entry("nginx, plain proxy", 9101, nginx.plain),
    Entry("Tollway, plentiful limits", 9110, tollway),
    Entry("Tollway, every call decided by Redis", 9120, partial(tollway, policies="exact"), SHORT),
    Entry("nginx + Lua", 9104, nginx.with_lua, SHORT),
    Entry("nginx + Lua + Redis", 9105, nginx.with_redis, SHORT),
    Entry("nginx + Lua + Redis, the same decision", 9140, nginx.with_redis_alike, SHORT),
    Entry("HAProxy", 9106, haproxy.haproxy),
    Entry("Envoy", 9107, envoy.envoy),
    Entry("http-proxy-middleware on Node", 9108, node.node),
    Entry("aiohttp handler + ClientSession", 9102, aiohttp.aiohttp, SHORT | {"idle"}),
    Entry("nginx, plain proxy, 2 workers", 9109, partial(nginx.plain, workers=2), ONLY_CALLS, cores=2),
    Entry("Tollway, plentiful limits, 2 workers", 9130, partial(tollway, workers=2), ONLY_CALLS, cores=2),
)


@dataclass(frozen=True, slots=True)
class Running:
    """What came up, in the order of the rows, and how to install what did not."""

    by_part: dict[str, list[Candidate]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def of(self, part: str) -> list[Candidate]:
        """Those that take part in a measurement; the first is the base."""
        return self.by_part.get(part, [])


@contextmanager
def running(folder: Path, parts: frozenset[str], cores: tuple[int, ...]) -> Iterator[Running]:
    """Everything that these parts need, side by side. `cores[0]` is the measured one; data below `folder`."""
    place = Place(folder, cores[:1], UPSTREAM_PORT, STREAMS_PORT)
    with ExitStack() as stack:
        stack.enter_context(upstreams(folder, UPSTREAM_PORT, STREAMS_PORT))
        found = Running()
        for entry in ENTRIES:
            if not entry.parts & parts:
                continue
            print(f"\r\033[Kstarting {entry.name}", end="", file=sys.stderr, flush=True)
            spread = replace(place, cores=_cores_for(entry, cores))
            try:
                candidate = stack.enter_context(entry.start(spread, entry.port))
            except Missing as missing:
                found.missing[entry.name] = str(missing)
                continue
            spread.pin(candidate.pids)
            check(candidate)
            check_keys(candidate)
            for part in entry.parts:
                found.by_part.setdefault(part, []).append(candidate)
        yield found


def _cores_for(entry: Entry, cores: tuple[int, ...]) -> tuple[int, ...]:
    """A second worker takes a core nobody uses; on a machine with two cores that is the load's own."""
    return cores[:1] if entry.cores == 1 else (cores[0], cores[2] if len(cores) > 2 else cores[1])


def check(candidate: Candidate) -> None:
    """One call must bring back exactly what the upstream says; else the figures would mean nothing."""
    try:
        with urllib.request.urlopen(_call(candidate, candidate.key), timeout=10) as answer:
            body, headers = answer.read().decode(), len(answer.headers)
    except (urllib.error.URLError, TimeoutError) as error:
        raise BenchError(f"{candidate.name} does not answer: {error}") from error
    # urllib asks for `Connection: close`, so nginx's own headers are all there; a gateway adds some.
    if body != BODY or headers < HEADER_COUNT - 1:
        raise BenchError(f"{candidate.name} changed the upstream's answer")


def check_keys(candidate: Candidate) -> None:
    """Who says that it checks keys must refuse a wrong one, and who relays must not."""
    try:
        with urllib.request.urlopen(_call(candidate, candidate.key[::-1]), timeout=10):
            refused = False
    except urllib.error.HTTPError as answer:
        refused = answer.code in (401, 403)
    if refused != candidate.checks_keys:
        raise BenchError(f"{candidate.name}: a wrong key was {'refused' if refused else 'let in'}")


def _call(candidate: Candidate, key: str) -> urllib.request.Request:
    return urllib.request.Request(f"http://127.0.0.1:{candidate.port}{PATH}", headers={"X-API-Key": key})
