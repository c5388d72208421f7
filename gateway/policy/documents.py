"""The policy files as types: every key, its meaning, its bounds.

The JSON Schema and `docs/policies.md` follow these. A document says what is written, not what it means: names
are not resolved, `extends` is not applied, durations and rates are still text. Unknown keys are refused, and
nothing is converted from one type to another.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.policy.access_documents import AccessDocument, AddressesDocument, IssuerDocument, OAuthScope
from gateway.policy.billing_documents import AnyCharge, BillOnDocument, ChargeDocument, MeterDocument
from gateway.policy.change_documents import HeadersDocument, RewriteDocument
from gateway.policy.concurrency_documents import ConcurrencyDocument
from gateway.policy.cors_documents import CorsDocument
from gateway.policy.cost_documents import AnyCost, CostDocument
from gateway.policy.message_documents import AnyMessage
from gateway.policy.quota_documents import QuotaDocument
from gateway.policy.rollout_documents import RolloutDocument
from gateway.policy.upstream_documents import RouteTimeoutsDocument, UpstreamDocument
from gateway.policy.values import (
    Cost,
    Currency,
    Document,
    Duration,
    Host,
    Link,
    Method,
    Name,
    Path,
    Rate,
    Scope,
    Size,
    Title,
)

MOST_OF_A_TIER = 16
"""Limits, quotas, and concurrency limits, of one tier."""


class PriceDocument(Document):
    """What a tier costs."""

    amount: Cost = Field(
        description="In the currency's minor unit (cents), so a whole number.", examples=[2500]
    )
    currency: Currency = Field(description="ISO 4217 code.", examples=["USD"])
    per: Literal["month", "year"] = Field(description="How often it is due.", examples=["month"])


class LimitDocument(RolloutDocument):
    """How fast calls may come: a token bucket."""

    name: Name = Field(
        description="Shown to callers in the RateLimit fields and in refusals.", examples=["burst"]
    )
    rate: Rate = Field(
        description="How many tokens flow in: a number per second, minute, hour or day.",
        examples=["60/minute", "5/second"],
    )
    burst: int = Field(
        ge=1,
        le=10**9,
        description="How many tokens fit: the most calls at once after a pause.",
        examples=[20],
    )
    scope: Scope = Field(
        default="account",
        description=(
            "Whose calls share a bucket: account, key, ip, route, header:<name> or claim:<name>, "
            "or a list; then those alike in all of them."
        ),
        examples=["key", ["account", "route"], "header:X-Tenant"],
    )
    meter: Name | None = Field(
        default=None,
        description="The meter whose units are its tokens; if left out, those of the route's cost.",
        examples=["tokens"],
    )
    routes: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The routes whose calls it is about; every route if left out.",
        examples=[["exports"]],
    )


class TierDocument(Document):
    """What a customer pays for and what that allows."""

    title: Title | None = Field(
        default=None, description="What people call it; the tier's name if left out.", examples=["Team"]
    )
    extends: Name | None = Field(
        default=None,
        description=(
            "A tier to start from: limits, quotas and concurrency of the same name are replaced, others "
            "added, features united. Title and price are not inherited; admission is, unless written."
        ),
        examples=["community"],
    )
    price: PriceDocument | None = Field(
        default=None,
        description="What it costs; leave it out for a tier that is not sold by itself.",
        examples=[{"amount": 2500, "currency": "USD", "per": "month"}],
    )
    limits: list[LimitDocument] = Field(
        default=[],
        max_length=MOST_OF_A_TIER,
        description="How fast an account may call; each call must pass all of them.",
        examples=[[{"name": "burst", "rate": "60/minute", "burst": 20}]],
    )
    quotas: list[QuotaDocument] = Field(
        default=[],
        max_length=MOST_OF_A_TIER,
        description="How much an account may use per period; each call must pass all it pays into.",
        examples=[[{"meter": "api_calls", "amount": 1000, "per": "month"}]],
    )
    concurrency: list[ConcurrencyDocument] = Field(
        default=[],
        max_length=MOST_OF_A_TIER,
        description="How many calls may be under way at once; each call must find room in all of them.",
        examples=[[{"name": "builds", "max": 1, "on_full": "queue"}]],
    )
    features: list[Name] = Field(
        default=[],
        max_length=500,
        description="What routes may require; any name you like.",
        examples=[["export"]],
    )
    admission: Literal["auto", "leased", "exact"] | None = Field(
        default=None,
        description="How limits of this tier are decided, auto, leased or exact; admission.mode if left out.",
        examples=["exact"],
    )


class MatchDocument(Document):
    """Which calls a route is for."""

    methods: list[Method] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="HTTP methods in capitals; every method if left out. GET includes HEAD.",
        examples=[["GET", "POST"]],
    )
    path: Path = Field(
        description=(
            "A canonical path; * or a {name} stands for exactly one segment, "
            "a last /** for nothing or anything below."
        ),
        examples=["/api/v1/exports/**", "/api/v1/projects/*/builds", "/**"],
    )
    hosts: list[Host] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description=(
            "Host names in lower case without port, *.example.com for all below that name; "
            "every host if left out."
        ),
        examples=[["api.example.com", "*.example.com"]],
    )


class SideDocument(Document):
    """One of several upstreams that share the calls of a route."""

    upstream: Name = Field(description="The upstream this part of the calls goes to.", examples=["next"])
    weight: int = Field(
        ge=0,
        le=1000,
        description="Its share of the accounts, relative to the other sides; 0: none.",
        examples=[5],
    )


class RouteDocument(Document):
    """Where calls go and what they need. The first route that matches decides."""

    name: Name = Field(description="Shown in usage rows and metrics.", examples=["everything-else"])
    match: MatchDocument = Field(description="Which calls it is for.", examples=[{"path": "/api/**"}])
    upstream: Name | None = Field(
        default=None,
        description="The upstream these calls go to; a route has this or split.",
        examples=["projects"],
    )
    split: list[SideDocument] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description="Upstreams that share these calls, each account on one side as long as weights stay.",
        examples=[[{"upstream": "projects", "weight": 95}, {"upstream": "next", "weight": 5}]],
    )
    requires: list[Name] = Field(
        default=[],
        max_length=32,
        description="Features the caller's tier must have, all of them; otherwise 403.",
        examples=[["export"]],
    )
    scopes: list[OAuthScope] = Field(
        default=[],
        max_length=32,
        description="Scopes the caller's key or token must have, all of them; otherwise 403.",
        examples=[["projects:write"]],
    )
    charges: dict[Name, AnyCharge] = Field(
        default={"api_calls": ChargeDocument()},
        max_length=32,
        description=(
            "What one call costs: units per meter, for api_calls and declared meters. "
            "What is written replaces the default; a meter that is left out is not charged."
        ),
        examples=[{"api_calls": 5}, {"api_calls": {"units": 1, "methods": {"POST": 5}}}],
    )
    bill_on: BillOnDocument | None = Field(
        default=None,
        description="Which ends of a call are billed, where that differs from the folder's bill_on.",
        examples=[{"upstream_error": True}],
    )
    cost: AnyCost = Field(
        default=CostDocument(),
        description="How many tokens one call takes from each limit; with 0 limits do not apply.",
        examples=[5, {"per_kib": 1}],
    )
    timeouts: RouteTimeoutsDocument | None = Field(
        default=None,
        description="Where these calls wait longer or shorter than the upstream's others.",
        examples=[{"response": "5m", "total": "10m"}],
    )
    max_body: Size | None = Field(
        default=None,
        description=(
            "The largest request body, then 413: a whole number with B, kB, MB, GB, KiB, MiB or GiB, or none "
            "for no limit; TOLLWAY_MAX_BODY_BYTES if left out."
        ),
        examples=["10MB", "1GiB", "0B"],
    )
    max_message: AnyMessage | None = Field(
        default=None,
        description="The largest message of a WebSocket, then it is closed with 1009; any if left out.",
        examples=["1MiB", {"ingress": "64KiB"}],
    )
    rewrite: RewriteDocument | None = Field(
        default=None,
        description="Another path for the upstream than the caller's.",
        examples=[{"strip_prefix": "/v1"}],
    )
    request_headers: HeadersDocument | None = Field(
        default=None,
        description="What changes of the headers of a request, besides what the upstream says.",
        examples=[{"set": {"X-Api-Version": "2"}}],
    )
    response_headers: HeadersDocument | None = Field(
        default=None,
        description="What changes of the headers of the upstream's answer, besides what the upstream says.",
        examples=[{"remove": ["Server"]}],
    )
    cors: Name | None = Field(
        default=None,
        description=(
            "The CORS profile for pages of other origins; without, CORS is left to the upstream and OPTIONS "
            "is a method like any other."
        ),
        examples=["browsers"],
    )
    addresses: AddressesDocument | None = Field(
        default=None,
        description="Who may call, by IP address; others get 403 whatever their key. Everybody if left out.",
        examples=[{"allow": ["203.0.113.0/24"]}],
    )
    access: AccessDocument | None = Field(
        default=None,
        description="How callers may show who they are; by API keys if left out.",
        examples=[{"issuers": ["acme"], "anonymous": "visitor"}],
    )
    forward_credentials: bool = Field(
        default=False,
        description="Whether the upstream sees the API key; otherwise it is taken out of the request.",
        examples=[False],
    )
    raw: bool = Field(
        default=True,
        description=(
            "Whether each call is kept as a usage row of its own; with false only its part of the sums, "
            "which are exact either way."
        ),
        examples=[False],
    )


class AdmissionDocument(Document):
    """How limits are decided."""

    mode: Literal["auto", "leased", "exact"] = Field(
        default="auto",
        description=(
            "auto lets workers buy tokens in advance while they are plentiful, leased when they are scarce "
            "too; exact asks Redis for every call."
        ),
        examples=["auto"],
    )
    on_store_loss: Literal["refuse", "local", "allow"] = Field(
        default="refuse",
        description=(
            "While Redis is gone: refuse calls with 503, decide limits by each worker's part of them "
            "(local), or allow calls unchecked. What passes is still metered."
        ),
        examples=["refuse"],
    )
    headers: Literal["draft", "legacy", "off"] = Field(
        default="draft",
        description=(
            "How answers tell callers about their limits: draft is RateLimit and RateLimit-Policy, legacy "
            "X-RateLimit-Limit, -Remaining and -Reset of the tightest limit or quota, off neither. "
            "Retry-After stays."
        ),
        examples=["draft"],
    )
    retry_jitter: Duration | None = Field(
        default=None,
        description="Refused callers are told to wait up to so much longer, each another while.",
        examples=["2s"],
    )


class PolicyFile(Document):
    """A Tollway policy file. All files of the folder are merged; every part may stand in any of them."""

    upstreams: dict[Name, UpstreamDocument] = Field(
        default={}, description="The APIs that are protected, by name."
    )
    meters: dict[Name, MeterDocument] = Field(
        default={},
        description=(
            "What is counted besides the built-in meters api_calls, ingress_bytes, egress_bytes, "
            "duration_ms and messages."
        ),
    )
    tiers: dict[Name, TierDocument] = Field(
        default={},
        description="What customers pay for, by name, in the order of an upgrade: cheapest first.",
    )
    routes: list[RouteDocument] = Field(
        default=[], description="Which calls go where, first match wins; files in the order of their paths."
    )
    cors: dict[Name, CorsDocument] = Field(
        default={}, description="Which pages of other origins may call, as profiles that routes name."
    )
    issuers: dict[Name, IssuerDocument] = Field(
        default={}, description="Whose tokens (JWT) are believed, where a route says so."
    )
    admission: AdmissionDocument = Field(
        default=AdmissionDocument(), description="How limits are decided. At most once in the folder."
    )
    bill_on: BillOnDocument = Field(
        default=BillOnDocument(),
        description="Which ends of a call are billed, by outcome. At most once in the folder.",
    )
    upgrade_url: Link | None = Field(
        default=None,
        description=(
            "Where refused callers are sent to upgrade; {tier} becomes the name of the tier that helps. "
            "The portal's own page if left out. At most once in the folder."
        ),
        examples=["https://example.com/pricing?tier={tier}"],
    )
