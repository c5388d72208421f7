"""Upstreams as the policy files write them: where they listen and how they are called."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gateway.policy import target_texts
from gateway.policy.change_documents import HeadersDocument
from gateway.policy.texts import HOST, check_host
from gateway.policy.values import Document, Duration

Url = Annotated[
    str, BeforeValidator(target_texts.check_target), Field(json_schema_extra={"pattern": target_texts.TARGET})
]
File = Annotated[
    str, BeforeValidator(target_texts.check_file), Field(json_schema_extra={"pattern": target_texts.FILE})
]
RequestTarget = Annotated[
    str,
    BeforeValidator(target_texts.check_request_target),
    Field(json_schema_extra={"pattern": target_texts.REQUEST_TARGET}),
]
HostName = Annotated[str, BeforeValidator(check_host), Field(json_schema_extra={"pattern": HOST})]


class _OrUrl:
    """A target may also be written as its URL alone."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_target, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": target_texts.TARGET}, handler(schema)]}


def _as_target(value: object) -> object:
    return value if isinstance(value, dict | TargetDocument) else {"url": target_texts.check_target(value)}


class TargetDocument(Document):
    """One place where an upstream listens."""

    url: Url = Field(
        description=(
            "Where it listens: http://host or https://host, with or without :port, or unix:/path of a socket."
        ),
        examples=["http://10.0.0.7:9000"],
    )
    weight: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Its share of the calls, relative to the other targets: 1 of 99 + 1 is a canary.",
        examples=[99],
    )


class TlsDocument(Document):
    """How https targets are spoken to. Files are opened by the workers, and again when they change."""

    ca: File | None = Field(
        default=None,
        description="PEM file with the authorities to trust; those of the system if left out.",
        examples=["/etc/tollway/internal-ca.pem"],
    )
    client_cert: File | None = Field(
        default=None,
        description="PEM file with the certificate the gateway shows, and those it was signed with.",
        examples=["/etc/tollway/gateway.pem"],
    )
    client_key: File | None = Field(
        default=None,
        description="PEM file with the key of client_cert, without passphrase.",
        examples=["/etc/tollway/gateway.key"],
    )
    server_name: HostName | None = Field(
        default=None,
        description="The name asked for and looked for in the certificate; the target's host if left out.",
        examples=["api.internal"],
    )
    verify: bool = Field(
        default=True,
        description="Whether the certificate must be good; if not, anybody in between can pose as the API.",
        examples=[True],
    )


class EjectionDocument(Document):
    """When failed calls take a target out of the choice. The last target is never taken out."""

    failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="Failed calls in a row: no connection, no answer in time, a broken answer. Not 5xx.",
        examples=[5],
    )
    time: Duration = Field(
        default="10s",
        description="For how long at first; twice as long each time in a row.",
        examples=["10s"],
    )
    max_time: Duration = Field(default="5m", description="For how long at most.", examples=["5m"])


class HealthDocument(Document):
    """Checks that each worker makes of each target, besides what calls show."""

    path: RequestTarget = Field(
        description="What is asked for with GET; 200 to 399 is healthy.", examples=["/healthz"]
    )
    interval: Duration = Field(
        default="5s",
        description="From the end of one check to the next, give or take a tenth.",
        examples=["5s"],
    )
    timeout: Duration = Field(
        default="2s", description="For connection and answer of one check.", examples=["2s"]
    )
    healthy_after: int = Field(
        default=2, ge=1, le=100, description="Good checks in a row that bring a target back.", examples=[2]
    )
    unhealthy_after: int = Field(
        default=3, ge=1, le=100, description="Bad checks in a row that take a target out.", examples=[3]
    )


class RetriesDocument(Document):
    """When a call is tried again. Nothing that may have reached a target is sent twice, unless it may be."""

    attempts: int = Field(
        default=2, ge=0, le=10, description="How often one call is tried again, at most.", examples=[2]
    )
    on: list[Literal["connect", "stale"]] = Field(
        default=["connect", "stale"],
        max_length=2,
        description=(
            "connect: a target could not be connected to, then another is asked, whatever the method. "
            "stale: a kept connection was closed under a GET, HEAD, OPTIONS, PUT or DELETE without body."
        ),
        examples=[["connect"]],
    )
    percent: int = Field(
        default=20,
        ge=0,
        le=100,
        description="How many retries each worker makes at most, of its calls in the last ten seconds.",
        examples=[20],
    )
    at_least: int = Field(
        default=10,
        ge=0,
        le=10000,
        description="How many retries it may make in ten seconds in any case.",
        examples=[10],
    )


class KeepaliveDocument(Document):
    """Which connections are kept for later calls, and for how long."""

    max_idle: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Most unused connections each worker keeps to each target; all of them if left out.",
        examples=[32],
    )
    idle_timeout: Duration = Field(
        default="4s",
        description="How long a connection is kept unused. Stay below what the API itself allows.",
        examples=["4s", "50s"],
    )
    max_age: Duration | None = Field(
        default=None,
        description="No call begins on a connection older than this, or a tenth less; no limit if left out.",
        examples=["10m"],
    )
    max_calls: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="How many calls a connection carries, at most; no limit if left out.",
        examples=[1000],
    )
    reuse_after_body: bool = Field(
        default=True,
        description=(
            "Whether a connection carries other calls after one with a body; false for upstreams that answer "
            "without reading bodies, which they would take for calls."
        ),
        examples=[False],
    )


class TimeoutsDocument(Document):
    """How long the gateway waits for an upstream."""

    connect: Duration = Field(
        default="2s", description="Until a connection is made, then 504.", examples=["2s", "500ms"]
    )
    response: Duration = Field(
        default="30s",
        description="From the request sent until the head of the answer, then 504.",
        examples=["30s"],
    )
    idle: Duration = Field(
        default="60s",
        description="Between two pieces of a body, either way; then the connection is cut.",
        examples=["1m"],
    )
    total: Duration | None = Field(
        default=None,
        description="For the whole call, waiting for a connection included; no limit if left out.",
        examples=["5m"],
    )
    queue: Duration = Field(
        default="2s",
        description="Until a connection is free, while all are in use; then 503.",
        examples=["2s", "500ms"],
    )


class RouteTimeoutsDocument(Document):
    """Where the calls of a route wait longer or shorter than the upstream's others."""

    connect: Duration | None = Field(
        default=None, description="Instead of the upstream's `connect`.", examples=["500ms"]
    )
    response: Duration | None = Field(
        default=None, description="Instead of the upstream's `response`.", examples=["5m"]
    )
    idle: Duration | None = Field(
        default=None, description="Instead of the upstream's `idle`.", examples=["1h"]
    )
    total: Duration | None = Field(
        default=None, description="Instead of the upstream's `total`.", examples=["10m"]
    )
    queue: Duration | None = Field(
        default=None, description="Instead of the upstream's `queue`.", examples=["30s"]
    )
    min_bytes_per_s: int | None = Field(
        default=None,
        ge=0,
        le=10**9,
        description=(
            "Bytes a second that callers must send of a body, or read of an answer, on average; 0: any. "
            "TOLLWAY_MIN_BYTES_PER_S if left out."
        ),
        examples=[10_000],
    )


class UpstreamDocument(Document):
    """An API that is protected."""

    targets: list[Annotated[TargetDocument, _OrUrl()]] = Field(
        min_length=1,
        max_length=64,
        description="Where it listens: URLs, or url and weight.",
        examples=[["http://127.0.0.1:9000"], [{"url": "unix:/run/api.sock", "weight": 3}]],
    )
    balance: Literal["round_robin", "least_connections", "hash_account"] = Field(
        default="round_robin",
        description=(
            "How calls are spread over the targets: in turn, to the one with the fewest calls at hand, "
            "or each account to one of them."
        ),
        examples=["least_connections"],
    )
    health: HealthDocument | None = Field(
        default=None,
        description="Checks of each target; without, only calls show whether one is well.",
        examples=[{"path": "/healthz", "interval": "5s"}],
    )
    retries: RetriesDocument = Field(
        default=RetriesDocument(),
        description="When a call is tried again.",
        examples=[{"attempts": 1, "on": ["connect"]}],
    )
    ejection: EjectionDocument = Field(
        default=EjectionDocument(),
        description="When failed calls take a target out.",
        examples=[{"failures": 5, "time": "10s"}],
    )
    tls: TlsDocument = Field(
        default=TlsDocument(),
        description="How https targets are spoken to.",
        examples=[{"ca": "/etc/tollway/internal-ca.pem"}],
    )
    timeouts: TimeoutsDocument = Field(
        default=TimeoutsDocument(),
        description="How long to wait for it.",
        examples=[{"connect": "2s", "response": "30s", "idle": "1m"}],
    )
    host_header: Literal["upstream", "client"] = Field(
        default="upstream",
        description="Which Host header it sees: the target's own, or the one the client sent.",
        examples=["upstream"],
    )
    request_headers: HeadersDocument | None = Field(
        default=None,
        description="What changes of the headers of every request to it.",
        examples=[{"set": {"X-Gateway": "tollway"}}],
    )
    response_headers: HeadersDocument | None = Field(
        default=None,
        description="What changes of the headers of every answer of it.",
        examples=[{"remove": ["X-Powered-By"]}],
    )
    max_connections: int = Field(
        default=512,
        ge=1,
        le=65535,
        description="Most connections each worker opens to each target; beyond them calls wait.",
        examples=[512],
    )
    max_waiting: int = Field(
        default=256,
        ge=0,
        le=65535,
        description="Most calls of each worker that wait while all connections are in use; others get 503.",
        examples=[256],
    )
    keepalive: KeepaliveDocument = Field(
        default=KeepaliveDocument(),
        description="Which connections are kept for later calls.",
        examples=[{"idle_timeout": "4s", "max_age": "10m"}],
    )
