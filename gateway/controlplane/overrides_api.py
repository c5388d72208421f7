"""`/admin/v1/accounts/{account}/overrides`: special deals beside the tiers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.accounts.idle_overrides import check_there_is, warnings
from gateway.accounts.overrides import Overrides, StoredOverride, limit_override, quota_override
from gateway.accounts.store import Accounts
from gateway.controlplane import wording
from gateway.controlplane.accounts_api import ACCOUNT, Empty, Page
from gateway.controlplane.bodies import Sent, check_match, read_body, read_query, tagged
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.problems import invalid
from gateway.model.policies import PolicySet, Tier

LIST = f"{ACCOUNT}/overrides"
ONE = LIST + "/{name:[a-z][a-z0-9_-]{0,62}}"
OF_KEY = f"{ACCOUNT}/keys/{{key:key_[0-9A-Za-z]+}}/overrides/" + "{name:[a-z][a-z0-9_-]{0,62}}"


class NewOverride(Sent):
    """`rate` and `burst` of a limit, or the `amount` of a quota."""

    rate: str | None = None
    burst: Annotated[int, Field(strict=True)] | None = None
    amount: Annotated[int, Field(strict=True)] | None = None


class OverrideDocument(TypedDict):
    """An override."""

    name: str
    key: str | None
    rate: str | None
    burst: int | None
    amount: int | None
    created_at: str | None


class OverrideList(TypedDict):
    """All overrides of an account and its keys, and what is odd about them."""

    data: list[OverrideDocument]
    warnings: list[str]
    next: str | None


class OverridesPage(Page):
    """Which overrides: all, or those of one key."""

    key: Annotated[str, Field(pattern=r"^key_[0-9A-Za-z]+$")] | None = None


class OverridesApi:
    """What operators do with overrides."""

    def __init__(self, overrides: Overrides, accounts: Accounts, policies: Callable[[], PolicySet]) -> None:
        self._overrides, self._accounts, self._policies = overrides, accounts, policies

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        read, write = "accounts:read", "accounts:write"
        found = [Endpoint("GET", LIST, self.list_overrides, read, OverrideList, query=OverridesPage)]
        for path in (ONE, OF_KEY):
            found += [
                Endpoint(
                    "PUT", path, self.set_override, write, OverrideList, body=NewOverride, refuses=(409, 412)
                ),
                Endpoint(
                    "DELETE", path, self.clear_override, write, OverrideList, body=Empty, refuses=(412,)
                ),
            ]
        return found

    async def list_overrides(self, request: web.Request) -> web.Response:
        """All overrides of an account and its keys. The `ETag` is about all of them, whatever page it is."""
        page = read_query(request, OverridesPage)
        state = await self._state(self._overrides, self._accounts, request)
        found = [one for one in state["data"] if page.key in (None, one["key"])]
        shown = page.cut([(_cursor(one), dict(one)) for one in found])
        return tagged({**shown, "warnings": state["warnings"]}, state=state)

    async def set_override(self, request: web.Request) -> web.Response:
        """Other figures for a limit or quota, or a cap of a key. In effect within a second."""
        wanted = await read_body(request, NewOverride)
        key, name = request.match_info.get("key"), request.match_info["name"]
        if wanted.amount is not None and wanted.rate is None and wanted.burst is None and key is None:
            override = quota_override(name, wanted.amount)
        elif wanted.rate is not None and wanted.burst is not None and wanted.amount is None:
            override = limit_override(name, wanted.rate, wanted.burst, of_key=key is not None)
        else:
            others = "" if key is not None else ", or amount alone"
            raise invalid([("rate", f"must be given together with burst{others}")])
        overrides = self._overrides.on(request[CONNECTION])
        check_there_is(override, self._policies())
        await self._lock(request)
        await overrides.set(request.match_info["account"], override, key)
        return await self._all(overrides, request)

    async def clear_override(self, request: web.Request) -> web.Response:
        """Back to what the tier says, within a second."""
        await read_body(request, Empty)
        overrides = self._overrides.on(request[CONNECTION])
        key, name = request.match_info.get("key"), request.match_info["name"]
        await self._lock(request)
        await overrides.clear(request.match_info["account"], name, key)
        return await self._all(overrides, request)

    async def _all(self, overrides: Overrides, request: web.Request) -> web.Response:
        accounts = self._accounts.on(request[CONNECTION])
        return tagged(await self._state(overrides, accounts, request))

    async def _lock(self, request: web.Request) -> None:
        """Nobody else changes overrides of the account meanwhile. Raises Problem unless they are as asked."""
        accounts = self._accounts.on(request[CONNECTION])
        await accounts.lock_account(request.match_info["account"])
        overrides = self._overrides.on(request[CONNECTION])
        check_match(request, await self._state(overrides, accounts, request))

    async def _state(self, overrides: Overrides, accounts: Accounts, request: web.Request) -> OverrideList:
        found = await overrides.list(request.match_info["account"])
        account = await accounts.get_account(request.match_info["account"])
        return overrides_document(found, self._policies().tiers.get(account.tier))


def _cursor(one: OverrideDocument) -> str:
    return one["name"] if one["key"] is None else f"{one['key']}/{one['name']}"


def overrides_document(found: list[StoredOverride], tier: Tier | None) -> OverrideList:
    """All overrides of an account with this tier, and what is odd about them."""
    documents = [override_document(one) for one in found]
    return {"data": documents, "warnings": warnings(found, tier), "next": None}


def override_document(one: StoredOverride) -> OverrideDocument:
    """An override as the API and the command line show it."""
    return {
        "name": one.name,
        "key": one.key,
        "rate": one.rate,
        "burst": one.burst,
        "amount": one.amount,
        "created_at": wording.instant(one.created_at),
    }
