"""How much an account may use per period, as types."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from gateway.policy.rollout_documents import RolloutDocument
from gateway.policy.values import Cost, Document, Name, Per, Positive

Percent = Annotated[int, Field(ge=1, le=1000)]


class OverageDocument(Document):
    """What units beyond a quota cost."""

    amount: Cost = Field(
        description="In the minor unit of the currency of the tier's price, so a whole number.", examples=[10]
    )
    per_units: Positive = Field(description="For so many units, begun ones in full.", examples=[1000])


class QuotaDocument(RolloutDocument):
    """How much of a meter an account may use per period."""

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
    soft: bool = Field(
        default=False,
        description="Calls beyond the amount pass, and are marked.",
        examples=[True],
    )
    overage: OverageDocument | None = Field(
        default=None,
        description="Calls beyond the amount pass, and cost so much; refused if left out.",
        examples=[{"amount": 10, "per_units": 1000}],
    )
    notify: list[Percent] | None = Field(
        default=None,
        max_length=10,
        description="At how many percent of the amount an event is told, once each; [80, 100] if left out.",
        examples=[[50, 90, 100]],
    )
