"""What is known of callers that were let in, and what has to be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from gateway.accounts.keys import digest
from gateway.accounts.records import FoundKey
from gateway.auth.cache import FRESH_US
from gateway.errors import AccountSuspended, Unauthenticated
from tests.unit.auth.test_authenticator import PAST_FRESH_S, PRINCIPAL, SECRET, Bench

DIGEST = digest(SECRET)
CALLER = replace(PRINCIPAL, digest=DIGEST)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    made.keys[DIGEST] = FoundKey(CALLER, active=True)
    await made.call()
    yield made
    await made.tasks.close()


async def test_a_caller_that_nobody_changed_costs_no_question(bench: Bench) -> None:
    asked = bench.asked
    assert bench.auth.rights.of(CALLER) == ("team", None)
    assert bench.asked == asked


async def test_after_a_change_it_is_asked_and_then_known(bench: Bench) -> None:
    rights = bench.auth.rights
    bench.auth.cache.drop_account(1)
    assert rights.of(CALLER) is None
    bench.keys[DIGEST] = FoundKey(replace(CALLER, tier="free"), active=True)
    await rights.ask([CALLER])
    assert rights.of(CALLER) == ("free", None)


async def test_a_revoked_key_is_refused(bench: Bench) -> None:
    rights = bench.auth.rights
    del bench.keys[DIGEST]
    bench.auth.cache.drop_key(DIGEST)
    await rights.ask([CALLER])
    standing = rights.of(CALLER)
    assert standing is not None
    assert isinstance(standing[1], Unauthenticated)


async def test_a_suspended_account_is_refused(bench: Bench) -> None:
    rights = bench.auth.rights
    bench.keys[DIGEST] = FoundKey(CALLER, active=False)
    bench.auth.cache.drop_account(1)
    await rights.ask([CALLER])
    standing = rights.of(CALLER)
    assert standing is not None
    assert isinstance(standing[1], AccountSuspended)


async def test_a_key_that_was_rotated_expires_when_its_overlap_is_over(bench: Bench) -> None:
    rights = bench.auth.rights
    expiring = replace(CALLER, expires_at_us=bench.clock.now_us() + 5_000_000)
    bench.keys[DIGEST] = FoundKey(expiring, active=True)
    bench.auth.cache.drop_key(DIGEST)
    await rights.ask([CALLER])
    assert rights.of(CALLER) == ("team", None)
    bench.clock.advance(5)
    standing = rights.of(CALLER)
    assert standing is not None
    assert isinstance(standing[1], Unauthenticated)


async def test_what_was_heard_long_ago_is_asked_anew(bench: Bench) -> None:
    bench.clock.advance(PAST_FRESH_S)
    assert bench.auth.rights.of(CALLER) is None


async def test_while_postgres_is_gone_nobody_is_refused_but_expiry_is_known(bench: Bench) -> None:
    rights = bench.auth.rights
    bench.error = ConnectionRefusedError()
    bench.clock.advance(FRESH_US / 1e6 + 1)
    await rights.ask([CALLER])
    asked = bench.asked
    await rights.ask([CALLER] * 100)
    assert bench.asked == asked, "a moment later nobody asks again"
    assert rights.of(CALLER) is None
    standing = rights.of(replace(CALLER, expires_at_us=bench.clock.now_us()))
    assert standing is not None
    assert isinstance(standing[1], Unauthenticated)


async def test_a_caller_without_a_key_of_ours_has_its_expiry_alone(bench: Bench) -> None:
    assert bench.auth.rights.of(replace(CALLER, digest=b"")) == ("team", None)
