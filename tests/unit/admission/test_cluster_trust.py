"""What a worker believes of quota counters on a cluster: slot by slot."""

from __future__ import annotations

import logging
from typing import cast

import pytest

from gateway.admission.cluster_trust import ClusterTrust, mark_of
from gateway.errors import StoreUnavailable
from gateway.inline import Wait
from gateway.storage.hash_slots import slot_of
from gateway.storage.tick_cluster import NODE, TickCluster
from gateway.telemetry.slots import Slots


class Cluster:
    """As much of the hot path's client as is asked."""

    def __init__(self) -> None:
        self.marks: dict[str, bytes] = {}
        self.up = True

    def server_of(self, hash_slot: int) -> str:
        return "one" if self.up else ""

    def call(self, args: tuple[str, ...]) -> Wait[bytes | None]:
        wait: Wait[bytes | None] = Wait()
        if self.up:
            wait.set(self.marks.get(args[1]))
        else:
            wait.fail(StoreUnavailable("gone"))
        return wait


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def slots() -> Slots:
    return Slots.in_memory()


@pytest.fixture
def trust(cluster: Cluster, slots: Slots, caplog: pytest.LogCaptureFixture) -> ClusterTrust:
    caplog.set_level(logging.INFO)
    return ClusterTrust(cast("TickCluster", cluster), slots)


def test_the_mark_lies_where_the_account_s_counters_lie(trust: ClusterTrust) -> None:
    mark, server, looks = trust.question("7l")
    assert slot_of(mark) == slot_of("tw:{7l}:q:api_calls:month:0")
    assert (server, looks) == (NODE, 1), "the node that runs it says which, and looks each time"


async def test_one_slot_s_loss_is_told_and_is_no_other_s(
    trust: ClusterTrust, cluster: Cluster, slots: Slots, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        trust.doubt("7l")
        await trust.look()
    assert (trust.believes("7l"), trust.believes("8l")) == (False, True)
    assert slots.get("quota_counters_trusted") == 0
    cluster.marks[mark_of(slot_of("7l"))] = b"one"
    for _ in range(2):
        await trust.look()
    assert trust.believes("7l")
    assert slots.get("quota_counters_trusted") == 1
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


@pytest.mark.parametrize("mark", [None, b"another", b""])
async def test_another_mark_is_no_better_than_none(
    trust: ClusterTrust, cluster: Cluster, mark: bytes | None
) -> None:
    if mark is not None:
        cluster.marks[mark_of(slot_of("7l"))] = mark
    trust.doubt("7l")
    await trust.look()
    assert not trust.believes("7l")


async def test_a_node_that_does_not_answer_proves_nothing(trust: ClusterTrust, cluster: Cluster) -> None:
    cluster.marks[mark_of(slot_of("7l"))] = b"one"
    trust.doubt("7l")
    cluster.up = False
    await trust.look()
    assert not trust.believes("7l")
    cluster.up = True
    await trust.look()
    assert trust.believes("7l")


async def test_all_are_told_only_when_the_last_is_right(
    trust: ClusterTrust, cluster: Cluster, slots: Slots
) -> None:
    trust.doubt("7l")
    trust.doubt("8l")
    cluster.marks[mark_of(slot_of("7l"))] = b"one"
    await trust.look()
    assert (trust.believes("7l"), trust.believes("8l")) == (True, False)
    assert slots.get("quota_counters_trusted") == 0
