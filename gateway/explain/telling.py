"""What was seen of a call on its way through the stages, as a document."""

from __future__ import annotations

from gateway.accounts.records import ApiKey
from gateway.admission.onlooker import Onlooker
from gateway.controlplane import wording
from gateway.controlplane.enforcement_api import SwitchDocument
from gateway.controlplane.explanations import (
    CallerDocument,
    ChargeDocument,
    Explanation,
    PassedOver,
    Question,
    RouteDocument,
)
from gateway.explain.charges import ChargesTold
from gateway.explain.standins import Listener
from gateway.model.exchange import Exchange
from gateway.model.networks import NO_NETWORKS
from gateway.model.policies import OnStoreLoss
from gateway.model.principal import Principal
from gateway.model.restrictions import Restrictions
from gateway.routing.table import RoutingTable

UNRESTRICTED = Restrictions()
KEPT_OUT = ("content-type", "cache-control", "date")


class Told:
    """Everything about one call that was taken through the stages."""

    def __init__(
        self,
        question: Question,
        exchange: Exchange,
        table: RoutingTable,
        listener: Listener,
        onlooker: Onlooker,
        *,
        forwarded: bool,
    ) -> None:
        self._question, self._exchange, self._table = question, exchange, table
        self._listener, self._onlooker, self._forwarded = listener, onlooker, forwarded
        self._notes: list[str] = []

    def explanation(
        self, switches: list[SwitchDocument], key: ApiKey | None, *, anonymous: bool
    ) -> Explanation:
        """The document. `key`: the one that was asked about."""
        question, exchange = self._question, self._exchange
        problem = self._listener.problem
        charges = self._charges()
        self._note(key, charges)
        return {
            "verdict": self._verdict(),
            "why": self._why(problem),
            "status": self._listener.status,
            "code": None if problem is None else str(problem["code"]),
            "request": {
                "method": question.method,
                "host": exchange.head.host,
                "path": exchange.head.path,
                "client_ip": question.client_ip,
            },
            "route": self._route(),
            "passed_over": self._passed_over(),
            "caller": self._caller(anonymous=anonymous),
            "charges": charges,
            "switches": switches,
            "headers": self._headers(),
            "problem": problem,
            "policies": self._table.policies.digest,
            "at": wording.instant_us(exchange.started_at_us),
            "notes": self._notes,
        }

    def _verdict(self) -> str:
        if self._forwarded:
            return "forward"
        if self._onlooker.seen is not None and self._onlooker.seen.queues is not None:
            return "queue"
        return "refuse" if self._listener.problem is not None else "answer"

    def _why(self, problem: dict[str, object] | None) -> str:
        seen, plan = self._onlooker.seen, self._exchange.charges
        if self._forwarded:
            if self._onlooker.lost is not None:
                return f"{self._onlooker.lost}, and the policies let such calls pass."
            bounded = plan is not None and bool(plan.limits or plan.quotas or plan.concurrency)
            return "Nothing refuses the call." if bounded else "Nothing limits the call."
        if seen is not None and (full := seen.queues) is not None:
            return f"As many calls as may be are under way; the call would wait for up to {full.wait_s:g} s."
        if problem is None:
            return "The gateway answers this itself: it is a preflight, or a question about the server."
        return str(problem["detail"])

    def _route(self) -> RouteDocument | None:
        route = self._exchange.route
        if route is None:
            return None
        return {
            "name": route.name,
            "path": route.path,
            "methods": sorted(route.methods),
            "hosts": sorted(route.hosts),
            "upstream": route.upstream.name,
            "requires": sorted(route.requires),
            "scopes": sorted(route.access.scopes),
        }

    def _passed_over(self) -> list[PassedOver]:
        if self._exchange.broken is not None:
            return []
        return [
            {"name": route.name, "path": route.path, "why": why}
            for route, why in self._table.considered(self._exchange.head)
            if why
        ]

    def _caller(self, *, anonymous: bool) -> CallerDocument | None:
        principal = self._exchange.principal
        if principal is None:
            return None
        tier = self._table.policies.tiers.get(principal.tier)
        only = principal.restrictions or UNRESTRICTED
        allowed, denied = only.addresses.allow or NO_NETWORKS, only.addresses.deny
        return {
            "kind": "anonymous" if anonymous else "key" if principal.key else "account",
            "account": principal.account or None,
            "key": principal.key or None,
            "mode": principal.mode.value,
            "tier": principal.tier,
            "features": sorted(tier.features) if tier is not None else [],
            "only_routes": sorted(only.routes),
            "only_methods": sorted(only.methods),
            "only_networks": [str(one) for one in allowed.ranges],
            "not_networks": [str(one) for one in denied.ranges],
            "scopes": None if principal.scopes is None else sorted(principal.scopes),
            "expires_at": wording.instant_us(principal.expires_at_us or 0),
        }

    def _charges(self) -> list[ChargeDocument]:
        exchange = self._exchange
        plan, principal, route = exchange.charges, exchange.principal, exchange.route
        if plan is None or principal is None or route is None:
            return []
        told = ChargesTold(
            plan,
            self._onlooker.seen,
            principal=principal,
            route=route.name,
            tier=self._table.policies.tiers[principal.tier],
            enforcement=self._table.enforcement,
        )
        if off := told.switched_off():
            self._notes.append(f"Switched off by operators: {', '.join(off)}.")
        if self._forwarded and (beyond := told.passed_beyond()):
            self._notes.append(f"Passes beyond the amount, and is marked with it: {', '.join(beyond)}.")
        self._note_overrides(principal, charges := told.documents())
        return charges

    def _note_overrides(self, principal: Principal, charges: list[ChargeDocument]) -> None:
        used = {one["name"] for one in charges if one["override"]}
        idle = sorted({one.name for one in principal.overrides} - used)
        if idle:
            self._notes.append(f"Overrides that change nothing about this call: {', '.join(idle)}.")

    def _note(self, key: ApiKey | None, charges: list[ChargeDocument]) -> None:
        if key is not None and key.revoked_at is not None:
            self._notes.append(f"The key was revoked at {wording.instant(key.revoked_at)}.")
        elif key is not None and key.expires_at is not None and self._exchange.principal is None:
            self._notes.append(f"The key's time ends or ended at {wording.instant(key.expires_at)}.")
        shadows = [one["name"] for one in charges if one["would_refuse"] and not one["enforced"]]
        if shadows and self._forwarded:
            self._notes.append(f"Would refuse the call if it were enforced: {', '.join(shadows)}.")
        if held := [one["name"] for one in charges if one["held_in_advance"]]:
            names = ", ".join(held)
            self._notes.append(f"Workers hold calls of {names} bought in advance, and admit from them.")
        lost, plan = self._onlooker.lost, self._exchange.charges
        if lost is not None and plan is not None:
            self._notes.append(f"{lost}; on_store_loss: {plan.on_store_loss.value}.")
            if plan.on_store_loss is OnStoreLoss.LOCAL:
                self._notes.append("Each worker decides for its part of the limits, which it alone knows.")

    def _headers(self) -> dict[str, str]:
        """What the gateway adds to the answer about limits, or the header lines of its own answer."""
        grant = self._exchange.grant
        lines = grant.header if grant is not None and self._forwarded else self._listener.lines
        pairs = [line.split(": ", 1) for line in lines.decode("latin-1").split("\r\n") if line]
        return {name: value for name, value in pairs if name.lower() not in KEPT_OUT}
