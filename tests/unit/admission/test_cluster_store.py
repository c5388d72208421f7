"""How a call's charges are told apart by their hash tags, and put together again."""

from __future__ import annotations

from gateway.admission.charges import Charges
from gateway.admission.cluster_store import merged, parts_of
from gateway.admission.store import EXACT, Decision, Status
from tests.unit.admission.plans import at_once, limit, plan, quota

NOW_MS = 1_784_000_000_000
PLAN = plan(
    limit(60, burst=10),
    limit(60, burst=20, name="all", scope=("ip",)),
    limit(60, burst=30, name="too", scope=("ip",), shadow=True),
    quota(100),
    at_once(3),
    at_once(4, name="room", scope=("route",)),
    cost=2,
)
COUNTERS = ("b:burst", "{ip=1,l}:b:all", "{ip=1,l}:b:too", "c:builds", "{route=r,l}:c:room")


def charges() -> Charges:
    return Charges(PLAN, NOW_MS).paid_into(COUNTERS)


def test_what_nobody_shares_is_one_part() -> None:
    own = Charges(plan(limit(), quota(), at_once(1)), NOW_MS)
    (part,) = parts_of(own)
    assert part.charges is own


def test_each_hash_tag_is_a_part_and_the_account_s_own_comes_last() -> None:
    parts = parts_of(charges())
    assert [part.places for part in parts] == [(1, 2), (), (0, 3)]
    assert [part.sets for part in parts] == [(), (1,), (0,)]
    quota_key = charges().keys[3]
    assert [part.charges.keys for part in parts] == [COUNTERS[1:3], (), ("b:burst", quota_key)]
    assert [part.charges.slot_keys for part in parts] == [(), COUNTERS[4:], COUNTERS[3:4]]
    assert [part.charges.most for part in parts] == [(), (4,), (3,)]
    assert [part.charges.costs for part in parts] == [(2, 2), (), (2, 1)]


def test_the_arguments_of_the_script_are_those_of_the_part() -> None:
    """Packed: of buckets four numbers each, of quotas five, of sets one; each of 8 bytes."""
    whole = charges().packed
    shared, room, own = [part.charges for part in parts_of(charges())]
    assert shared.packed == whole[4 * 8 : 12 * 8]
    assert room.packed == whole[18 * 8 :]
    assert own.packed == whole[: 4 * 8] + whole[12 * 8 : 18 * 8]
    assert [one.marks for one in (shared, room, own)] == [(), (), charges().marks]
    assert [one.told for one in (shared, room, own)] == [7, 4, 8]
    assert [len(one.quotas) for one in (shared, room, own)] == [0, 0, 1]


def test_one_decision_of_those_of_all_parts() -> None:
    parts = parts_of(charges())
    decisions = [
        Decision(Status.ADMITTED, NOW_MS, 0, (18, 28), (0, 0), calls=1),
        Decision(Status.ADMITTED, NOW_MS + 5, 0, (), (), (2,), 1),
        Decision(Status.ADMITTED, NOW_MS + 3, 0, (8, 99), (0, 0), (1,), 1),
    ]
    together = merged(charges(), parts, decisions, EXACT)
    assert together == Decision(Status.ADMITTED, NOW_MS + 5, 0, (8, 18, 28, 99), (0, 0, 0, 0), (1, 2), 1)


def test_of_a_refusal_the_others_say_what_they_have_without_this_call() -> None:
    """A shadow that would have had to wait was not charged, a quota was."""
    parts, ask = parts_of(charges()), EXACT._replace(slot="s")
    decisions = [
        Decision(Status.ADMITTED, NOW_MS, 0, (18, 1), (0, 900), calls=1),
        Decision(Status.REFUSED, NOW_MS, 0, (), (), (4,)),
        Decision(Status.ADMITTED, NOW_MS, 0, (8, 99), (0, 0), (1,), 1),
    ]
    together = merged(charges(), parts, decisions, ask)
    assert together == Decision(Status.REFUSED, NOW_MS, 0, (10, 20, 1, 100), (0, 0, 0, 0), (0, 4))


def test_a_period_that_has_ended_is_nobody_s_decision() -> None:
    other = Decision(Status.OTHER_PERIOD, NOW_MS, 0, (), ())
    assert merged(charges(), parts_of(charges()), [other], EXACT) is other
