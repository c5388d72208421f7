"""Who may call, as the policy files write it: issuers of tokens, what a route accepts, and from where."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from gateway.policy.problems import shown
from gateway.policy.values import Document, Name, Range

ENVIRONMENT_NAME = r"^[A-Z][A-Z0-9_]{0,99}$"
# Never what clouds tell machines about themselves; no `@` that makes another host of what looks like ours.
_SETS = (
    r"^(https://(?!169\.254\.|\[[fF][eE]80:)[^\s@]{1,2000}"
    r"|http://(127\.0\.0\.1|localhost|\[::1\])(:[0-9]{1,5})?(/[^\s@]{0,2000})?)$"
)

OAUTH_SCOPE = r"^[!#-\[\]-~]{1,100}$"
PARAMETER = r"^[A-Za-z0-9_.-]{1,64}$"

Algorithm = Literal[
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "HS256",
    "HS384",
    "HS512",
]
Short = Annotated[str, Field(min_length=1, max_length=200)]


def check_key_set(value: object) -> str:
    """Where a key set is fetched: over TLS, or from this machine."""
    if isinstance(value, str) and re.fullmatch(_SETS, value):
        return value
    raise ValueError(f"must be an https URL such as https://acme.example/jwks.json, got {shown(value)}")


def check_environment_name(value: object) -> str:
    """The name of an environment variable. Secrets never stand in policy files."""
    if isinstance(value, str) and re.fullmatch(ENVIRONMENT_NAME, value):
        return value
    raise ValueError("must be the name of an environment variable, in capitals, such as ACME_SECRET")


def check_scope(value: object) -> str:
    """What a key or token may have been given, as OAuth spells it (RFC 6749, section 3.3)."""
    if isinstance(value, str) and re.fullmatch(OAUTH_SCOPE, value):
        return value
    wanted = "1 to 100 printable ASCII characters, no spaces, quotes or backslashes"
    raise ValueError(f"must be a scope ({wanted}) such as projects:write, got {shown(value)}")


def check_parameter(value: object) -> str:
    """The name of a query parameter, in characters that no server reads in two ways."""
    if isinstance(value, str) and re.fullmatch(PARAMETER, value):
        return value
    wanted = "1 to 64 letters, digits, `_`, `.` or `-`"
    raise ValueError(f"must be the name of a query parameter ({wanted}) such as api_key, got {shown(value)}")


OAuthScope = Annotated[str, BeforeValidator(check_scope), Field(json_schema_extra={"pattern": OAUTH_SCOPE})]
KeySetUrl = Annotated[str, BeforeValidator(check_key_set), Field(json_schema_extra={"pattern": _SETS})]
EnvironmentName = Annotated[
    str, BeforeValidator(check_environment_name), Field(json_schema_extra={"pattern": ENVIRONMENT_NAME})
]

Parameter = Annotated[str, BeforeValidator(check_parameter), Field(json_schema_extra={"pattern": PARAMETER})]


class IssuerDocument(Document):
    """Somebody whose tokens (JWT) are believed. Its keys are one of `jwks_url`, `pems` and `secret_env`."""

    issuer: Short = Field(description="Exactly what `iss` is.", examples=["https://acme.example/"])
    audience: list[Short] = Field(
        min_length=1, max_length=20, description="`aud` must have one of these.", examples=[["api"]]
    )
    algorithms: list[Algorithm] = Field(
        min_length=1,
        max_length=3,
        description="What its tokens are signed with: of one family.",
        examples=[["RS256"]],
    )
    jwks_url: KeySetUrl | None = Field(
        default=None,
        description="Where its key set is (RFC 7517): https, or http on this machine. No redirects.",
        examples=["https://acme.example/.well-known/jwks.json"],
    )
    pems: dict[Short, Annotated[str, Field(min_length=1, max_length=20000)]] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Its public keys in PEM, by key id.",
        examples=[{"2026-01": "-----BEGIN PUBLIC KEY-----\n...\n-----END PUBLIC KEY-----\n"}],
    )
    secret_env: EnvironmentName | None = Field(
        default=None,
        description="The environment variable that holds the secret of HS algorithms, at least 32 bytes.",
        examples=["ACME_SECRET"],
    )
    account_claim: Short = Field(
        default="sub", description="The claim with the account's id, ours or the external one."
    )
    tier_claim: Short | None = Field(
        default=None, description="A claim with a tier, instead of the account's own.", examples=["tier"]
    )
    required: dict[Short, Annotated[list[Short], Field(min_length=1, max_length=50)]] = Field(
        default={},
        max_length=20,
        description="Claims that must have one of these values; of a text, a word counts too.",
        examples=[{"scope": ["read"]}],
    )
    leeway_s: int = Field(default=30, ge=0, le=60, description="How far clocks may differ, in seconds.")


class AccessDocument(Document):
    """How callers of a route may show who they are."""

    keys: bool = Field(default=True, description="Whether API keys are accepted.")
    issuers: list[Name] = Field(
        default=[],
        max_length=20,
        description="Whose tokens are accepted as bearer tokens.",
        examples=[["acme"]],
    )
    anonymous: Name | None = Field(
        default=None,
        description="The tier of callers who show nothing; its limits must be per ip, without quotas.",
        examples=["visitor"],
    )
    query_key: Parameter | None = Field(
        default=None,
        description=(
            "A parameter of the query that may hold the API key, for callers that can not set headers; it is "
            "taken out. Keys in addresses end up in logs and histories of others."
        ),
        examples=["api_key"],
    )


class AddressesDocument(Document):
    """Who may call, by IP address."""

    allow: list[Range] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="Only these may call; everybody if left out. IPv4 or IPv6, ranges or single addresses.",
        examples=[["203.0.113.0/24", "2001:db8::/32"]],
    )
    deny: list[Range] | None = Field(
        default=None,
        min_length=1,
        max_length=1000,
        description="These may not call, even if allow holds them.",
        examples=[["203.0.113.66"]],
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.allow is None and self.deny is None:
            raise ValueError("has neither allow nor deny; add one of them or remove it")
        return self
