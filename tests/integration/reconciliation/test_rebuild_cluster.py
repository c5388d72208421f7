"""A node of a Redis Cluster that lost its counters gets them back from the ledger; others do not notice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.accounts.store import Accounts
from gateway.admission.open_counters import Counting, open_counters
from gateway.clock import SystemClock
from gateway.journal.records import Call
from gateway.ledger.quotas import QuotaLedger
from gateway.ledger.recorder import Recorder
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode
from gateway.policy.load import load_folder
from gateway.reconciliation.job import rebuild_forever
from gateway.reconciliation.rebuild import Rebuilder
from gateway.storage.postgres import connect_pool
from gateway.telemetry.slots import Slots
from tests.integration.ledger.books import Books
from tests.integration.redis.clusters import Cluster, Node
from tests.integration.redis.test_cluster import Worker
from tests.unit.admission.plans import plan, quota
from tests.unit.journal.journals import begin, end

POLICIES = """
upstreams: {up: {targets: [http://127.0.0.1:9]}}
tiers: {small: {quotas: [{meter: api_calls, amount: 10, per: month}]}}
routes: [{name: all, match: {path: /**}, upstream: up}]
"""
AMOUNT, ACCOUNTS = 10, 12


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path / "cluster")
    yield made.start()
    made.close()


@pytest.fixture
async def counting(cluster: Cluster) -> AsyncIterator[Counting]:
    opened = await open_counters(cluster.url)
    yield opened
    await opened.close()


@pytest.fixture
async def worker(cluster: Cluster) -> AsyncIterator[Worker]:
    one = await Worker(cluster.url).start()
    yield one
    await one.close()


@pytest.fixture
async def books(database_url: str, tmp_path: Path) -> AsyncIterator[Books]:
    pool = await connect_pool(database_url)
    yield Books(pool, tmp_path / "journals")
    await pool.close()


@pytest.fixture
def policies(tmp_path: Path) -> PolicySet:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "all.yaml").write_text(POLICIES)
    loaded = load_folder(tmp_path / "policies")
    assert loaded.policies is not None, loaded.problems
    return loaded.policies


def flush(node: Node, accounts: set[int]) -> None:
    """All of it, marks and counters."""
    node.operator.flushall()


def drop(node: Node, accounts: set[int]) -> None:
    """Memory is short, and somebody has set it to drop what expires next: counters, and no marks."""
    node.operator.config_set("maxmemory-policy", "volatile-ttl")
    node.operator.config_set("maxmemory-samples", "64")
    node.operator.config_set("maxmemory", str(node.operator.info("memory")["used_memory"] + 200_000))
    counters = [key for one in accounts for key in node.operator.scan_iter(f"tw:{{{one}l}}:q:*")]
    number, tag = 0, f"{min(accounts)}l"
    while any(node.operator.exists(one) for one in counters):
        number += 1
        node.operator.set(f"ballast{number}:{{{tag}}}", "x" * 10_000, ex=3_000_000)
    node.operator.config_set("maxmemory", "0")


@pytest.mark.parametrize("lose", [flush, drop])
async def test_a_node_that_lost_counters_gives_no_unit_away(
    books: Books,
    cluster: Cluster,
    counting: Counting,
    worker: Worker,
    policies: PolicySet,
    lose: Callable[[Node, set[int]], None],
) -> None:
    made = Accounts(books.pool, "tw")
    accounts = [(await made.create_account(f"a{number}", "small")).id for number in range(ACCOUNTS)]
    journal, slots = books.writer(1), Slots.in_memory()
    recorder = Recorder(books.pool, books.journals_dir, slots, SystemClock())
    charges, sequence = plan(quota(AMOUNT)), 0
    stop = asyncio.Event()
    recording = asyncio.ensure_future(recorder.run(stop))
    rebuilder = Rebuilder(QuotaLedger(books.pool), counting.counters, lambda: policies, wait_s=20)
    control = asyncio.ensure_future(rebuild_forever(rebuilder, books.pool, slots))
    passed = dict.fromkeys(accounts, 0)

    async def ask(account: int) -> str:
        """One call; those that pass are in the journal."""
        nonlocal sequence
        answer = await worker.ask(account, charges)
        if answer == "passed":
            passed[account] += 1
            sequence += 1
            paid = Call(account, 1, Mode.LIVE, "small", "all", "GET", {"api_calls": 1})
            begin(journal, sequence, paid, at_us=SystemClock().now_us())
            end(journal, sequence)
        return answer

    async def ask_until(account: int, *, passes: int = AMOUNT, answer: str = "") -> None:
        async with asyncio.timeout(60):
            while await ask(account) != answer and (answer or passed[account] < passes):
                await asyncio.sleep(0.005)

    for account in accounts:
        await ask_until(account, passes=3)
    there = cluster.nodes[0]
    lost = {account for account in accounts if cluster.owner(f"{{{account}l}}") is there}
    assert lost
    assert set(accounts) - lost
    lose(there, lost)
    for account in set(accounts) - lost:
        assert await ask(account) == "passed", "they do not notice"
    for account in accounts:
        await ask_until(account, answer="refused")
    assert set(passed.values()) == {AMOUNT}
    assert slots.get("quota_rebuilds_total") >= 2, "at first, and of what was lost"
    control.cancel()
    stop.set()
    await recording
    journal.close()
