"""What is measured, and the one request that is made of all of it."""

from __future__ import annotations

from dataclasses import dataclass

PATH = "/api/v1/projects"
STREAMS = "/streams"  # below it: bodies of any size and a WebSocket echo, see `bench.streams`
KEY = "bench_live_0123456789abcdefghijklmnopqrstuv"  # what the others are told to let in
RELAYS = "relays, enforces nothing"
CALLS_PER_S = 1_000_000  # every rate limit is this far away

# What an API client behind a browser sends; with Host there are 11, and each candidate adds its key.
HEADERS = (
    "Accept: application/json",
    "Accept-Encoding: gzip, deflate, br",
    "Accept-Language: en-GB,en;q=0.8",
    "Cache-Control: no-cache",
    "Origin: https://app.example.com",
    "Referer: https://app.example.com/projects",
    "Sec-Fetch-Mode: cors",
    "Traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "X-Client-Version: 4.2.0",
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A server to measure: `pids` are the processes whose CPU time and memory count."""

    name: str
    port: int
    pids: tuple[int, ...]
    does: str = RELAYS
    key: str = KEY
    recognises: bool = False  # answers heads like the one before more cheaply: measured with others too
    varied: bool = False  # called with heads of which no two are alike
    keys: tuple[str, ...] = ()  # of as many accounts, where it matters whose calls come together
    in_turn: bool = False  # called with all of these, one after the other
    store_pids: tuple[int, ...] = ()  # the Redis it asks, whose CPU time is told apart

    @property
    def checks_keys(self) -> bool:
        """Whether a wrong key is refused."""
        return self.does != RELAYS


class Missing(Exception):
    """A candidate's program is not there. The message is the line that installs it."""


def request_bytes(candidate: Candidate, target: str = PATH, method: str = "GET", extra: str = "") -> bytes:
    """One request as it goes over the wire; `extra` holds further header lines, each ended."""
    lines = "".join(f"{line}\r\n" for line in (*HEADERS, f"X-API-Key: {candidate.key}"))
    return f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{candidate.port}\r\n{lines}{extra}\r\n".encode()
