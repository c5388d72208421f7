"""What a token may do. A scope is `<resource>:read` or `<resource>:write`; whoever may write may read."""

from __future__ import annotations

from collections.abc import Collection

RESOURCES = (
    "accounts",
    "audit",
    "corrections",
    "enforcement",
    "explain",
    "gateway",
    "keys",
    "members",
    "policies",
    "tokens",
    "usage",
)
EVERYTHING = "*"
READ_EVERYTHING = "*:read"
SCOPES = frozenset(
    (
        EVERYTHING,
        READ_EVERYTHING,
        *(f"{resource}:{right}" for resource in RESOURCES for right in ("read", "write")),
    )
)


def allows(scopes: Collection[str], needed: str) -> bool:
    """Whether one of `scopes` covers the scope that is needed."""
    if EVERYTHING in scopes or needed in scopes:
        return True
    resource, _, right = needed.partition(":")
    return right == "read" and (READ_EVERYTHING in scopes or f"{resource}:write" in scopes)


def unknown(scopes: Collection[str]) -> list[str]:
    """Those that are none."""
    return sorted(set(scopes) - SCOPES)
