from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest

from gateway.model.policies import Balance, Target
from gateway.upstream.balance import MOST_REMEMBERED, HashAccount, LeastConnections, RoundRobin, balancer


@dataclass(eq=False)
class Place:
    target: Target
    in_use: int = 0


def places(*weights: int) -> list[Place]:
    return [Place(Target(f"{number}.internal", 80, weight)) for number, weight in enumerate(weights)]


def turns(weights: tuple[int, ...], count: int) -> str:
    members = places(*weights)
    robin: RoundRobin[Place] = RoundRobin()
    return "".join(str(members.index(robin.pick(members, ""))) for _ in range(count))


@pytest.mark.parametrize(
    ("case", "weights", "order"),
    [
        ("one", (7,), "0000"),
        ("equals", (1, 1, 1), "012012"),
        ("equals of any weight", (5, 5), "0101"),
        ("the heavy one is interleaved", (5, 1, 1), "0010200"),
        ("a canary", (3, 1), "00100010"),
    ],
)
def test_turns_follow_the_weights(case: str, weights: tuple[int, ...], order: str) -> None:
    assert turns(weights, len(order)) == order


def test_shares_are_exact_over_a_round() -> None:
    assert Counter(turns((90, 9, 1), 1000)) == {"0": 900, "1": 90, "2": 10}


def test_whoever_is_left_out_costs_the_others_nothing() -> None:
    members = places(1, 1, 1)
    robin: RoundRobin[Place] = RoundRobin()
    some = [members[0], members[2]]
    chosen = Counter(members.index(robin.pick(some, "")) for _ in range(10))
    assert chosen == {0: 5, 2: 5}


@pytest.mark.parametrize(
    ("case", "weights", "in_use", "chosen"),
    [
        ("the idle one", (1, 1), (3, 0), {1}),
        ("for its weight", (10, 1), (5, 0), {0}),
        ("in turn among equals", (1, 1, 1), (2, 1, 1), {1, 2}),
    ],
)
def test_fewest_calls_at_hand(
    case: str, weights: tuple[int, ...], in_use: tuple[int, ...], chosen: set[int]
) -> None:
    members = places(*weights)
    for member, count in zip(members, in_use, strict=True):
        member.in_use = count
    least: LeastConnections[Place] = LeastConnections()
    assert {members.index(least.pick(members, "")) for _ in range(6)} == chosen


ACCOUNTS = [f"acct_{number}" for number in range(2000)]


def test_accounts_are_spread_by_weight_and_stay() -> None:
    members = places(3, 1)
    hashed = HashAccount(members)
    chosen = [members.index(hashed.pick(members, account)) for account in ACCOUNTS]
    assert 1400 < chosen.count(0) < 1600
    assert [members.index(HashAccount(members).pick(members, account)) for account in ACCOUNTS] == chosen


def test_only_the_accounts_of_a_target_that_goes_move() -> None:
    members = places(1, 1, 1, 1)
    hashed = HashAccount(members)
    before = {account: hashed.pick(members, account) for account in ACCOUNTS}
    left = members[:2] + members[3:]
    after = {account: hashed.pick(left, account) for account in ACCOUNTS}
    moved = {account for account in ACCOUNTS if before[account] is not after[account]}
    assert moved == {account for account in ACCOUNTS if before[account] is members[2]}
    assert {id(after[account]) for account in moved} == {id(member) for member in left}
    assert {account: hashed.pick(members, account) for account in ACCOUNTS} == before


def test_calls_without_account_take_turns() -> None:
    members = places(1, 1)
    hashed = HashAccount(members)
    assert [members.index(hashed.pick(members, "")) for _ in range(4)] == [0, 1, 0, 1]


def test_what_is_remembered_is_bounded() -> None:
    members = places(1, 1)
    hashed = HashAccount(members)
    for number in range(MOST_REMEMBERED + 10):
        hashed.pick(members, str(number))
    assert len(hashed._order) <= MOST_REMEMBERED


def test_every_kind_has_its_balancer() -> None:
    members = places(1)
    kinds = [type(balancer(kind, members)) for kind in Balance]
    assert kinds == [RoundRobin, LeastConnections, HashAccount]
