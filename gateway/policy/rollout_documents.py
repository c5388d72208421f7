"""How a limit, quota or concurrency limit comes into force, as types."""

from __future__ import annotations

from pydantic import Field

from gateway.policy.values import Document


class RolloutDocument(Document):
    """What limits, quotas and concurrency limits have in common."""

    shadow: bool = Field(
        default=False,
        description="Decides and counts, and refuses nobody; callers are not told of it.",
        examples=[True],
    )
    enforce: int | None = Field(
        default=None,
        ge=0,
        le=100,
        description="For how many percent of the accounts it is enforced; for the others it is a shadow.",
        examples=[10],
    )

    @property
    def enforced(self) -> int:
        """For how many percent of the accounts."""
        if self.shadow:
            return 0
        return 100 if self.enforce is None else self.enforce
