"""One after the other, the new one ready before the old one goes, and nothing lost when that fails."""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass, field

import pytest

from gateway.supervisor.children import Child
from gateway.supervisor.rolling import Roll
from gateway.telemetry.slots import Slots


def _no_work() -> int:
    raise AssertionError("nothing is forked here")


@dataclass
class Nursery:
    """Processes that are only numbers."""

    running: list[Child] = field(default_factory=list)
    ready: set[str] = field(default_factory=set)
    sent: list[tuple[str, signal.Signals]] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    pids: int = 0

    def start(self, name: str) -> Child:
        self.pids += 1
        child = Child(name, _no_work, 0, pid=self.pids)
        self.running.append(child)
        return child

    def succeed(self, old: Child) -> Child:
        return self.start(f"{old.name}'")

    def retire(self, child: Child) -> None:
        self.running.remove(child)

    def kill(self, child: Child, number: signal.Signals) -> None:
        self.sent.append((child.name, number))

    def restart_later(self, child: Child) -> None:
        self.restarted.append(child.name)

    def is_ready(self, child: Child) -> bool:
        return child.name in self.ready

    @property
    def names(self) -> list[str]:
        return [child.name for child in self.running]


@pytest.fixture
def nursery() -> Nursery:
    nursery = Nursery()
    nursery.start("a")
    nursery.start("b")
    return nursery


@pytest.fixture
def slots() -> Slots:
    return Slots.in_memory()


@pytest.fixture
def roll(nursery: Nursery, slots: Slots) -> Roll:
    return Roll(
        nursery,
        nursery.succeed,
        nursery.retire,
        nursery.is_ready,
        slots,
        ready_within_s=30,
        drain_within_s=35,
    )


def end(roll: Roll, child: Child, status: int = 0) -> bool:
    child.pid, child.status = 0, status
    return roll.ended(child)


def test_one_after_the_other(roll: Roll, nursery: Nursery, slots: Slots) -> None:
    a, b = nursery.running
    roll.ask([a, b])
    roll.step(0)
    assert nursery.names == ["a", "b", "a'"]
    roll.step(1)
    assert nursery.sent == []
    nursery.ready.add("a'")
    roll.step(2)
    assert nursery.sent == [("a", signal.SIGTERM)]
    roll.step(3)
    assert nursery.names == ["a", "b", "a'"]
    assert end(roll, a)
    roll.step(4)
    assert nursery.names == ["b", "a'"]
    roll.step(5)
    nursery.ready.add("b'")
    roll.step(6)
    assert nursery.sent[-1] == ("b", signal.SIGTERM)
    assert end(roll, b)
    roll.step(7)
    assert nursery.names == ["a'", "b'"]
    assert not roll.is_on
    assert slots.get("rolling_restarts_total", "done") == 1


@pytest.mark.parametrize("case", ["it ends", "it hangs"])
def test_a_new_process_that_does_not_get_ready_stops_the_roll(
    roll: Roll, nursery: Nursery, slots: Slots, caplog: pytest.LogCaptureFixture, case: str
) -> None:
    caplog.set_level(logging.ERROR, "tollway.supervisor")
    a, b = nursery.running
    roll.ask([a, b])
    roll.step(0)
    new = nursery.running[-1]
    if case == "it ends":
        assert end(roll, new, 78)
        why = "ended with status 78 before it was ready"
    else:
        roll.step(29)
        assert roll.is_on
        roll.step(30)
        why = "was not ready within 30 s"
    assert nursery.names == ["a", "b"]
    assert nursery.sent == []
    assert nursery.restarted == []
    assert not roll.is_on
    assert slots.get("rolling_restarts_total", "stopped") == 1
    (told,) = caplog.messages
    assert (
        told == f"rolling restart stopped: the new process {why}; the old ones go on. Its log lines say why"
    )


def test_an_old_process_that_dies_meanwhile_is_not_restarted_beside_its_successor(
    roll: Roll, nursery: Nursery
) -> None:
    a, _ = nursery.running
    roll.ask([a])
    roll.step(0)
    assert end(roll, a, 137)
    nursery.ready.add("a'")
    roll.step(1)
    roll.step(2)
    assert nursery.names == ["b", "a'"]
    assert nursery.restarted == []


def test_it_is_restarted_when_its_successor_fails_as_well(roll: Roll, nursery: Nursery) -> None:
    a, _ = nursery.running
    roll.ask([a])
    roll.step(0)
    assert end(roll, a, 137)
    assert end(roll, nursery.running[-1], 1)
    assert nursery.restarted == ["a"]


def test_one_that_waits_for_its_restart_is_replaced_at_once(roll: Roll, nursery: Nursery) -> None:
    a, _ = nursery.running
    a.pid, a.restart_at_s = 0, 1000.0
    roll.ask([a])
    roll.step(0)
    assert a.restart_at_s == 0
    nursery.ready.add("a'")
    roll.step(1)
    roll.step(2)
    assert nursery.names == ["b", "a'"]


def test_who_does_not_finish_in_time_is_killed(roll: Roll, nursery: Nursery) -> None:
    a, _ = nursery.running
    roll.ask([a])
    roll.step(0)
    nursery.ready.add("a'")
    roll.step(1)
    roll.step(35)
    assert nursery.sent == [("a", signal.SIGTERM)]
    roll.step(36)
    assert nursery.sent[-1] == ("a", signal.SIGKILL)


def test_other_processes_are_restarted_as_ever(roll: Roll, nursery: Nursery) -> None:
    a, b = nursery.running
    roll.ask([a])
    roll.step(0)
    assert not end(roll, b, 1)
    nursery.ready.add("a'")
    roll.step(1)
    assert not end(roll, nursery.running[-1], 1), "ready once, so it is as good as any"


def test_asked_again_it_begins_anew(roll: Roll, nursery: Nursery) -> None:
    a, b = nursery.running
    roll.ask([a, b])
    roll.step(0)
    new = nursery.running[-1]
    roll.ask(nursery.running)
    nursery.ready.update({"a'", "b'", "a''"})
    roll.step(1)
    assert end(roll, a)
    for old in (b, new):
        roll.step(2)
        roll.step(3)
        roll.step(4)
        assert nursery.sent[-1] == (old.name, signal.SIGTERM)
        assert end(roll, old)
    roll.step(5)
    assert nursery.names == ["b'", "a''"]
    assert not roll.is_on
