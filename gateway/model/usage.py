"""What is decided about a call, and whether it is paid."""

from __future__ import annotations

from dataclasses import dataclass

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
