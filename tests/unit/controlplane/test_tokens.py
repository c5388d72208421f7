"""Who is an operator."""

from __future__ import annotations

import pytest

from gateway.controlplane.tokens import BootstrapToken, Operator

TOKEN = "an-admin-token-of-the-test"


@pytest.mark.parametrize(
    ("case", "configured", "given", "recognised"),
    [
        ("the token", TOKEN, TOKEN, True),
        ("another one", TOKEN, TOKEN.upper(), False),
        ("its beginning", TOKEN, TOKEN[:-1], False),
        ("nothing", TOKEN, "", False),
        ("bytes that are no text", TOKEN, "\udcff\udcfe", False),
        ("nothing, where none is configured", None, "", False),
        ("anything, where none is configured", None, TOKEN, False),
        ("nothing, where an empty one is configured", "", "", False),
    ],
)
async def test_only_the_configured_token_is_recognised(
    case: str, configured: str | None, given: str, recognised: bool
) -> None:
    expected = Operator("bootstrap") if recognised else None
    assert await BootstrapToken(configured).recognise(given) == expected, case


def test_the_token_is_not_kept() -> None:
    assert TOKEN not in repr(vars(BootstrapToken(TOKEN)))
