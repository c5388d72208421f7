"""Which target takes a call. Pure choice: who may be chosen is decided elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from gateway.model.policies import Balance, Target
from gateway.rendezvous import rank

MOST_REMEMBERED = 4096
"""Accounts whose order of targets is kept; about a kilobyte each with many targets."""


class Member(Protocol):
    """What a choice looks at."""

    @property
    def target(self) -> Target:
        """Where it leads, and its weight."""

    @property
    def in_use(self) -> int:
        """Calls at hand."""


M = TypeVar("M", bound=Member)


class Balancer(Protocol[M]):
    """A way to spread calls."""

    def pick(self, members: Sequence[M], account: str) -> M:
        """One of `members` (at least one). Accounts matter only to some; may be empty."""


class RoundRobin(Generic[M]):
    """In turn; weights are interleaved evenly, so 3 of 3 + 1 never come in a row when they need not.

    Each choice gives everybody its weight and takes the total from the winner, so over any stretch of calls
    nobody is more than one call off its share.
    """

    def __init__(self) -> None:
        self._credit: dict[M, int] = {}

    def pick(self, members: Sequence[M], account: str) -> M:  # noqa: ARG002  the same for all accounts
        credit, total, best, most = self._credit, 0, members[0], 0
        for member in members:
            weight = member.target.weight
            has = credit[member] = credit.get(member, 0) + weight
            if not total or has > most:
                best, most = member, has
            total += weight
        credit[best] = most - total
        return best


class LeastConnections(Generic[M]):
    """The one with the fewest calls at hand for its weight; in turn among equals."""

    def __init__(self) -> None:
        self._turn: RoundRobin[M] = RoundRobin()

    def pick(self, members: Sequence[M], account: str) -> M:
        load = [(member.in_use + 1) / member.target.weight for member in members]
        least = min(load)
        return self._turn.pick(
            [member for member, its in zip(members, load, strict=True) if its == least], account
        )


class HashAccount(Generic[M]):
    """Each account to the same target, in every worker; without one, in turn.

    Weighted rendezvous hashing: every account has its own order of all targets and goes to the first that may
    be chosen. When a target goes, only its accounts move; when it is back, they come back.
    """

    def __init__(self, everyone: Sequence[M]) -> None:
        self._everyone = tuple(everyone)
        self._order: dict[str, tuple[M, ...]] = {}
        self._turn: RoundRobin[M] = RoundRobin()

    def pick(self, members: Sequence[M], account: str) -> M:
        if not account:
            return self._turn.pick(members, account)
        order = self._order.get(account)
        if order is None:
            if len(self._order) >= MOST_REMEMBERED:
                self._order.clear()
            order = self._order[account] = tuple(
                sorted(self._everyone, key=lambda member: _rank(account, member.target))
            )
        return next((member for member in order if member in members), members[0])


def _rank(account: str, target: Target) -> float:
    return rank(account, target.place, target.weight)


def balancer(kind: Balance, everyone: Sequence[M]) -> Balancer[M]:
    """The balancer of an upstream with these targets."""
    if kind is Balance.HASH_ACCOUNT:
        return HashAccount(everyone)
    return LeastConnections() if kind is Balance.LEAST_CONNECTIONS else RoundRobin()
