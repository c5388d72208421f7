"""What a token may do."""

from __future__ import annotations

import pytest

from gateway.operators.scopes import allows, unknown


@pytest.mark.parametrize(
    ("case", "scopes", "needed", "allowed"),
    [
        ("the very scope", ("keys:read",), "keys:read", True),
        ("writing includes reading", ("keys:write",), "keys:read", True),
        ("reading does not include writing", ("keys:read",), "keys:write", False),
        ("another resource", ("accounts:write",), "keys:read", False),
        ("all of it", ("*",), "tokens:write", True),
        ("reading all of it", ("*:read",), "tokens:read", True),
        ("reading all of it is not writing", ("*:read",), "tokens:write", False),
        ("one of several", ("usage:read", "keys:write"), "keys:write", True),
        ("nothing", (), "usage:read", False),
    ],
)
def test_scopes(case: str, scopes: tuple[str, ...], needed: str, allowed: bool) -> None:
    assert allows(scopes, needed) is allowed, case


def test_what_is_no_scope_is_told() -> None:
    assert unknown(["keys:read", "keys:delete", "*", "x"]) == ["keys:delete", "x"]
