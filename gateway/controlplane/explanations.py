"""What is asked and told about a single call: why it is treated as it is."""

from __future__ import annotations

import re
from typing import Annotated, Protocol
from uuid import UUID

from pydantic import AfterValidator, Field, field_validator, model_validator
from typing_extensions import TypedDict

from gateway.accounts.keys import is_well_formed
from gateway.controlplane.bodies import Sent
from gateway.controlplane.enforcement_api import SwitchDocument
from gateway.controlplane.usage_api import EventDocument

SECRETS = frozenset(("authorization", "cookie", "proxy-authorization", "x-api-key"))
_KEY_LIKE = re.compile(r"[a-z][a-z0-9]{1,15}_(?:live|test)_[0-9A-Za-z]{30}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")


def _harmless(text: str) -> str:
    """Text that a head can be made of, and that is no secret of ours."""
    if not text.isascii() or not text.isprintable():
        raise ValueError("must be printable ASCII")
    if any(is_well_formed(found.encode()) for found in _KEY_LIKE.findall(text)):
        raise ValueError("holds an API key; name the caller by `account` or `key` and their ids instead")
    return text


Text = Annotated[str, Field(max_length=8192), AfterValidator(_harmless)]


class Question(Sent):
    """A call that could be made, and by whom: `account`, or `key`, or neither: somebody who shows nothing."""

    account: Annotated[str, Field(pattern=r"^acct_[0-9A-Za-z]{1,40}$")] | None = None
    key: Annotated[str, Field(pattern=r"^key_[0-9A-Za-z]{1,40}$")] | None = None
    method: Annotated[str, Field(pattern=r"^[A-Z][A-Z-]{0,31}$")] = "GET"
    path: Text
    host: Text = "localhost"
    headers: Annotated[dict[str, Text], Field(max_length=100)] = Field(default_factory=dict)
    client_ip: Annotated[str, Field(pattern=r"^[0-9A-Fa-f:.]{2,45}$")] = "127.0.0.1"

    @field_validator("path")
    @classmethod
    def _no_space(cls, path: str) -> str:
        if " " in path or not path.startswith(("/", "*")):
            raise ValueError("must be a path like /api/v1/projects?page=2, percent-encoded")
        return path

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in SECRETS:
                raise ValueError(f"`{name}` is a secret; name the caller by `account` or `key` and their ids")
            if not _TOKEN.fullmatch(name) or name.lower() == "host":
                raise ValueError("has a name that can not be; `host` is a field of its own")
        return headers

    @model_validator(mode="after")
    def _one_caller(self) -> Question:
        if self.account is not None and self.key is not None:
            raise ValueError("`account` and `key` do not go together: a key has one account")
        return self


class RequestDocument(TypedDict):
    """The call that was asked about, its path in the spelling that is matched and forwarded."""

    method: str
    host: str
    path: str
    client_ip: str


class RouteDocument(TypedDict):
    """The route that takes the call."""

    name: str
    path: str
    methods: list[str]
    hosts: list[str]
    upstream: str
    requires: list[str]
    scopes: list[str]


class PassedOver(TypedDict):
    """A route whose path fits as well, and why it does not take the call."""

    name: str
    path: str
    why: str


class CallerDocument(TypedDict):
    """Who calls, as a worker recognises it."""

    kind: str  # key, account, anonymous
    account: str | None
    key: str | None
    mode: str
    tier: str
    features: list[str]
    only_routes: list[str]
    only_methods: list[str]
    only_networks: list[str]
    not_networks: list[str]
    scopes: list[str] | None  # None: all that routes may require
    expires_at: str | None


class ChargeDocument(TypedDict):
    """One limit, quota or concurrency limit the call pays into, and how it stands before the call."""

    name: str
    kind: str  # limit, quota, concurrency
    text: str
    scope: list[str]
    counter: str | None
    cost: int
    size: int
    left: int | None  # None: Redis did not say
    used: int | None
    held_in_advance: int  # tokens that workers have bought, of what is not left
    period_start: str | None
    period_end: str | None
    override: bool
    enforced: bool
    shadow_because: str | None  # policies, rollout, switch
    would_refuse: bool
    retry_after_s: int


class Explanation(TypedDict):
    """What would happen to a call now, and why. Nothing was charged."""

    verdict: str  # forward, queue, refuse, answer
    why: str
    status: int | None
    code: str | None
    request: RequestDocument
    route: RouteDocument | None
    passed_over: list[PassedOver]
    caller: CallerDocument | None
    charges: list[ChargeDocument]
    switches: list[SwitchDocument]
    headers: dict[str, str]
    problem: dict[str, object] | None
    policies: str
    at: str | None
    notes: list[str]


class PoliciesThen(TypedDict):
    """Policies that a gateway had in use, since when, and what made it take them."""

    digest: str
    applied_at: str | None
    gateway: str
    how: str
    actor: str


class PastExplanation(TypedDict):
    """What was decided about a call that was made."""

    why: str
    call: EventDocument
    policies: list[PoliciesThen]


class Explains(Protocol):
    """Whoever knows what workers would do, and what they did."""

    async def explain(self, question: Question) -> Explanation:
        """What would happen to this call now. NotFound for a caller who is not there."""

    async def look_back(self, request_id: UUID) -> PastExplanation:
        """What was decided about the call that was given this id. NotFound when nobody knows."""
