"""What was decided about a call that was made: its row, in words, and the policies of that time."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from gateway.controlplane import wording
from gateway.controlplane.explanations import PastExplanation, PoliciesThen
from gateway.controlplane.usage_api import event_document
from gateway.errors import NotFound
from gateway.ledger.usage import EventRow, Usage
from gateway.operators.policy_history import Applied, PolicyHistory
from gateway.storage.postgres import Pool


async def look_back(pool: Pool, request_id: UUID) -> PastExplanation:
    """The call's row, the reason in a sentence, and the policies in use. NotFound without a row."""
    row = await Usage(pool).event(request_id)
    if row is None:
        raise NotFound(
            "No call with this id has a row. It appears a second or so after the call has ended, goes when "
            "its time is over, and routes may keep sums alone."
        )
    then = await PolicyHistory(pool).at(row.started_at + timedelta(microseconds=1))
    return {
        "why": why(row),
        "call": event_document(row),
        "policies": [policies_document(one) for one in then],
    }


def why(row: EventRow) -> str:
    """What became of a call, in a sentence or two."""
    code = row.code or row.outcome
    if row.refused_by:
        told = f"Refused with {row.status} `{code}` by {_names(row.refused_by)}."
    elif row.code is not None:
        told = f"Refused with {row.status} `{code}`."
    elif row.outcome == "served":
        told = f"Served: the upstream answered {row.status}."
    elif row.status:
        told = f"Admitted; it ended as `{row.outcome}` with {row.status}."
    else:
        told = f"Admitted; it ended as `{row.outcome}` without an answer."
    if row.shadows:
        told += f" Not enforced, else refused by {_names(row.shadows)}."
    return told


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def policies_document(one: Applied) -> PoliciesThen:
    """One row of the history."""
    return {
        "digest": one.digest,
        "applied_at": wording.instant(one.applied_at),
        "gateway": one.gateway,
        "how": one.how,
        "actor": one.actor,
    }
