"""What a worker believes of quota counters, and what it tells."""

from __future__ import annotations

import logging
from typing import cast

import pytest

from gateway.admission.trust import EMBEDDED, CounterTrust, name_of
from gateway.errors import StoreUnavailable
from gateway.inline import Wait
from gateway.storage.redis_tick import TickRedis
from gateway.telemetry.slots import Slots


class Redis:
    """As much of the hot path's client as is asked."""

    def __init__(self) -> None:
        self.server, self.up = "one", True
        self.mark: bytes | None = b"one"

    def call(self, args: tuple[str, ...]) -> Wait[bytes | None]:
        wait: Wait[bytes | None] = Wait()
        if self.up:
            wait.set(self.mark)
        else:
            wait.fail(StoreUnavailable("gone"))
        return wait


class Room:
    def __init__(self, server: str | None = None) -> None:
        self.redis, self.slots = Redis(), Slots.in_memory()
        self.trust = CounterTrust(cast("TickRedis", self.redis), self.slots, server=server)

    @property
    def shown(self) -> int:
        return self.slots.get("quota_counters_trusted")


@pytest.fixture
def room(caplog: pytest.LogCaptureFixture) -> Room:
    caplog.set_level(logging.INFO)
    return Room()


async def test_the_right_mark_is_believed_without_a_word(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    assert not room.trust.sure
    await room.trust._look()
    assert (room.trust.sure, room.shown, caplog.records) == (True, 1, [])


@pytest.mark.parametrize("mark", [None, b"another"])
async def test_a_loss_is_told_once_and_so_is_its_end(
    room: Room, caplog: pytest.LogCaptureFixture, mark: bytes | None
) -> None:
    room.redis.mark = mark
    for _ in range(2):
        await room.trust._look()
        room.trust.lost()
    assert (room.trust.sure, room.shown) == (False, 0)
    room.redis.mark = b"one"
    for _ in range(2):
        await room.trust._look()
    assert (room.trust.sure, room.shown) == (True, 1)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_another_server_is_doubted_until_the_ledger_vouches_for_it(room: Room) -> None:
    await room.trust._look()
    room.redis.server = "two"
    assert not room.trust.sure
    await room.trust._look()
    assert not room.trust.sure
    room.redis.mark = b"two"
    await room.trust._look()
    assert room.trust.sure


async def test_a_server_that_does_not_answer_proves_nothing(
    room: Room, caplog: pytest.LogCaptureFixture
) -> None:
    await room.trust._look()
    room.redis.up = False
    await room.trust._look()
    assert (room.trust.sure, caplog.records) == (True, [])


async def test_the_embedded_one_is_the_same_after_a_restart() -> None:
    room = Room(EMBEDDED)
    room.redis.mark = EMBEDDED.encode()
    await room.trust._look()
    room.redis.server = "two"
    assert room.trust.sure


def test_control_and_workers_call_a_server_the_same() -> None:
    assert name_of({"run_id": "0123456789abcdef0123"}) == "0123456789ab"
