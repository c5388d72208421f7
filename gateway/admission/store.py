"""What the admitter asks of the counters, whoever keeps them."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

from gateway.admission.charges import Charges
from gateway.admission.token_bucket import Flow
from gateway.inline import Wait
from gateway.model.principal import Mode

SlotNames = Mapping[str, Sequence[str]]
"""Names of slots, by the key of their set."""


Tokens = Mapping[tuple[str, Flow], int]
"""Tokens on their way to buckets, by key and flow."""
NO_TOKENS: Tokens = {}


class Status(IntEnum):
    """What became of a call; the numbers are those of `admit.lua`."""

    REFUSED = 0
    ADMITTED = 1
    TOO_LATE = 2  # of slots to be renewed: others were asked for meanwhile; no decision says so
    OTHER_PERIOD = 3  # by the store's clock a period has ended or not begun; nothing was charged
    UNTRUSTED = 4  # quota counters may have been lost, and are not rebuilt yet; nothing was charged


class Ask(NamedTuple):
    """How much to decide at once. Of `calls` alike as many are charged as can pay, in one and the same
    way; if not one can, it is a refusal. `holder` buys `wanted` calls in advance and still holds `held`.

    `scarce`: it buys also when there are not many left (`slices.py`).

    `slot` is what the slots of the call are called; empty: it takes none. Never used again by another call.
    """

    holder: str = ""
    calls: int = 1
    wanted: int = 0
    held: int = 0
    slot: str = ""
    scarce: bool = False


class Decision(NamedTuple):
    """The store's answer. `left` and `wait_ms` have one entry per charge, buckets first.

    `left` is what remains after the calls and the `extra` ones granted in advance; a quota's is negative when
    a lower tier came into force. `wait_ms` is above 0 for each charge that refuses; when the call is
    admitted, for each shadow that would have refused it.
    `in_use` has the slots in use of each concurrency limit, those of the call among them if it was admitted.
    """

    status: Status
    now_ms: int
    extra: int
    left: tuple[int, ...]
    wait_ms: tuple[int, ...]
    in_use: tuple[int, ...] = ()
    calls: int = 0  # charged, of those asked for


Deciding = Wait[Decision] | Coroutine[Any, Any, Decision]
"""A decision that will be there: to be awaited, or for `inline.waited`."""
EXACT = Ask()
"""One call, nothing in advance."""


class Store(Protocol):
    """The counters of every account. `tag` names an account and its mode, see `account_tag`."""

    def now_ms(self) -> int:
        """The store's clock, as well as it is known here: good enough to name a period."""

    def decide(self, tag: str, charges: Charges, ask: Ask) -> Deciding:
        """Charge everything or nothing. StoreUnavailable when that can not be decided in time.

        OTHER_PERIOD when by the store's clock these are not the present ones.
        """

    async def give_back(self, tag: str, charges: Charges, holder: str, calls: int) -> None:
        """Return unused calls of `holder`. At most once: after StoreUnavailable they may be back or not."""

    async def refund(self, tag: str, units: Mapping[str, int], tokens: Tokens = NO_TOKENS) -> None:
        """Take units off quota counters, named by their keys, and put tokens back into buckets.

        Below 0 they are charged: a call turned out dearer. At most once, like `give_back`.
        """

    async def renew(self, tag: str, slots: SlotNames) -> None:
        """Keep slots for as long again, from now on; those that have ended are taken anew."""

    async def release(self, tag: str, slots: SlotNames) -> None:
        """End slots. May be repeated; those that have ended already are nobody's."""


def account_tag(account_id: int, mode: Mode) -> str:
    """The name all counters of an account share, live and test apart."""
    return f"{account_id}{'l' if mode is Mode.LIVE else 't'}"


def charged_before(charges: Charges, decision: Decision, later: int) -> Decision:
    """What a call was told by a decision that charged `later` calls like it behind it."""
    if not later:
        return decision
    buckets = len(charges.limits)
    left = [
        one
        if wait_ms and place < buckets
        else one + later * cost  # a shadow that had to wait was not charged
        for place, (one, wait_ms, cost) in enumerate(
            zip(decision.left, decision.wait_ms, charges.costs, strict=True)
        )
    ]
    return decision._replace(left=tuple(left))


def counter_name(tag: str, key: str) -> str:
    """Below the account's hash tag, unless the key brings a tag of its own: several accounts pay into it."""
    return key if key.startswith("{") else f"{{{tag}}}:{key}"
