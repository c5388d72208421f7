"""Who may use a route, and what is believed of tokens that others issue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Issuer:
    """Somebody whose tokens (JWT, RFC 7519) are believed. Algorithms are of one family.

    Keys come from `pems` (by key id, empty for the only one), from the environment variable `secret_env`, or
    from `jwks_url`; exactly one of them.
    """

    name: str
    issuer: str  # `iss`
    audience: tuple[str, ...]  # one of them must be in `aud`
    algorithms: tuple[str, ...]
    pems: Mapping[str, str] = field(default_factory=dict)
    secret_env: str | None = None
    jwks_url: str | None = None
    account_claim: str = "sub"
    tier_claim: str | None = None
    required: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # claim -> one of these values
    leeway_s: int = 30
    counted: tuple[str, ...] = ()  # claims that limits tell callers apart by


@dataclass(frozen=True, slots=True)
class Access:
    """How callers of a route may show who they are."""

    keys: bool = True
    issuers: tuple[Issuer, ...] = ()
    anonymous: str | None = None  # the tier of callers who show nothing
    query_key: bytes | None = None  # the parameter of the query that may hold a key; None: none does
    scopes: frozenset[str] = frozenset()  # what callers must have been given, all of them


KEYS_ONLY = Access()
