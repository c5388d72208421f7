"""What operators switched beside the policies: limits that count and refuse nobody, or are left out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Enforcing(Enum):
    """How much of a limit is left."""

    ENFORCE = "enforce"  # as the policies say
    SHADOW = "shadow"  # decided and counted, refuses nobody
    OFF = "off"  # neither decided nor counted


@dataclass(frozen=True, slots=True)
class Switch:
    """Loosens what it is about. `limit` is the name of a limit, quota or concurrency limit; None: all."""

    state: Enforcing
    limit: str | None = None
    tier: str | None = None
    route: str | None = None
    reason: str = ""
    expires_at_us: int | None = None  # None: until somebody changes it

    @property
    def scope(self) -> str:
        """What it is about, as text."""
        parts = (("limit", self.limit), ("tier", self.tier), ("route", self.route))
        return " ".join(f"{kind}:{name}" for kind, name in parts if name is not None) or "everything"

    def concerns(self, limit: str, tier: str, route: str) -> bool:
        """Whether it is about this limit of this tier for calls on this route."""
        return self.limit in (None, limit) and self.tier in (None, tier) and self.route in (None, route)


@dataclass(frozen=True, slots=True)
class Enforcement:
    """All switches in force. Falsy when there are none: the policies say everything."""

    switches: tuple[Switch, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.switches)

    def of(self, limit: str, tier: str, route: str) -> Enforcing:
        """How much of a limit is left. Of several switches the one that leaves least counts."""
        states = {one.state for one in self.switches if one.concerns(limit, tier, route)}
        return next((one for one in (Enforcing.OFF, Enforcing.SHADOW) if one in states), Enforcing.ENFORCE)

    def at(self, now_us: int) -> Enforcement:
        """Without those that have expired."""
        kept = (one for one in self.switches if one.expires_at_us is None or one.expires_at_us > now_us)
        return Enforcement(tuple(kept))

    def ends_at_us(self) -> int | None:
        """When the next one expires."""
        return min(
            (one.expires_at_us for one in self.switches if one.expires_at_us is not None), default=None
        )


POLICIES_ALONE = Enforcement()
"""Nothing is switched."""
