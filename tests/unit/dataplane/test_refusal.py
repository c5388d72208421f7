from __future__ import annotations

from typing import cast
from unittest.mock import create_autospec

import pytest

from gateway.dataplane.refusal import refuse
from gateway.errors import (
    GatewayError,
    JournalUnavailable,
    KeyLookupUnavailable,
    NotImplementedHere,
    Overloaded,
    RateLimited,
    TierUnknown,
    UpstreamBusy,
    UpstreamUnreachable,
    VersionRefused,
)
from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.model.policies import Route, Upstream
from gateway.model.usage import Marks

ROUTE = Route("api", "/**", frozenset(), frozenset(), Upstream("next", ()), frozenset(), {})


@pytest.mark.parametrize(
    ("case", "error", "begun", "upstream"),
    [
        ("the call was for an upstream", UpstreamUnreachable(internal="connect"), True, "next"),
        ("nobody knew yet for which", TierUnknown(internal="tier"), False, None),
    ],
)
def test_the_log_says_which_upstream_a_call_was_for(
    case: str, error: GatewayError, begun: bool, upstream: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    exchange = Exchange(RequestHead(), cast("Downstream", create_autospec(Downstream)), b"")
    exchange.body_done = True
    exchange.route, exchange.begun = ROUTE, begun
    refuse(exchange, error)
    assert [getattr(record, "upstream", None) for record in caplog.records] == [upstream]
    assert [getattr(record, "route", None) for record in caplog.records] == ["api"]


@pytest.mark.parametrize("error", [NotImplementedHere(), VersionRefused(), RateLimited()])
def test_what_callers_do_wrong_fills_no_log(error: GatewayError, caplog: pytest.LogCaptureFixture) -> None:
    """Of whatever status: anybody can do it, without a key."""
    exchange = Exchange(RequestHead(), cast("Downstream", create_autospec(Downstream)), b"")
    exchange.body_done = True
    refuse(exchange, error)
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []


@pytest.mark.parametrize(
    "error", [JournalUnavailable(), KeyLookupUnavailable(), Overloaded(), UpstreamBusy(internal="full")]
)
def test_who_comes_at_a_bad_time_is_told_when_to_come_again(error: GatewayError) -> None:
    downstream = create_autospec(Downstream)
    exchange = Exchange(RequestHead(), cast("Downstream", downstream), b"")
    exchange.body_done = True
    refuse(exchange, error)
    status, _, lines, _ = downstream.answer.call_args.args
    assert status == 503
    assert b"\r\nRetry-After: " in b"".join(lines)


def test_a_refusal_is_marked_with_its_code_and_with_what_refused() -> None:
    exchange = Exchange(RequestHead(), cast("Downstream", create_autospec(Downstream)), b"")
    exchange.body_done = True
    refuse(exchange, RateLimited("too fast", extensions={"violated-policies": ["burst"]}))
    assert exchange.marks == Marks("rate_limited", ("burst",))


def test_a_call_that_began_keeps_the_marks_it_began_with() -> None:
    exchange = Exchange(RequestHead(), cast("Downstream", create_autospec(Downstream)), b"")
    exchange.body_done = exchange.begun = True
    exchange.marks = Marks(shadows=("tried",))
    refuse(exchange, UpstreamUnreachable())
    assert exchange.marks == Marks(shadows=("tried",))
