"""What members of an account may do. A right is `<resource>:read` or `<resource>:write`."""

from __future__ import annotations

OWNER, ADMIN, MEMBER, BILLING = ROLES = ("owner", "admin", "member", "billing")

_LOOK = frozenset({"account:read", "members:read", "usage:read"})
_KEYS = frozenset({"keys:read", "keys:write"})

RIGHTS = {
    OWNER: _LOOK | _KEYS | {"members:write"},
    ADMIN: _LOOK | _KEYS | {"members:write"},
    MEMBER: _LOOK | _KEYS,
    BILLING: _LOOK,
}


def may(role: str, right: str) -> bool:
    """Whether a member in this role has the right."""
    return right in RIGHTS[role]


def may_decide_about(role: str, other: str) -> bool:
    """Whether members in this role may give, change or take away the role `other`: owners only by owners."""
    return may(role, "members:write") and (role == OWNER or other != OWNER)
