from __future__ import annotations

import pytest

from gateway.model.policies import Target
from gateway.upstream.moves import Moves
from gateway.upstream.names import RESOLVE_S, Names
from tests.unit.upstream.rig import Rig, Rigs, Wire

OLD, NEW, OTHER = "10.0.0.1", "10.0.0.2", "10.0.0.3"


class Followed:
    """A target whose name leads where the test says, and calls that keep its connections busy."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.addresses: tuple[str, ...] | OSError = (OLD,)
        self.asked: list[str] = []
        self._now = 0.0
        self.moves = Moves(rig.pools, Names(rig.tasks, self._look_up, lambda: self._now))

    async def _look_up(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return self.addresses

    async def look(self) -> None:
        self._now += RESOLVE_S
        await self.moves.look()
        await self.rig.settle()

    async def idle(self, *addresses: str) -> list[Wire]:
        """A connection to each, made for a call that has been answered."""
        callers = [await self.rig.call() for _ in addresses]
        made = [self.rig.wire_of(caller) for caller in callers]
        for wire, address in zip(made, addresses, strict=True):
            wire.address = address
        for caller in callers:
            await self.rig.answer(caller)
        return made


@pytest.fixture
async def followed(make_rig: Rigs) -> Followed:
    return Followed(make_rig(max_connections=5))


async def test_an_address_that_two_answers_lack_is_left(followed: Followed) -> None:
    old, new = await followed.idle(OLD, NEW)
    await followed.look()
    followed.addresses = (NEW,)
    await followed.look()
    assert not old.closed, "the next answer may have it again"
    await followed.look()
    assert (old.closed, new.closed) == (True, False)
    followed.rig.check_nothing_is_left()


async def test_a_call_on_such_a_connection_is_answered_and_the_next_goes_elsewhere(
    followed: Followed,
) -> None:
    (old,) = await followed.idle(OLD)
    followed.addresses = (NEW,)
    under_way = await followed.rig.call()
    assert followed.rig.wire_of(under_way) is old
    await followed.look()
    await followed.look()
    assert followed.rig.open == [old]
    await followed.rig.answer(under_way)
    assert under_way.got == under_way.exchange.head.target
    assert followed.rig.open == []
    await followed.idle(NEW)
    assert len(followed.rig.open) == 1


async def test_calls_that_wait_are_served_by_new_connections(make_rig: Rigs) -> None:
    followed = Followed(make_rig(max_connections=1))
    (old,) = await followed.idle(OLD)
    followed.addresses = (NEW,)
    callers = [await followed.rig.call() for _ in range(3)]
    await followed.look()
    await followed.look()
    for caller in callers:
        await followed.rig.answer(caller)
    assert [wire.asked for wire in followed.rig.wires] == [2, 2]
    assert old.closed
    followed.rig.check_nothing_is_left()


async def test_each_is_told_of_once(followed: Followed, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tollway.upstream")
    await followed.idle(OLD, OLD)
    held = await followed.rig.call()
    followed.addresses = (NEW, OTHER)
    for _ in range(4):
        await followed.look()
    (record,) = caplog.records
    assert record.__dict__["target"] == "http://a"
    assert record.__dict__["count"] == 2
    await followed.rig.answer(held)


@pytest.mark.parametrize("later", [OSError("gone"), ()])
async def test_who_does_not_answer_takes_nothing_away(
    later: tuple[str, ...] | OSError, followed: Followed
) -> None:
    (old,) = await followed.idle(OLD)
    for followed.addresses in ((OLD,), later, later, later):
        await followed.look()
    assert not old.closed


async def test_a_name_that_was_never_known_is_no_reason(followed: Followed) -> None:
    (old,) = await followed.idle(OLD)
    for followed.addresses in (OSError("gone"), OSError("gone"), (OLD,)):
        await followed.look()
    assert not old.closed


async def test_answers_with_some_of_the_addresses_in_turn_are_no_move(followed: Followed) -> None:
    wires = await followed.idle(OLD, NEW)
    for followed.addresses in ((OLD,), (NEW,)) * 3:
        await followed.look()
    assert not any(wire.closed for wire in wires)


async def test_only_names_in_use_are_asked_for(make_rig: Rigs) -> None:
    targets = (Target("10.0.0.1", 80), Target("::1", 80), Target("localhost", 80, socket="/run/api.sock"))
    assert not Followed(make_rig(*targets)).moves.are_possible
    followed = Followed(make_rig(*targets, Target("api", 80)))
    assert followed.moves.are_possible
    await followed.look()
    assert followed.asked == []
