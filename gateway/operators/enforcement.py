"""The switches that loosen limits, in Postgres. Every gateway is told of changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from gateway.errors import Invalid
from gateway.model.enforcement import Enforcement, Enforcing, Switch
from gateway.model.policies import PolicySet
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "enforcement")
CHANNEL = "tollway_enforcement"
"""Where Postgres says that something was switched."""
REASON_MAX = 500
LONGEST_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class StoredSwitch:
    """A switch in force as operators see it."""

    switch: Switch
    expires_at: datetime | None
    changed_at: datetime
    changed_by: str


class Switches:
    """What may be done with switches, over a pool or within the transaction of one connection."""

    def __init__(self, database: Pool | Connection) -> None:
        self._database = database

    async def in_force(self, now_us: int) -> list[StoredSwitch]:
        """All that loosen something. `now_us`: the caller's clock, by which their ends are told."""
        return [
            StoredSwitch(
                Switch(
                    Enforcing(row["state"]),
                    row["limit_name"],
                    row["tier"],
                    row["route"],
                    row["reason"],
                    None if row["expires_in_s"] is None else now_us + int(row["expires_in_s"] * 1_000_000),
                ),
                row["expires_at"],
                row["changed_at"],
                row["changed_by"],
            )
            for row in await self._database.fetch(QUERIES.in_force)
        ]

    async def enforcement(self, now_us: int) -> Enforcement:
        """The same, for whoever decides calls."""
        return Enforcement(tuple([one.switch for one in await self.in_force(now_us)]))

    async def lock(self) -> None:
        """Nobody else switches until the transaction ends: what was seen stays true until then."""
        await self._database.execute(QUERIES.lock)

    async def set(self, switch: Switch, expires_in_s: int | None = None) -> None:
        """Switch, in place of what had the same scope. Invalid for a reason or span that can not be."""
        reason = switch.reason.strip()
        if not reason or len(reason) > REASON_MAX or not switch.reason.isprintable():
            raise Invalid("reason", f"must have 1 to {REASON_MAX} characters, all printable")
        if expires_in_s is not None and switch.state is Enforcing.ENFORCE:
            raise Invalid(
                "expires_in_s", "means nothing with `enforce`, which is how things are by themselves"
            )
        if expires_in_s is not None and not 1 <= expires_in_s <= LONGEST_S:
            raise Invalid("expires_in_s", f"must be 1 to {LONGEST_S}")
        scope = switch.limit, switch.tier, switch.route
        await self._database.execute(
            QUERIES.set, switch.scope, switch.state.value, *scope, reason, expires_in_s
        )

    async def check_scope(self, switch: Switch, policies: PolicySet) -> None:
        """Invalid for a scope that is about nothing: a misspelled name must not pass for a switch that works.

        What is gone from the policies can still be switched back.
        """
        if switch.state is Enforcing.ENFORCE:
            return
        if switch.route is not None and all(route.name != switch.route for route in policies.routes):
            raise Invalid("route", "is not in the policies in use")
        if switch.tier is not None and switch.tier not in policies.tiers:
            raise Invalid("tier", f"is not in the policies in use; they have: {', '.join(policies.tiers)}")
        if switch.limit is None:
            return
        tiers = [one for one in policies.tiers.values() if switch.tier in (None, one.name)]
        known = {name for tier in tiers for name in tier.bounds}
        if switch.limit not in known and not await self._is_special_deal(switch.limit):
            there = ", ".join(sorted(known)) or "none"
            raise Invalid("limit", f"is no limit or quota of the policies in use; they have: {there}")

    async def _is_special_deal(self, name: str) -> bool:
        """Whether an account or key has an override that is called so: limits may exist there alone."""
        return bool(await self._database.fetchval(QUERIES.special_deal, name))
