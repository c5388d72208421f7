"""`/admin/v1/accounts` and `/admin/v1/keys`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field

from gateway.accounts.store import Accounts
from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, read_body, read_query
from gateway.controlplane.problems import invalid
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode

DAY_S = 86_400
ACCOUNT = "{account:acct_[0-9A-Za-z]+}"
KEY = "{key:key_[0-9A-Za-z]+}"


class Page(Sent):
    """Where a list goes on: `after` is the `next` of the page before."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100

    def of(self, found: list[tuple[str, wording.Document]]) -> wording.Document:
        """This page's answer, from ids and documents. A full page may turn out to be the last one."""
        after = found[-1][0] if len(found) == self.limit else None
        return {"data": [document for _, document in found], "next": after}


class NewAccount(Sent):
    """What an account is made of."""

    name: str
    tier: str
    external_id: str | None = None


class AccountChange(Sent):
    """What is given changes, the rest stays."""

    name: str | None = None
    tier: str | None = None
    status: Literal["active", "suspended"] | None = None


class NewKey(Sent):
    """What a key is made of."""

    name: str = ""
    mode: Literal["live", "test"] = "live"


class Rotation(Sent):
    """How long the old key goes on working beside the new one."""

    overlap_s: Annotated[int, Field(ge=0, le=365 * DAY_S, strict=True)] = DAY_S


class Empty(Sent):
    """Nothing."""


class AccountsApi:
    """What operators do with accounts and keys."""

    def __init__(self, accounts: Accounts, policies: Callable[[], PolicySet]) -> None:
        self._accounts, self._policies = accounts, policies

    def routes(self) -> list[web.RouteDef]:
        """The addresses below `/admin/v1`."""
        return [
            web.get("/accounts", self.list_accounts),
            web.post("/accounts", self.create_account),
            web.get(f"/accounts/{ACCOUNT}", self.get_account),
            web.patch(f"/accounts/{ACCOUNT}", self.change_account),
            web.get(f"/accounts/{ACCOUNT}/keys", self.list_keys),
            web.post(f"/accounts/{ACCOUNT}/keys", self.create_key),
            web.post(f"/keys/{KEY}/revoke", self.revoke_key),
            web.post(f"/keys/{KEY}/rotate", self.rotate_key),
        ]

    async def list_accounts(self, request: web.Request) -> web.Response:
        """A page of accounts in the order of creation."""
        page = read_query(request, Page)
        found = await self._accounts.list_accounts(after=page.after, limit=page.limit)
        return answer(page.of([(one.public_id, wording.account(one)) for one in found]))

    async def create_account(self, request: web.Request) -> web.Response:
        """A new account."""
        wanted = await read_body(request, NewAccount)
        self._check_tier(wanted.tier)
        made = await self._accounts.create_account(wanted.name, wanted.tier, external_id=wanted.external_id)
        headers = {"Location": f"/admin/v1/accounts/{made.public_id}"}
        return answer(wording.account(made), status=201, headers=headers)

    async def get_account(self, request: web.Request) -> web.Response:
        """One account."""
        return answer(wording.account(await self._accounts.get_account(request.match_info["account"])))

    async def change_account(self, request: web.Request) -> web.Response:
        """Another name, tier or status. In effect in every worker within a second."""
        wanted = await read_body(request, AccountChange)
        public_id = request.match_info["account"]
        if wanted.tier is not None:
            self._check_tier(wanted.tier)
        # The name first: it alone can still be refused, and then nothing has changed.
        if wanted.name is not None:
            await self._accounts.set_name(public_id, wanted.name)
        if wanted.tier is not None:
            await self._accounts.set_tier(public_id, wanted.tier)
        if wanted.status is not None:
            await self._accounts.set_status(public_id, wanted.status)
        return await self.get_account(request)

    async def list_keys(self, request: web.Request) -> web.Response:
        """The keys of an account, revoked ones included, without secrets."""
        page = read_query(request, Page)
        account = request.match_info["account"]
        found = await self._accounts.list_keys(account, after=page.after, limit=page.limit)
        return answer(page.of([(one.public_id, wording.key(one)) for one in found]))

    async def create_key(self, request: web.Request) -> web.Response:
        """A new key. The only answer that ever holds its secret."""
        wanted = await read_body(request, NewKey)
        made, secret = await self._accounts.create_key(
            request.match_info["account"], wanted.name, Mode(wanted.mode)
        )
        return answer({**wording.key(made), "secret": secret}, status=201)

    async def revoke_key(self, request: web.Request) -> web.Response:
        """The key stops working, in every worker within a second. Again changes nothing."""
        await read_body(request, Empty)
        return answer(wording.key(await self._accounts.revoke_key(request.match_info["key"])))

    async def rotate_key(self, request: web.Request) -> web.Response:
        """A successor with a secret of its own; the old key goes on working for the overlap."""
        wanted = await read_body(request, Rotation)
        made, secret = await self._accounts.rotate_key(request.match_info["key"], wanted.overlap_s)
        return answer({**wording.key(made), "secret": secret}, status=201)

    def _check_tier(self, name: str) -> None:
        known = self._policies().tiers
        if name not in known:
            raise invalid([("tier", f"is not in the policies in use; they have: {', '.join(known)}")])
