"""What the policy files say, compiled: immutable, checked, ready for the hot path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from gateway.frames import MessageBounds
from gateway.model.access import KEYS_ONLY, Access
from gateway.model.billing import Billing
from gateway.model.changes import HeaderChange, RequestChange
from gateway.model.cors import Cors
from gateway.model.costs import ONE, Cost
from gateway.model.networks import AddressRules
from gateway.model.overage import NOTIFY, Overage
from gateway.model.periods import Period

NO_LIMIT = 1 << 62
"""More bytes than any body has, and more calls than there ever are at once."""


class OnStoreLoss(Enum):
    """What happens to a call whose limits can not be decided because Redis is gone."""

    REFUSE = "refuse"
    LOCAL = "local"  # each worker decides for its part of every limit
    ALLOW = "allow"


class AdmissionMode(Enum):
    """`AUTO` buys slices of plentiful tokens in advance, `LEASED` of scarce ones too; `EXACT` never does."""

    AUTO = "auto"
    LEASED = "leased"
    EXACT = "exact"


class LimitFields(Enum):
    """How answers tell callers about their limits. `LEGACY` is `X-RateLimit-*`, of the tightest one only."""

    DRAFT = "draft"
    LEGACY = "legacy"
    OFF = "off"


class OnFull(Enum):
    """What happens to a call while as many as may be are under way."""

    REFUSE = "refuse"
    QUEUE = "queue"


class HostHeader(Enum):
    """Which `Host` the upstream sees."""

    UPSTREAM = "upstream"
    CLIENT = "client"


Scope = tuple[str, ...]
"""Calls alike in all of these share a counter: `account`, `key`, `ip`, `route`, `header:<name>`,
`claim:<name>`; sorted.

A key is always one of an account, so `key` comes with `account`.
"""

OF_ACCOUNT: Scope = ("account",)


@dataclass(frozen=True, slots=True)
class Limit:
    """A token bucket: `tokens` per `period_ms` flow in, `burst` fit."""

    name: str
    tokens: int
    period_ms: int
    burst: int
    scope: Scope = OF_ACCOUNT
    routes: frozenset[str] = frozenset()  # empty: every route
    enforce: int = 100  # percent of the accounts; for the others it is a shadow
    meter: str = ""  # whose units are tokens; empty: those of the route's cost

    @property
    def shadow(self) -> bool:
        """Whether it is decided and counted, and refuses nobody."""
        return self.enforce == 0

    @property
    def shared(self) -> bool:
        """Whether several accounts pay into one bucket."""
        return "account" not in self.scope


@dataclass(frozen=True, slots=True)
class ConcurrencyLimit:
    """At most `most` calls at once: each holds a slot from its admission to its end."""

    name: str
    most: int
    on_full: OnFull = OnFull.REFUSE
    wait_s: float = 5.0  # for a slot, where calls queue
    scope: Scope = OF_ACCOUNT
    routes: frozenset[str] = frozenset()  # empty: every route
    enforce: int = 100  # percent of the accounts; for the others it is a shadow

    @property
    def shadow(self) -> bool:
        """Whether its slots are counted, and it refuses nobody."""
        return self.enforce == 0

    @property
    def bound(self) -> int:
        """How many there may be at once before it refuses."""
        return NO_LIMIT if self.shadow else self.most

    @property
    def shared(self) -> bool:
        """Whether calls of several accounts count together."""
        return "account" not in self.scope


@dataclass(frozen=True, slots=True)
class Quota:
    """At most `amount` units of `meter` per account and `per`; or more, if it is soft or has overage."""

    name: str
    meter: str
    amount: int
    per: Period
    enforce: int = 100  # percent of the accounts; for the others it is a shadow
    soft: bool = False
    overage: Overage | None = None
    notify: tuple[int, ...] = NOTIFY  # percent at which an event is told, ascending

    @property
    def shadow(self) -> bool:
        """Whether it is decided and counted, and refuses nobody."""
        return self.enforce == 0

    @property
    def refuses(self) -> bool:
        """Whether calls beyond it are refused."""
        return not (self.shadow or self.soft or self.overage)


@dataclass(frozen=True, slots=True)
class Price:
    """Shown to customers; `amount_minor` in the currency's minor unit (ISO 4217)."""

    amount_minor: int
    currency: str
    per: str


@dataclass(frozen=True, slots=True)
class Meter:
    """Something that is counted. Built in: those of `policy.meters`."""

    name: str
    unit: str
    scale: int = 1  # parts of a unit; what is counted are parts


@dataclass(frozen=True, slots=True)
class Tier:
    """What a customer pays for and what that allows, with `extends` already applied."""

    name: str
    title: str
    price: Price | None
    limits: tuple[Limit, ...]
    quotas: tuple[Quota, ...]
    features: frozenset[str]
    mode: AdmissionMode | None = None  # None: that of all tiers
    concurrency: tuple[ConcurrencyLimit, ...] = ()

    @property
    def bounds(self) -> frozenset[str]:
        """The names of all that may refuse a call: limits, quotas, concurrency limits."""
        names = [limit.name for limit in self.limits] + [quota.name for quota in self.quotas]
        return frozenset([*names, *(limit.name for limit in self.concurrency)])


@dataclass(frozen=True, slots=True)
class Target:
    """Where an upstream listens: host and port, or a unix socket."""

    host: str
    port: int
    weight: int = 1
    tls: bool = field(default=False, kw_only=True)
    socket: str = field(default="", kw_only=True)  # path; host and port mean nothing then

    @property
    def authority(self) -> str:
        """As in a `Host` header (RFC 9110, section 7.2): the port only when it is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"

    @property
    def place(self) -> str:
        """What the policies call it, for logs. No two targets of an upstream share it."""
        return f"unix:{self.socket}" if self.socket else f"http{'s' * self.tls}://{self.authority}"


@dataclass(frozen=True, slots=True)
class Tls:
    """How https targets are spoken to. Files are PEM, by absolute path; None: the system's, or none."""

    ca: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    server_name: str | None = None  # None: the target's host
    verify: bool = True


class Balance(Enum):
    """How calls are spread over the targets of an upstream."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    HASH_ACCOUNT = "hash_account"


@dataclass(frozen=True, slots=True)
class Retries:
    """How often a call is tried again, and for what; all calls together within a budget.

    `percent` of the calls of the last ten seconds or so, and `at_least` in any case.
    """

    attempts: int = 2
    connect: bool = True  # no connection to the target: nothing was sent
    stale: bool = True  # a kept connection was closed under an idempotent call without a body
    percent: int = 20
    at_least: int = 10


@dataclass(frozen=True, slots=True)
class Ejection:
    """When failed calls take a target out: `failures` in a row, for `out_s`, doubled each time in a row."""

    failures: int = 5
    out_s: float = 10.0
    longest_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Health:
    """Active checks of every target, by every worker. `path` with query, canonical or not."""

    path: str
    interval_s: float = 5.0
    timeout_s: float = 2.0
    healthy_after: int = 2
    unhealthy_after: int = 3


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds: to connect, until the response head, between two pieces of a body, for all of it."""

    connect_s: float = 2.0
    response_s: float = 30.0
    idle_s: float = 60.0
    total_s: float | None = None
    queue_s: float = 2.0  # for a connection to become free, when all are in use


@dataclass(frozen=True, slots=True)
class Keepalive:
    """Which connections are kept after a call, and for how long."""

    max_idle: int | None = None  # per worker and target; None: all of them
    idle_s: float = 4.0  # common servers close after 5 s; whoever does it first catches no call in it
    max_age_s: float | None = None
    max_calls: int | None = None
    reuse_after_body: bool = True  # False: the upstream may leave bodies unread, to take them for calls


@dataclass(frozen=True, slots=True)
class Upstream:
    """The API we protect."""

    name: str
    targets: tuple[Target, ...]
    timeouts: Timeouts = Timeouts()
    host_header: HostHeader = HostHeader.UPSTREAM
    max_connections: int = 512  # per worker and target
    max_waiting: int = 256  # calls of a worker, while all connections are in use
    keepalive: Keepalive = Keepalive()
    balance: Balance = Balance.ROUND_ROBIN
    tls: Tls = Tls()
    ejection: Ejection = Ejection()
    health: Health | None = None
    retries: Retries = Retries()


@dataclass(frozen=True, slots=True)
class Route:
    """Which calls go where and what they need. `path` ends in `/**` to match everything below it.

    `*`, or a name in braces, stands for one segment of it. A route with a `split` is one of its sides, until
    the caller is known and with it the side; what it says besides is the same on all of them.
    """

    name: str
    path: str
    methods: frozenset[str]  # empty: every method; GET includes HEAD
    hosts: frozenset[str]  # empty: every host; lower case, no port; `*.` for whatever is below a name
    upstream: Upstream
    requires: frozenset[str]
    charges: Mapping[str, int]  # meter -> cost of one call, as far as all calls are alike
    forward_credentials: bool = False
    timeouts: Timeouts | None = None  # None: those of the upstream
    max_body_bytes: int | None = None  # of a request; None: what the settings say
    max_message: MessageBounds | None = None  # of a WebSocket; None: whatever comes
    min_bytes_per_s: int | None = None  # of a caller, both ways; None: what the settings say
    request_change: RequestChange | None = None  # None: nothing changes
    response_headers: HeaderChange | None = None
    cors: Cors | None = None  # None: browsers are told nothing but what the upstream says
    split: tuple[Side, ...] = ()  # empty: all calls go to `upstream`
    access: Access = KEYS_ONLY
    varying: Mapping[str, Cost] = field(default_factory=dict)  # meter -> cost, where calls differ
    cost: Cost = ONE  # tokens one call takes from each limit
    addresses: AddressRules | None = None  # None: whoever calls
    raw: bool = True  # whether each call is a row of its own in the ledger, beside the sums
    billing: Billing | None = None  # None: charges are due as usual, and are what was charged

    @property
    def varies(self) -> bool:
        """Whether what a call pays can only be said when its head is known."""
        return bool(self.varying) or self.cost.varies


@dataclass(frozen=True, slots=True)
class Side:
    """One of several upstreams that share the calls of a route, as a route of its own, and its part."""

    weight: int
    route: Route


@dataclass(frozen=True, slots=True)
class PolicySet:
    """One consistent snapshot of a policy folder. Never changes; a reload makes another one."""

    digest: str  # SHA-256 over names and contents of the files, hex
    upstreams: Mapping[str, Upstream]
    meters: Mapping[str, Meter]
    tiers: Mapping[str, Tier]  # in the order of the files, cheapest first by custom
    routes: tuple[Route, ...]  # in the order of the files
    upgrade_url: str | None = None  # may hold `{tier}`; None: the portal's own page
    admission_mode: AdmissionMode = AdmissionMode.AUTO
    on_store_loss: OnStoreLoss = OnStoreLoss.REFUSE
    limit_fields: LimitFields = LimitFields.DRAFT
    retry_jitter_ms: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class ChargePlan:
    """All that one call on a route pays into under a tier. Made once per snapshot, compared by identity.

    `limits` cost `cost` tokens each; `quotas` carry their cost in units. `policy_header` is the complete
    `RateLimit-Policy` line, empty when nothing is charged.
    """

    id: str  # stable across workers and reloads while the charges stay the same
    tier: Tier
    limits: tuple[Limit, ...]
    quotas: tuple[tuple[Quota, int], ...]
    mode: AdmissionMode
    on_store_loss: OnStoreLoss
    upgrade_url: str | None
    policy_header: bytes = field(default=b"")
    cost: int = 1  # at least 1 where there are limits
    units: Mapping[str, int] = field(default_factory=dict)  # of meters whose cost differs from call to call
    fields: LimitFields = LimitFields.DRAFT
    retry_jitter_ms: int = 0  # refused callers are told to wait up to so much longer than they have to
    concurrency: tuple[ConcurrencyLimit, ...] = ()  # a slot of each is held while the call lasts
    metered: Mapping[str, int] = field(default_factory=dict)  # units of the meters that limits count
    scoped: bool = field(init=False)  # whether some counter depends on more than the account

    def __post_init__(self) -> None:
        scopes = {limit.scope for limit in self.limits} | {limit.scope for limit in self.concurrency}
        object.__setattr__(self, "scoped", bool(scopes - {OF_ACCOUNT}))

    def tokens(self, limit: Limit) -> int:
        """What a call takes from this limit. It never is more than fits: dear calls wait, not for ever."""
        return min(self.metered[limit.meter] if limit.meter else self.cost, limit.burst)
