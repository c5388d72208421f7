"""How much an account may use per period, as types."""

from __future__ import annotations

from pydantic import Field

from gateway.policy.rollout_documents import RolloutDocument
from gateway.policy.values import Name, Per, Positive


class QuotaDocument(RolloutDocument):
    """How much of a meter an account may use per period. At the amount, calls are refused."""

    name: Name | None = Field(
        default=None,
        description="Shown to callers in the RateLimit fields and in refusals; the meter's name if left out.",
        examples=["monthly"],
    )
    meter: Name = Field(description="What is counted: api_calls or a declared meter.", examples=["api_calls"])
    amount: Positive = Field(description="Units per period.", examples=[1000])
    per: Per = Field(
        description=(
            "How often it starts again: hour, day, week, month or year, or a number of these. "
            "From the account's billing anchor on, in its time zone."
        ),
        examples=["month", "30 days", "2 weeks"],
    )
