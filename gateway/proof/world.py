"""What there is to call in a proof: routes, tiers, and who calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from string import Template

LIMITED_PER_S = 20
LIMITED_BURST = 20
QUOTAS = {"scarce": 200, "middling": 5000}
"""Tiers whose calls run out: one is decided exactly from the start, one is bought ahead for a while."""

COUNTED = {
    "scarce": {"api_calls"},
    "middling": {"api_calls"},
    "limited": set[str](),
    "plentiful": {"api_calls", "pages", "work"},
}
"""Meters that the quotas of each tier count. Calls leave other counters alone, should there be any."""

WORK = "X-Work"
"""The header of a `paid` answer that says what it costs."""
RESERVE = 10
"""Of it; no call costs more. So Redis never counts less than is billed, whatever is lost on the way to it."""

PAGES = 3
"""What an upload costs beside the call."""
ROUTES = frozenset({"paid", "upload", "short", "slow", "stream", "socket", "fails", "breaks"})

_POLICIES = Template("""
upstreams:
  witness:
    targets: [http://127.0.0.1:$port]
    timeouts: {response: 60s, idle: 60s}
meters:
  pages: {unit: page}
  work: {unit: step}
tiers:
  scarce:
    quotas: [{meter: api_calls, amount: $scarce, per: month}]
  middling:
    quotas: [{meter: api_calls, amount: $middling, per: month}]
  limited:
    limits: [{name: burst, rate: $rate/second, burst: $burst}]
  plentiful:
    limits: [{name: burst, rate: 100000/second, burst: 100000}]
    quotas:
      - {meter: api_calls, amount: 1000000000, per: month}
      - {meter: pages, amount: 1000000000, per: day}
      - {meter: work, amount: 1000000000, per: month}
    features: [paid]
routes:
  - name: paid
    match: {path: /paid/*}
    upstream: witness
    requires: [paid]
    charges: {api_calls: 1, work: {response_header: $work, reserve: $reserve}}
  - {name: upload, match: {methods: [POST], path: /upload/*}, upstream: witness, charges: {api_calls: 1, pages: $pages}}
  - {name: short, match: {path: /short/*}, upstream: witness}
  - {name: slow, match: {path: /slow/*}, upstream: witness}
  - {name: stream, match: {path: /stream/*}, upstream: witness}
  - {name: socket, match: {path: /socket/*}, upstream: witness}
  - {name: fails, match: {path: /fails/*}, upstream: witness}
  - {name: breaks, match: {path: /breaks/*}, upstream: witness}
""")  # noqa: E501  one route a line


def policies(port: int) -> str:
    """The policies of the proof, with its upstream at `port`."""
    return _POLICIES.substitute(
        QUOTAS, port=port, pages=PAGES, rate=LIMITED_PER_S, burst=LIMITED_BURST, work=WORK, reserve=RESERVE
    )


@dataclass(frozen=True, slots=True)
class Who:
    """An account, and how many callers it has, each with a key of its own."""

    tier: str
    mode: str
    callers: int


CAST = (
    Who("plentiful", "live", 10),
    Who("plentiful", "test", 3),
    Who("limited", "live", 3),
    Who("scarce", "live", 3),
    Who("middling", "live", 4),
)


@dataclass(frozen=True, slots=True)
class Caller:
    """One caller of an account of the cast, with what was made for it. Makes one call after the other."""

    name: str
    who: Who
    account: str  # public id
    key: str  # public id
    secret: str = field(repr=False)


def work(number: int) -> int:
    """What the upstream says call `number` costs, if it is a paid one."""
    return 1 + number % RESERVE


def due(number: int, kind: str) -> dict[str, int]:
    """What call `number` pays if it is billed, whatever its tier counts of it."""
    more = {"upload": {"pages": PAGES}, "paid": {"work": work(number)}}
    return {"api_calls": 1} | more.get(kind, {})


def wanted(number: int, kind: str) -> bytes:
    """What the upstream answers to call `number` of a kind that goes well. No other call gets these bytes."""
    line = b"call %d of kind %s\n" % (number, kind.encode())
    return line * (1 + number % 7 if kind != "stream" else 40)
