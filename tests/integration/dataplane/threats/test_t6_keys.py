"""T6: what does not work is refused alike, byte for byte and question for question; guessing is slowed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from gateway.accounts.keys import digest, mint
from gateway.accounts.recognition import find_principal
from gateway.accounts.records import FoundKey, KeyLimits
from gateway.accounts.store import Accounts
from gateway.auth import authenticator
from gateway.auth.authenticator import Authenticator
from gateway.auth.guesses import Guesses
from gateway.clock import SystemClock
from gateway.model.access import Access
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.dataplane.conftest import MakeProxy, Proxy, ScriptedUpstream
from tests.integration.dataplane.threats.conftest import statuses

GET = b"GET /x HTTP/1.1\r\nHost: x\r\nX-API-Key: %b\r\nConnection: close\r\n\r\n"
MOST = 10


class Work:
    """What recognising keys costs: hashes, and questions to Postgres."""

    def __init__(self, pool: Pool) -> None:
        self.pool, self.hashes, self.questions = pool, 0, 0

    async def look_up(self, key: bytes) -> FoundKey | None:
        self.questions += 1
        return await find_principal(self.pool, key)

    def hash(self, secret: bytes) -> object:
        self.hashes += 1
        return sha256(secret)


@pytest.fixture
def work(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> Work:
    made = Work(pool)
    monkeypatch.setattr(authenticator, "sha256", made.hash)
    return made


@pytest.fixture
async def proxy(make_proxy: MakeProxy, work: Work) -> AsyncIterator[Proxy]:
    clock, slots, tasks = SystemClock(), Slots.in_memory(), Tasks()
    guesses = Guesses(clock, slots, MOST)
    auth = Authenticator(work.look_up, slots, clock, tasks, "tw", guesses=guesses)
    # The honest client shows nothing at all; whoever shows something is judged by it.
    yield await make_proxy(auth=auth, route={"access": Access(anonymous="visitor")})
    await tasks.close()


async def of_every_kind(accounts: Accounts, pool: Pool) -> dict[str, bytes]:
    """Keys that do not work, each for another reason. All have the checksum of a key."""
    account = (await accounts.create_account("Acme", "free")).public_id
    revoked, revoked_secret = await accounts.create_key(account)
    await accounts.revoke_key(revoked.public_id)
    expired, expired_secret = await accounts.create_key(account, limits=KeyLimits(expires_in_s=60))
    rotated, rotated_secret = await accounts.create_key(account)
    await accounts.rotate_key(rotated.public_id, 0)
    past = "UPDATE api_keys SET expires_at = now() - interval '1 s' WHERE public_id = ANY($1)"
    await pool.execute(past, [expired.public_id, rotated.public_id])
    secrets = {"revoked": revoked_secret, "expired": expired_secret, "rotated": rotated_secret}
    secrets |= {"unknown": mint("tw", Mode.LIVE).secret, "unknown, test": mint("tw", Mode.TEST).secret}
    return {case: secret.encode() for case, secret in secrets.items()}


def without_ids(answer: bytes) -> bytes:
    """An answer without what differs from call to call: request id and date."""
    ids = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    return re.sub(rb"Date: [^\r]*\r\n", b"", re.sub(ids, b"id", answer))


async def test_whatever_does_not_work_is_refused_alike_and_costs_alike(
    proxy: Proxy, upstream: ScriptedUpstream, work: Work, pool: Pool
) -> None:
    answers, costs = set(), {}
    for case, secret in (await of_every_kind(Accounts(pool, "tw"), pool)).items():
        before = work.hashes, work.questions
        for _ in range(3):
            answers.add(without_ids(await proxy.exchange(GET % secret)))
        costs[case] = work.hashes - before[0], work.questions - before[1]
    # What is no key by its checksum, which anybody can work out, is refused alike for less.
    some = mint("tw", Mode.LIVE).secret.encode()
    wrong_tail = some[:-1] + (b"a" if some[-1:] != b"a" else b"b")
    for secret in (wrong_tail, b"tw_live_", b"garbage", b"tw_live_" + b"x" * 4000):
        answers.add(without_ids(await proxy.exchange(GET % secret)))
    assert len(answers) == 1
    assert statuses(answers.pop()) == [401]
    assert set(costs.values()) == {(3, 1)}, "one hash a call, one question for all of them"
    assert work.questions == len(costs)
    assert upstream.heads == []


async def test_guesses_cause_no_questions_after_a_while(
    proxy: Proxy, upstream: ScriptedUpstream, work: Work, pool: Pool
) -> None:
    accounts = Accounts(pool, "tw")
    account = (await accounts.create_account("Acme", "free")).public_id
    _, known = await accounts.create_key(account)
    _, unseen = await accounts.create_key(account)
    assert statuses(await proxy.exchange(GET % known.encode())) == [200]
    for number in range(100):
        answer = await proxy.exchange(GET % mint("tw", Mode.LIVE).secret.encode())
        assert statuses(answer) == [401 if number < MOST else 429]
    assert work.questions == 1 + MOST
    revoked = (await of_every_kind(accounts, pool))["revoked"]
    held_off = {
        without_ids(await proxy.exchange(GET % secret))
        for secret in (unseen.encode(), revoked, b"garbage", mint("tw", Mode.LIVE).secret.encode())
    }
    assert len({re.sub(rb"Retry-After: \d+", b"", one) for one in held_off}) == 1
    assert b"\r\nRetry-After: " in held_off.pop()
    assert statuses(await proxy.exchange(GET % known.encode())) == [200], "who is known goes on"
    assert work.questions == 1 + MOST
    assert len(upstream.heads) == 2


async def test_no_secret_is_kept_where_keys_are_known(proxy: Proxy, pool: Pool) -> None:
    """Keys are found by their digest: there is no secret to compare with, in constant time or otherwise."""
    accounts = Accounts(pool, "tw")
    _, secret = await accounts.create_key((await accounts.create_account("Acme", "free")).public_id)
    await proxy.exchange(GET % secret.encode())
    rows = await pool.fetch("SELECT to_json(k)::text AS row FROM api_keys AS k")
    assert all(secret not in row["row"] and secret[8:-4] not in row["row"] for row in rows)
    assert digest(secret.encode()).hex() in rows[0]["row"]
