"""What is measured and booked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from gateway.model.principal import Mode
from gateway.outcomes import Outcome


@dataclass(frozen=True, slots=True)
class Marks:
    """What was decided about a call beside its outcome. Names are of limits, quotas, concurrency limits.

    `code` of the refusal, empty if there was none; `refused_by` what refused it; `shadows` what would have,
    had it been enforced.
    """

    code: str = ""
    refused_by: tuple[str, ...] = ()
    shadows: tuple[str, ...] = ()


class UsageEvent(NamedTuple):
    """One finished request, as journals carry it and the ledger books it.

    `request_id` is the natural key: booking it twice changes nothing. `account_id` and `key_id` are None
    when nobody was recognised; `route` and `tier` are empty when none was found. `charges` are the
    units of meters this call pays; empty for an outcome that is not billed.

    A tuple, because the recorder makes each of them: a frozen dataclass takes four times as long.
    """

    request_id: bytes  # 16 bytes, a UUID
    started_at_us: int
    account_id: int | None
    key_id: int | None
    mode: Mode
    tier: str
    route: str
    method: str
    outcome: Outcome
    status: int  # 0: no answer was sent
    ingress_bytes: int
    egress_bytes: int
    duration_us: int
    first_byte_us: int  # 0: no answer was sent
    charges: Mapping[str, int]
    ingress_messages: int = 0  # of a WebSocket, from the caller
    egress_messages: int = 0  # to the caller
    upstream: str = ""  # where it was sent; empty: nowhere
    raw: bool = True  # it is a row of its own, beside its part of the sums
    marks: Marks | None = None


_NOT_THE_UPSTREAMS = (0, 408)


def billable(outcome: Outcome, status: int) -> bool:
    """Whether a call that ended like this costs its charges; if not, it costs nothing at all.

    Served calls do. So do calls whose caller hung up, or lost its right, after the upstream had begun to
    answer below 500: the work was done. Status 0 means no answer, 408 is our own answer to a request that
    never became whole. Everything refused, and everything that failed on our side or the upstream's, is free.
    """
    if outcome is Outcome.SERVED:
        return True
    cut_short = outcome is Outcome.CLIENT_ABORTED or outcome is Outcome.ACCESS_ENDED
    return cut_short and status not in _NOT_THE_UPSTREAMS and status < 500
