"""`/admin/v1/enforcement`: limits loosened at once, everywhere, beside the policies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, check_match, read_body, tagged
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.model.enforcement import Enforcing, Switch
from gateway.model.policies import PolicySet
from gateway.operators.enforcement import LONGEST_S, REASON_MAX, StoredSwitch, Switches
from gateway.storage.postgres import Connection

Scoped = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class NewSwitch(Sent):
    """How much of limits is left, and why. Without `limit`, `tier` and `route` it is about all of them."""

    state: Literal["enforce", "shadow", "off"]
    reason: Annotated[str, Field(min_length=1, max_length=REASON_MAX)]
    expires_in_s: Annotated[int, Field(strict=True, ge=1, le=LONGEST_S)] | None = None
    limit: Scoped | None = None
    tier: Scoped | None = None
    route: Scoped | None = None


class SwitchDocument(TypedDict):
    """A switch in force."""

    state: str
    limit: str | None
    tier: str | None
    route: str | None
    reason: str
    expires_at: str | None
    changed_at: str | None
    changed_by: str


class EnforcementDocument(TypedDict):
    """How much is left of limits in general, and every switch in force."""

    state: str
    switches: list[SwitchDocument]


class EnforcementApi:
    """What operators switch."""

    def __init__(self, switches: Switches, policies: Callable[[], PolicySet]) -> None:
        self._switches, self._policies = switches, policies

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        path, document = "/enforcement", EnforcementDocument
        return [
            Endpoint("GET", path, self.get_enforcement, "enforcement:read", document),
            Endpoint(
                "PUT",
                path,
                self.set_enforcement,
                "enforcement:write",
                document,
                body=NewSwitch,
                refuses=(412,),
            ),
        ]

    async def get_enforcement(self, _: web.Request) -> web.Response:
        """Whether limits are enforced as the policies say, and every switch that loosens some."""
        return tagged(enforcement_document(await self._switches.in_force(0)))

    async def set_enforcement(self, request: web.Request) -> web.Response:
        """Loosen limits and quotas, or take that back. In every worker within a second."""
        wanted = await read_body(request, NewSwitch)
        switch = Switch(Enforcing(wanted.state), wanted.limit, wanted.tier, wanted.route, wanted.reason)
        connection: Connection = request[CONNECTION]
        switches = Switches(connection)
        await switches.check_scope(switch, self._policies())
        await switches.lock()
        check_match(request, enforcement_document(await switches.in_force(0)))
        await switches.set(switch, wanted.expires_in_s)
        return tagged(enforcement_document(await switches.in_force(0)))


def enforcement_document(found: list[StoredSwitch]) -> EnforcementDocument:
    """All switches, as the API and the command line show them."""
    general = next((one.switch.state for one in found if one.switch.scope == "everything"), Enforcing.ENFORCE)
    return {"state": general.value, "switches": [switch_document(one) for one in found]}


def switch_document(one: StoredSwitch) -> SwitchDocument:
    """One switch."""
    return {
        "state": one.switch.state.value,
        "limit": one.switch.limit,
        "tier": one.switch.tier,
        "route": one.switch.route,
        "reason": one.switch.reason,
        "expires_at": wording.instant(one.expires_at),
        "changed_at": wording.instant(one.changed_at),
        "changed_by": one.changed_by,
    }
