"""How many calls may be under way at once, as it is written."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from gateway.policy.rollout_documents import RolloutDocument
from gateway.policy.values import Duration, Name, Scope


class ConcurrencyDocument(RolloutDocument):
    """How many calls may be under way at once."""

    name: Name = Field(description="Shown to callers who are refused.", examples=["builds"])
    max: int = Field(ge=1, le=100_000, description="The most calls at once.", examples=[1])
    on_full: Literal["refuse", "queue"] = Field(
        default="refuse",
        description="When max are under way: refuse further calls with 429, or let them queue for a while.",
        examples=["queue"],
    )
    wait: Duration | None = Field(
        default=None,
        description="With on_full: queue, how long a call is held up at most, then 429; 5s if left out.",
        examples=["30s"],
    )
    scope: Scope = Field(
        default="account",
        description=(
            "Whose calls count together: account, key, ip, route, header:<name> or claim:<name>, or a list."
        ),
        examples=["key"],
    )
    routes: list[Name] | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="The routes whose calls count; every route if left out.",
        examples=[["builds"]],
    )
