"""Callers with test keys may ask for refusals; nobody else can."""

from __future__ import annotations

from typing import cast

import pytest

from gateway.dataplane.simulation import SIMULATED, simulate
from gateway.errors import BadRequest, GatewayError
from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.model.principal import Mode, Principal


def asking(value: bytes | None, mode: Mode = Mode.TEST) -> Exchange:
    exchange = Exchange(RequestHead(), cast("Downstream", None), b"")
    exchange.head.simulate = value
    exchange.principal = Principal(1, "acct_1", 1, "key_1", "team", mode, b"")
    return exchange


@pytest.mark.parametrize("code", sorted(SIMULATED))
def test_what_is_asked_for_is_what_is_answered(code: str) -> None:
    with pytest.raises(GatewayError) as raised:
        simulate(asking(f" {code.upper()} ".encode()))
    error = raised.value
    assert (error.code, error.extensions) == (code, {"simulated": True})
    assert "simulation" in error.detail
    assert (error.headers == b"Retry-After: 1\r\n") is (error.status in (429, 503))


@pytest.mark.parametrize("value", [b"", b"teapot", b"internal_error", b"\xff", b"rate_limited, teapot"])
def test_what_can_not_be_simulated_is_told(value: bytes) -> None:
    with pytest.raises(BadRequest, match="must be one of: account_suspended"):
        simulate(asking(value))


def test_a_live_key_simulates_nothing() -> None:
    simulate(asking(b"rate_limited", Mode.LIVE))


def test_who_does_not_ask_gets_nothing() -> None:
    simulate(asking(None))
