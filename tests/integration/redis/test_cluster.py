"""A real Redis Cluster: calls find their node, follow slots that move, and outlive nodes that are lost."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from gateway.admission.admitter import Admitter
from gateway.admission.charges import Charges
from gateway.admission.cluster_trust import mark_of
from gateway.admission.counters import Move, QuotaCounters
from gateway.admission.open_counters import open_counters
from gateway.admission.open_store import open_store
from gateway.admission.period import period_at
from gateway.admission.store import Ask, Status
from gateway.clock import SystemClock
from gateway.errors import (
    AdmissionUnavailable,
    QuotaExceeded,
    RateLimited,
    StartupError,
    StoreUnavailable,
)
from gateway.model.periods import Period
from gateway.model.policies import ChargePlan, OnStoreLoss
from gateway.storage.hash_slots import slot_of
from gateway.storage.redis import check_redis, parse_address
from gateway.storage.tick_cluster import TickCluster
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.redis.clusters import Cluster, Node
from tests.unit.admission.plans import call, limit, plan, principal, quota

ACCOUNTS = range(1, 13)
PLENTY, YEAR_MS = 10_000_000, 31_536_000_000
SCRIPT = "return {redis.call('INCRBY', KEYS[1], ARGV[1]), redis.call('INCRBY', KEYS[2], ARGV[1])}"


class Worker:
    """What one worker process has of admission, on a cluster."""

    def __init__(self, url: str) -> None:
        self.slots, self.tasks = Slots.in_memory(), Tasks()
        self.redis = TickCluster(parse_address(url), self.slots, self.tasks)
        self.store, self.trust = open_store(self.redis, SystemClock(), self.slots, None)
        self.admitter = Admitter(self.store, self.slots, SystemClock(), self.tasks, "w1")
        self.sha = self.redis.script(SCRIPT)

    async def start(self) -> Worker:
        self.redis.start()
        assert await self.redis.wait_until_up(30)
        self.tasks.spawn(self.trust.watch(), name="admission.trust")
        return self

    async def both(self, tag: str) -> list[int]:
        """Add one to two keys of an account by a script."""
        answer: list[int] = await self.redis.evalsha(self.sha, (f"tw:{{{tag}}}:a", f"tw:{{{tag}}}:b"), (1,))
        return answer

    async def ask(self, account: int, charges: ChargePlan) -> str:
        try:
            grant = await self.admitter.admit(principal(account), charges, call(account))
        except AdmissionUnavailable:
            return "unavailable"
        except (RateLimited, QuotaExceeded):
            return "refused"
        return "passed" if grant.charged else "unchecked"

    async def left(self, account: int, charges: ChargePlan) -> tuple[int, ...]:
        """What the counters hold, once they can be asked."""
        async with asyncio.timeout(60):
            while True:
                at = Charges(charges, self.store.now_ms())
                try:
                    return (await self.store.decide(f"{account}l", at, Ask(calls=0))).left
                except StoreUnavailable:
                    await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.admitter.close()
        await self.tasks.close()
        await self.redis.close()


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path, requirepass="right", masterauth="right")
    yield made.start()
    made.close()


@pytest.fixture
async def worker(cluster: Cluster) -> AsyncIterator[Worker]:
    one = await Worker(cluster.url).start()
    yield one
    await one.close()


def vouch_for_all(cluster: Cluster) -> None:
    for account in ACCOUNTS:
        cluster.vouch_for(f"{account}l")


def account_of(cluster: Cluster, node: Node) -> int:
    return next(one for one in ACCOUNTS if cluster.owner(f"{{{one}l}}") is node)


async def until(worker: Worker, account: int, charges: ChargePlan, answer: str) -> None:
    async with asyncio.timeout(60):
        while await worker.ask(account, charges) != answer:
            await asyncio.sleep(0.01)


async def test_every_node_decides_for_its_own_accounts(cluster: Cluster, worker: Worker) -> None:
    vouch_for_all(cluster)
    charges = plan(limit(60, burst=3), quota(2))
    answers = {one: [await worker.ask(one, charges) for _ in range(3)] for one in ACCOUNTS}
    assert set(map(tuple, answers.values())) == {("passed", "passed", "refused")}
    assert all(node.operator.dbsize() > 0 for node in cluster.nodes)
    assert worker.slots.get("admission_store_up") == 1


async def test_scripts_that_nodes_forgot_are_given_again(cluster: Cluster, worker: Worker) -> None:
    for node in cluster.nodes:
        node.operator.script_flush()
    assert [await worker.both(f"{one}l") for one in ACCOUNTS] == [[1, 1]] * len(ACCOUNTS)


async def test_a_slot_that_moved_is_found_and_remembered(cluster: Cluster, worker: Worker) -> None:
    source, target = cluster.nodes[0], cluster.nodes[1]
    tag = f"{account_of(cluster, source)}l"
    assert await worker.both(tag) == [1, 1]
    cluster.begin_move(slot_of(tag), source, target)
    assert cluster.move_keys(slot_of(tag), source, target) == 2
    cluster.end_move(slot_of(tag), target)
    before = worker.slots.get("admission_store_calls_total")
    assert await worker.both(tag) == [2, 2]
    assert worker.slots.get("admission_store_calls_total") - before == 2, "MOVED, and then there"
    assert await worker.both(tag) == [3, 3]
    assert worker.slots.get("admission_store_calls_total") - before == 3, "at once"


async def test_a_slot_on_its_way_is_asked_where_its_keys_are(cluster: Cluster, worker: Worker) -> None:
    """To a node that has no slots yet, and that nobody has heard of."""
    source, target = cluster.nodes[0], cluster.add()
    tag = f"{account_of(cluster, source)}l"
    assert await worker.both(tag) == [1, 1]
    cluster.begin_move(slot_of(tag), source, target)
    assert await worker.both(tag) == [2, 2], "the keys are where they were"
    assert cluster.move_keys(slot_of(tag), source, target) == 2
    assert await heard(worker, tag) == [3, 3]
    assert target.operator.dbsize() == 2
    cluster.end_move(slot_of(tag), target)
    assert await worker.both(tag) == [4, 4]


async def test_while_some_keys_are_here_and_some_there_nobody_decides(
    cluster: Cluster, worker: Worker
) -> None:
    source, target = cluster.nodes[0], cluster.nodes[1]
    tag = f"{account_of(cluster, source)}l"
    await worker.both(tag)
    cluster.begin_move(slot_of(tag), source, target)
    assert cluster.move_keys(slot_of(tag), source, target, most=1) == 1
    with pytest.raises(StoreUnavailable, match="TRYAGAIN") as refused:
        await worker.both(tag)
    assert refused.value.unsent, "so a refund is sent again"
    cluster.move_keys(slot_of(tag), source, target)
    assert await worker.both(tag) == [2, 2]


async def test_a_cluster_that_is_down_is_told_at_once(cluster: Cluster, worker: Worker) -> None:
    """It does not serve anything unless all slots are, and one is nobody's."""
    for node in cluster.nodes:
        node.operator.config_set("cluster-require-full-coverage", "yes")
    tag = next(f"{one}l" for one in ACCOUNTS if cluster.owner(f"{{{one}l}}") is cluster.nodes[0])
    for node in cluster.nodes:
        node.cluster("DELSLOTS", 16_383)
    with pytest.raises(StoreUnavailable, match="CLUSTERDOWN") as refused:
        await both_for_ever(worker, tag)
    assert refused.value.unsent


async def test_slots_that_move_under_load_lose_and_double_nothing(cluster: Cluster, worker: Worker) -> None:
    """Every call that got an answer is counted, once; those that got none are not counted."""
    charges = plan(limit(1, burst=PLENTY, period_ms=YEAR_MS))
    seen: Counter[tuple[int, str]] = Counter()
    running = True

    async def caller(account: int) -> None:
        while running:
            seen[account, await worker.ask(account, charges)] += 1
            await asyncio.sleep(0)

    callers = [asyncio.ensure_future(caller(one)) for one in ACCOUNTS for _ in range(2)]
    await more_than(seen, 200)
    for number, account in enumerate(ACCOUNTS):
        slot, source = slot_of(f"{account}l"), cluster.owner(f"{{{account}l}}")
        target = next(node for node in cluster.nodes if node is not source)
        cluster.begin_move(slot, source, target)
        await more_than(seen, seen.total() + 20)
        cluster.move_keys(slot, source, target)
        await more_than(seen, seen.total() + 20)
        cluster.end_move(slot, target)
        assert cluster.owner(f"{{{account}l}}") is target, number
    await more_than(seen, seen.total() + 200)
    running = False
    await asyncio.gather(*callers)
    for account in ACCOUNTS:
        (left,) = await worker.left(account, charges)
        passed, unheard = seen[account, "passed"], seen[account, "unavailable"]
        assert passed <= PLENTY - left <= passed + unheard, account
    assert {answer for _, answer in seen} <= {"passed", "unavailable"}


async def test_a_lost_primary_is_the_matter_of_its_accounts_alone(
    cluster: Cluster, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    vouch_for_all(cluster)
    lost = cluster.nodes[1]
    mourning, going_on = account_of(cluster, lost), account_of(cluster, cluster.nodes[2])
    refuse = plan(limit(PLENTY, burst=PLENTY), quota(PLENTY))
    allow = plan(limit(PLENTY, burst=PLENTY), quota(PLENTY), on_store_loss=OnStoreLoss.ALLOW)
    assert await worker.ask(mourning, refuse) == "passed"
    lost.kill()
    await until(worker, mourning, refuse, "unavailable")
    for _ in range(50):
        assert await worker.ask(mourning, refuse) == "unavailable"
        assert await worker.ask(mourning, allow) == "unchecked"
        assert await worker.ask(going_on, refuse) == "passed"
    async with asyncio.timeout(60):
        while worker.slots.get("admission_store_up"):
            await asyncio.sleep(0.01)
    told = [record for record in caplog.records if record.name == "tollway.redis"]
    assert len(told) == 1, "once, and of the one that is gone"
    lost.start()
    await until(worker, mourning, plan(limit(PLENTY, burst=PLENTY)), "passed")


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
async def test_a_node_lost_between_two_parts_of_a_call_leaves_what_is_shared(
    cluster: Cluster, worker: Worker, how: signal.Signals
) -> None:
    """Here is the address's bucket, there the account: it is asked last, and can not be."""
    here, there = cluster.nodes[:2]
    account, near = account_of(cluster, there), account_of(cluster, here)
    address = next(
        f"ip=192.0.2.{one},l" for one in range(99) if cluster.owner(f"{{ip=192.0.2.{one},l}}") is here
    )
    vouch_for_all(cluster)
    both = plan(limit(60, burst=9), limit(1, burst=3, period_ms=YEAR_MS, name="all", scope=("ip",)), quota(9))
    charges = Charges(both, worker.store.now_ms()).paid_into(("b:burst", f"{{{address}}}:b:all"))
    assert there.process is not None
    there.process.send_signal(how)
    for _ in range(5):
        with pytest.raises(StoreUnavailable):
            await worker.store.decide(f"{account}l", charges, Ask())
    answers = [await worker.store.decide(f"{near}l", charges, Ask()) for _ in range(4)]
    assert [one.status for one in answers] == [Status.ADMITTED] * 3 + [Status.REFUSED]
    there.process.send_signal(signal.SIGCONT)


async def test_a_replica_that_took_over_is_used_and_its_counters_are_doubted(
    cluster: Cluster, worker: Worker
) -> None:
    lost = cluster.nodes[0]
    replica = cluster.add(replica_of=lost)
    vouch_for_all(cluster)
    account, charges = account_of(cluster, lost), plan(quota(PLENTY))
    assert await worker.ask(account, charges) == "passed"
    replica.operator.readonly()
    async with asyncio.timeout(60):
        while replica.operator.get(mark_of(slot_of(f"{account}l"))) is None:
            await asyncio.sleep(0.01)
    lost.kill()
    await until(worker, account, plan(limit(PLENTY, burst=PLENTY)), "passed")
    assert await worker.ask(account, charges) == "unavailable", "it may lack what had not reached it"
    assert worker.slots.get("quota_counters_trusted") == 0
    assert cluster.owner(f"{{{account}l}}") is replica
    cluster.vouch_for(f"{account}l")
    await until(worker, account, charges, "passed")
    async with asyncio.timeout(60):
        while not worker.slots.get("quota_counters_trusted"):
            await asyncio.sleep(0.01)


async def test_the_control_plane_sees_and_sets_right_all_nodes(cluster: Cluster, worker: Worker) -> None:
    vouch_for_all(cluster)
    charges = plan(quota(10, notify=(10, 50)))
    for account in ACCOUNTS:
        assert await worker.ask(account, charges) == "passed"
    counting = await open_counters(cluster.url)
    counters = counting.counters
    await counting.ping()
    read = {period: units async for period, units in counters.read()}
    assert sorted(period.account_id for period in read) == list(ACCOUNTS)
    for period in read:
        assert await counters.set_right(period, 4, lower_from=None)
    await counters.add(dict.fromkeys(read, 1), await counters.now_us())
    assert {units async for _, units in counters.read()} == {5}
    await worker.redis.call(("ZADD", "tw:journals", (await counters.now_us()) // 1000, "one"))
    assert await counters.journals(await counters.now_us()) == {"one"}
    await counters.forget_journals({"one"})
    assert await counters.journals(await counters.now_us()) == set()
    told = [await counting.crossings.fetch() for _ in range(16)]
    fields = [field for some in told for field in some]
    assert len(fields) == len(ACCOUNTS)
    await counting.crossings.forget(fields)
    assert not any([await counting.crossings.fetch() for _ in range(16)])
    for period in read:
        weekly = period._replace(per=Period.WEEK, span=period_at(Period.WEEK, await counters.now_us()))
        await counters.move(Move({period: 0}, {}, {weekly: 0}))
        assert await worker.ask(period.account_id, charges) == "passed"
        assert await counters.counted([period, weekly]) == {period: 6, weekly: 6}
    await counting.close()


async def test_a_slot_that_moved_is_doubted_until_its_counters_are_rebuilt(
    cluster: Cluster, worker: Worker
) -> None:
    counting = await open_counters(cluster.url)
    await rebuild(counting.counters)
    source, target = cluster.nodes[0], cluster.nodes[1]
    account, charges = account_of(cluster, source), plan(quota(PLENTY))
    neighbour = next(one for one in ACCOUNTS if one != account and cluster.owner(f"{{{one}l}}") is source)
    slot = slot_of(f"{account}l")
    assert await worker.ask(account, charges) == "passed"
    cluster.begin_move(slot, source, target)
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, target)
    assert await worker.ask(account, charges) == "unavailable"
    assert await worker.ask(neighbour, charges) == "passed"
    async with asyncio.timeout(60):
        while await counting.counters.vouched_for() is not None:
            await asyncio.sleep(0.01)
    await rebuild(counting.counters)
    await until(worker, account, charges, "passed")
    await counting.close()


async def test_wrong_marks_go_before_slots_can_come_back(cluster: Cluster, worker: Worker) -> None:
    counting = await open_counters(cluster.url)
    await rebuild(counting.counters)
    source, target = cluster.nodes[0], cluster.nodes[1]
    slot = slot_of(f"{account_of(cluster, source)}l")
    right = source.operator.get(mark_of(slot))
    cluster.begin_move(slot, source, target)
    cluster.move_keys(slot, source, target)
    cluster.end_move(slot, target)
    assert target.operator.get(mark_of(slot)) == right, "it came along"
    async with asyncio.timeout(60):
        while await counting.counters.vouched_for() is not None:
            await asyncio.sleep(0.01)
    await counting.counters.begin_rebuild("token")
    assert target.operator.get(mark_of(slot)) is None
    await counting.close()


async def test_marks_are_one_for_each_slot(cluster: Cluster) -> None:
    counting = await open_counters(cluster.url)
    counters = counting.counters
    assert await counters.vouched_for() is None
    await rebuild(counters)
    cluster.nodes[2].operator.flushall()
    assert await counters.vouched_for() is None
    await counters.begin_rebuild("another")
    cluster.nodes[2].operator.flushall()
    assert not await counters.raise_all("another", [], vouch_for=await counters.server()), (
        "data was lost again"
    )
    await counting.close()


async def both_for_ever(worker: Worker, tag: str) -> None:
    async with asyncio.timeout(60):
        while True:
            await worker.both(tag)


async def heard(worker: Worker, tag: str) -> list[int]:
    """What `both` says once there is a connection to whoever is asked."""
    async with asyncio.timeout(60):
        while True:
            try:
                return await worker.both(tag)
            except StoreUnavailable as lost:
                if not lost.unsent:
                    raise


async def test_an_acl_user_needs_no_more_than_the_documents_say(cluster: Cluster) -> None:
    """Workers, the control plane and those who rebuild, with the rights that docs/admission.md names."""
    for node in cluster.nodes:
        node.command("ACL", "SETUSER", "gw", "on", ">secret", *documented_rights())
    url = cluster.url.replace("://:right@", "://gw:secret@")
    await check_redis(url)
    counting = await open_counters(url)
    await rebuild(counting.counters)
    worker = await Worker(url).start()
    charges = plan(limit(60, burst=5), quota(5, notify=(20,)))
    assert [await worker.ask(one, charges) for one in ACCOUNTS] == ["passed"] * len(ACCOUNTS)
    assert len([period async for period, _ in counting.counters.read()]) == len(ACCOUNTS)
    told = {field for _ in range(16) for field in await counting.crossings.fetch()}
    await counting.crossings.forget(list(told))
    assert len(told) == len(ACCOUNTS)
    await worker.close()
    await counting.close()


async def test_what_can_not_be_used_is_one_line(cluster: Cluster, tmp_path: Path) -> None:
    await check_redis(cluster.url)
    place = f"127.0.0.1:{cluster.nodes[0].port}"
    assert "is a node of a cluster" in await line_for(f"redis://:right@{place}")
    assert "refused the log-in" in await line_for(f"redis+cluster://:wrong@{place}")
    alone = Node(tmp_path / "alone", cluster_enabled="no").start()
    assert "is no cluster" in await line_for(f"redis+cluster://127.0.0.1:{alone.port}")
    alone.kill()
    empty = Node(tmp_path / "empty").start()
    assert "Only 0 of the 16384 hash slots" in await line_for(f"redis+cluster://127.0.0.1:{empty.port}")
    empty.kill()
    cluster.nodes[0].kill()
    await check_redis(cluster.url)  # others answer


async def line_for(url: str) -> str:
    with pytest.raises(StartupError) as refused:
        await check_redis(url)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def documented_rights() -> list[str]:
    text = (Path(__file__).parents[3] / "docs" / "admission.md").read_text(encoding="utf-8")
    line = text.partition("- An ACL user needs")[2].partition("\n- ")[0]
    return " ".join(line.split("`")[1::2]).split()


async def rebuild(counters: QuotaCounters) -> None:
    """As if the ledger had nothing booked."""
    await counters.begin_rebuild("token")
    assert await counters.raise_all("token", [], vouch_for=await counters.server())
    assert await counters.vouched_for() == await counters.server()


async def more_than(seen: Counter[tuple[int, str]], calls: int) -> None:
    async with asyncio.timeout(60):
        while seen.total() <= calls:
            await asyncio.sleep(0.001)
