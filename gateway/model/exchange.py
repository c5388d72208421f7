"""The one mutable record on the path of a request, and what its two ends may ask of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from gateway.errors import GatewayError
from gateway.frames import Conversation
from gateway.inline import Wait
from gateway.model.billing import Report
from gateway.model.policies import NO_LIMIT, ChargePlan, Route
from gateway.model.principal import Principal
from gateway.model.usage import Marks
from gateway.outcomes import Outcome
from gateway.pace import Pace


class RequestHead:
    """A checked request head. Header bytes that only travel are kept as the lines to forward.

    `path` is canonical: the only spelling that is matched and forwarded. `lines` are alternating pieces that
    join to complete header lines, end-to-end headers only, credentials and identity headers left out.
    """

    __slots__ = (
        "api_key",
        "authority",
        "authorization",
        "chunked",
        "content_length",
        "expects_continue",
        "host",
        "http_1_0",
        "keep_alive",
        "lines",
        "method",
        "method_bytes",
        "path",
        "query",
        "said",
        "simulate",
        "target",
        "upgrade",
    )

    def __init__(self) -> None:
        self.method = ""
        self.path = ""
        self.query = b""  # with its question mark, or empty
        self.method_bytes = b""
        self.target = b""  # canonical path and query, as it is forwarded
        self.host = ""  # lower case, no port
        self.authority = b""  # the Host value as sent
        self.http_1_0 = False
        self.keep_alive = True
        self.lines: list[bytes] = []
        self.content_length: int | None = None
        self.chunked = False
        self.expects_continue = False
        self.authorization: bytes | None = None  # as sent; not part of `lines`
        self.upgrade: bytes | None = None  # the protocol asked for; not part of `lines`
        self.simulate: bytes | None = None  # Tollway-Simulate as sent; not part of `lines`
        self.api_key: bytes | None = None  # X-API-Key as sent; not part of `lines`
        self.said: tuple[tuple[bytes, bytes], ...] = ()  # what a trusted proxy says of the caller

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.content_length)

    def field(self, name: bytes) -> bytes | None:
        """The value of a field that only travels; None without it, and when it is there twice.

        `name` in lower case. Looks at all lines, so it is for the few calls that are asked about one.
        """
        lines = [line.partition(b":") for line in b"".join(self.lines).split(b"\r\n")]
        values = [value for other, _, value in lines if other.lower() == name]
        return values[0].strip() if len(values) == 1 else None


class Downstream(Protocol):
    """What the upstream's side may ask of the caller's connection. None of these raises."""

    close_after_answer: bool

    def answer(self, status: int, reason: bytes, lines: list[bytes], length: int | None) -> None:
        """Begin the final answer. `lines` join to end-to-end header lines; `length` None: unknown."""

    def interim(self, status: int, reason: bytes, lines: list[bytes]) -> None:
        """Pass a 1xx answer on (RFC 9110, section 15.2), to callers that can read one."""

    def switch(self, reason: bytes, lines: list[bytes]) -> None:
        """The upstream switched protocols (RFC 9110, section 15.2.2): from here on bytes pass as they are."""

    def body(self, data: bytes) -> None:
        """A piece of the answer's body. Collected until `flush`."""

    def flush(self) -> None:
        """Send what was collected, in one write."""

    def complete(self) -> None:
        """The answer is whole; sends what was collected."""

    def abort(self) -> None:
        """Cut the connection so that the caller can not mistake a broken answer for a whole one."""

    def end_tunnel(self) -> None:
        """The upstream has sent its last byte; the caller may still send."""

    def hang_up(self, farewell: bytes) -> None:
        """End a tunnel in order; these are its last bytes."""

    def pause_upload(self) -> None:
        """Stop reading the request body."""

    def resume_upload(self) -> None:
        """Go on reading the request body."""


class Uplink(Protocol):
    """What the caller's side may ask of the upstream's connection. None of these raises."""

    def upload(self, data: bytes) -> None:
        """Send a piece of the request body."""

    def upload_done(self) -> None:
        """The request body is whole; in a tunnel: the caller has sent its last byte."""

    def pause_answer(self) -> None:
        """The caller reads slowly: stop reading the answer."""

    def resume_answer(self) -> None:
        """The caller caught up: go on."""

    def cancel(self) -> None:
        """The caller is gone: drop the upstream call."""


class Periods(NamedTuple):
    """The periods a call was charged in: the counter of each quota of its plan, and when all are on."""

    counters: tuple[str, ...]  # their keys, as admission calls them
    start_us: int
    end_us: int

    def nearest(self, at_us: int) -> int:
        """`at_us` if that is in all of them, else the moment next to it that is."""
        return max(self.start_us, min(at_us, self.end_us - 1))


NO_PERIODS = Periods((), 0, 1 << 62)
NOTHING: Mapping[str, int] = {}


class Grant:
    """We said yes. `header` holds complete RateLimit lines for the answer."""

    __slots__ = ("beyond", "charged", "header", "periods", "plan", "principal")

    def __init__(
        self,
        principal: Principal,
        plan: ChargePlan,
        header: bytes,
        *,
        charged: bool = True,
        periods: Periods = NO_PERIODS,
        beyond: Mapping[str, int] = NOTHING,
    ) -> None:
        self.principal = principal
        self.plan = plan
        self.header = header
        self.charged = charged  # False: passed unchecked because the store is gone and the policy allows it
        self.beyond = beyond  # units beyond quotas that let it pass, by their names
        self.periods = periods  # those that `plan.quotas` were charged in


class HoldingGrant(Grant):
    """We said yes, and the call holds a slot of each concurrency limit of its plan until it ends."""

    __slots__ = ("slot",)

    def __init__(
        self,
        principal: Principal,
        plan: ChargePlan,
        header: bytes,
        *,
        slot: str,
        charged: bool = True,
        periods: Periods = NO_PERIODS,
        beyond: Mapping[str, int] = NOTHING,
    ) -> None:
        super().__init__(principal, plan, header, charged=charged, periods=periods, beyond=beyond)
        self.slot = slot  # what all of its slots are called


class Exchange:
    """One request and its answer. Every field is written by exactly one room, named behind it."""

    __slots__ = (
        "answered_at_us",
        "begun",
        "body_done",
        "body_parts",
        "broken",
        "charges",
        "client_address",
        "client_lines",
        "continued",
        "conversation",
        "downstream",
        "due",
        "egress_bytes",
        "finished",
        "grant",
        "head",
        "ingress_bytes",
        "marks",
        "max_body_bytes",
        "outcome",
        "pace",
        "principal",
        "report",
        "request_id",
        "route",
        "sequence",
        "started_at_us",
        "started_monotonic_us",
        "status",
        "uplink",
    )

    def __init__(
        self, head: RequestHead, downstream: Downstream, client_lines: bytes, client_address: str = ""
    ) -> None:
        self.head = head
        self.downstream = downstream
        self.client_address = client_address  # of whoever calls, as far as it is known; in its one spelling
        self.client_lines = client_lines  # header lines that tell the upstream where the call came from
        # dataplane
        self.request_id = b""  # text form of the UUID
        self.sequence = 0  # with the worker's prefix it makes the request id
        self.started_at_us = 0
        self.started_monotonic_us = 0
        self.answered_at_us = 0  # monotonic; 0: no answer yet
        self.status = 0  # 0: no answer yet
        self.ingress_bytes = 0  # of the request body
        self.egress_bytes = 0  # of the answer's body
        self.body_parts: list[bytes] = []  # of the request, not yet uploaded
        self.body_done = False
        self.continued = False  # the caller has been told to send the body that it held back
        self.max_body_bytes = NO_LIMIT  # of the request, once its route is known
        self.pace: Pace | None = None  # of a body that does not come in one piece
        self.broken: GatewayError | None = None  # why it can not go on: the caller left or sent nonsense
        self.outcome: Outcome | None = None  # dataplane, upstream
        # stages
        self.route: Route | None = None
        self.principal: Principal | None = None
        self.charges: ChargePlan | None = None
        self.grant: Grant | None = None
        self.marks: Marks | None = None  # admission: shadows that would have refused; dataplane: a refusal
        self.begun = False  # metering: the journal has its begin
        self.due: Mapping[str, int] | None = (
            None  # metering, at the end: units of meters, as billed; None: usual
        )
        self.uplink: Uplink | None = None  # upstream
        self.report: Report | None = None  # upstream: what the answer says of units, where it is read
        self.conversation: Conversation | None = None  # upstream: set when it switched to WebSocket
        self.finished: Wait[None] = Wait()  # upstream: the answer is whole or broken off

    @property
    def holds_back(self) -> bool:
        """Whether the caller waits for `100 Continue`: that nothing comes is not its fault."""
        return self.head.expects_continue and not self.continued and not self.ingress_bytes
