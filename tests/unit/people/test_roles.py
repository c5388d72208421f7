"""Roles and their rights."""

from __future__ import annotations

import pytest

from gateway.people.roles import RIGHTS, ROLES, may, may_decide_about


def test_every_role_has_rights_and_a_higher_one_has_no_fewer() -> None:
    assert tuple(RIGHTS) == ROLES
    assert RIGHTS["owner"] >= RIGHTS["admin"] >= RIGHTS["member"] >= RIGHTS["billing"]


@pytest.mark.parametrize(
    ("role", "right", "allowed"),
    [
        ("owner", "members:write", True),
        ("admin", "members:write", True),
        ("member", "members:write", False),
        ("member", "keys:write", True),
        ("billing", "keys:read", False),
        ("billing", "usage:read", True),
        ("owner", "nothing:write", False),
    ],
)
def test_who_may_what(role: str, right: str, allowed: bool) -> None:
    assert may(role, right) is allowed


@pytest.mark.parametrize(
    ("role", "other", "allowed"),
    [
        ("owner", "owner", True),
        ("admin", "owner", False),
        ("admin", "admin", True),
        ("member", "member", False),
    ],
)
def test_who_decides_about_whom(role: str, other: str, allowed: bool) -> None:
    assert may_decide_about(role, other) is allowed
