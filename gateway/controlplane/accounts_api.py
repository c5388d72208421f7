"""`/admin/v1/accounts` and `/admin/v1/keys`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.accounts.store import Accounts
from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, check_match, read_body, read_query, tagged
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.problems import invalid
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode

DAY_S = 86_400
ACCOUNT = "/accounts/{account:acct_[0-9A-Za-z]+}"
KEY = "/keys/{key:key_[0-9A-Za-z]+}"


class Page(Sent):
    """Where a list goes on: `after` is the `next` of the page before."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100

    def of(self, found: Sequence[tuple[str, Mapping[str, object]]]) -> wording.Document:
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


class AccountList(TypedDict):
    """A page of accounts."""

    data: list[wording.AccountDocument]
    next: str | None


class KeyList(TypedDict):
    """A page of keys."""

    data: list[wording.KeyDocument]
    next: str | None


class AccountsApi:
    """What operators do with accounts and keys."""

    def __init__(self, accounts: Accounts, policies: Callable[[], PolicySet]) -> None:
        self._accounts, self._policies = accounts, policies

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint("GET", "/accounts", self.list_accounts, "accounts:read", AccountList, query=Page),
            Endpoint(
                "POST",
                "/accounts",
                self.create_account,
                "accounts:write",
                wording.AccountDocument,
                body=NewAccount,
                status=201,
                refuses=(409,),
            ),
            Endpoint("GET", ACCOUNT, self.get_account, "accounts:read", wording.AccountDocument),
            Endpoint(
                "PATCH",
                ACCOUNT,
                self.change_account,
                "accounts:write",
                wording.AccountDocument,
                body=AccountChange,
                refuses=(412,),
            ),
            Endpoint("GET", f"{ACCOUNT}/keys", self.list_keys, "keys:read", KeyList, query=Page),
            Endpoint(
                "POST",
                f"{ACCOUNT}/keys",
                self.create_key,
                "keys:write",
                wording.NewKeyDocument,
                body=NewKey,
                status=201,
            ),
            Endpoint("GET", KEY, self.get_key, "keys:read", wording.KeyDocument),
            Endpoint("POST", f"{KEY}/revoke", self.revoke_key, "keys:write", wording.KeyDocument, body=Empty),
            Endpoint(
                "POST",
                f"{KEY}/rotate",
                self.rotate_key,
                "keys:write",
                wording.NewKeyDocument,
                body=Rotation,
                status=201,
                refuses=(409,),
            ),
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
        accounts = self._accounts.on(request[CONNECTION])
        made = await accounts.create_account(wanted.name, wanted.tier, external_id=wanted.external_id)
        headers = {"Location": f"/admin/v1/accounts/{made.public_id}"}
        return tagged(wording.account(made), status=201, headers=headers)

    async def get_account(self, request: web.Request) -> web.Response:
        """One account. Its `ETag` goes into `If-Match` of a change that must not undo somebody else's."""
        return tagged(wording.account(await self._accounts.get_account(request.match_info["account"])))

    async def change_account(self, request: web.Request) -> web.Response:
        """Another name, tier or status, all that is given or nothing. In effect within a second."""
        wanted = await read_body(request, AccountChange)
        if wanted.tier is not None:
            self._check_tier(wanted.tier)
        accounts, public_id = self._accounts.on(request[CONNECTION]), request.match_info["account"]
        changed = await accounts.lock_account(public_id)
        check_match(request, wording.account(changed))
        if wanted.name is not None:
            changed = await accounts.set_name(public_id, wanted.name)
        if wanted.tier is not None:
            changed = await accounts.set_tier(public_id, wanted.tier)
        if wanted.status is not None:
            changed = await accounts.set_status(public_id, wanted.status)
        return tagged(wording.account(changed))

    async def list_keys(self, request: web.Request) -> web.Response:
        """The keys of an account, revoked ones included, without secrets."""
        page = read_query(request, Page)
        account = request.match_info["account"]
        found = await self._accounts.list_keys(account, after=page.after, limit=page.limit)
        return answer(page.of([(one.public_id, wording.key(one)) for one in found]))

    async def create_key(self, request: web.Request) -> web.Response:
        """A new key. The only answer that ever holds its secret."""
        wanted = await read_body(request, NewKey)
        accounts = self._accounts.on(request[CONNECTION])
        made, secret = await accounts.create_key(
            request.match_info["account"], wanted.name, Mode(wanted.mode)
        )
        headers = {"Location": f"/admin/v1/keys/{made.public_id}"}
        return answer({**wording.key(made), "secret": secret}, status=201, headers=headers)

    async def get_key(self, request: web.Request) -> web.Response:
        """One key, without its secret."""
        return answer(wording.key(await self._accounts.get_key(request.match_info["key"])))

    async def revoke_key(self, request: web.Request) -> web.Response:
        """The key stops working, in every worker within a second. Again changes nothing."""
        await read_body(request, Empty)
        accounts = self._accounts.on(request[CONNECTION])
        return answer(wording.key(await accounts.revoke_key(request.match_info["key"])))

    async def rotate_key(self, request: web.Request) -> web.Response:
        """A successor with a secret of its own; the old key goes on working for the overlap."""
        wanted = await read_body(request, Rotation)
        accounts = self._accounts.on(request[CONNECTION])
        made, secret = await accounts.rotate_key(request.match_info["key"], wanted.overlap_s)
        headers = {"Location": f"/admin/v1/keys/{made.public_id}"}
        return answer({**wording.key(made), "secret": secret}, status=201, headers=headers)

    def _check_tier(self, name: str) -> None:
        known = self._policies().tiers
        if name not in known:
            raise invalid([("tier", f"is not in the policies in use; they have: {', '.join(known)}")])
