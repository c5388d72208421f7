"""`/admin/v1/accounts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field, StrictBool
from typing_extensions import TypedDict

from gateway.accounts.records import AccountChanges, AccountDetails
from gateway.admission.moved import count_moved
from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, check_match, read_body, read_query, tagged
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.problems import invalid

Status = Literal["draft", "active", "past_due", "suspended", "cancelled"]
ACCOUNT = "/accounts/{account:acct_[0-9A-Za-z]+}"


class Page(Sent):
    """Where a list goes on: `after` is the `next` of the page before."""

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100

    def of(self, found: Sequence[tuple[str, Mapping[str, object]]]) -> wording.Document:
        """This page's answer, from ids and documents. A full page may turn out to be the last one."""
        after = found[-1][0] if len(found) == self.limit else None
        return {"data": [document for _, document in found], "next": after}

    def cut(self, found: Sequence[tuple[str, Mapping[str, object]]]) -> wording.Document:
        """This page of a whole list, which is short. Raises Problem if it has no such `after`."""
        ids, start = [one for one, _ in found], 0
        if self.after is not None:
            if self.after not in ids:
                raise invalid([("after", "must be the `next` of the page before")])
            start = ids.index(self.after) + 1
        page, rest = found[start : start + self.limit], found[start + self.limit :]
        following = page[-1][0] if rest else None
        return {"data": [document for _, document in page], "next": following}


class AccountPage(Page):
    """Which accounts."""

    tier: str | None = None
    status: Status | None = None


class NewAccount(Sent):
    """What an account is made of."""

    name: str
    tier: str
    external_id: str | None = None
    status: Status = "active"
    billing_anchor: date | None = None
    time_zone: str = "UTC"
    internal: StrictBool = False
    metadata: dict[str, str] = Field(default_factory=dict)


class AccountChange(Sent):
    """What is given changes, the rest stays. `metadata` is merged; a name with null goes, as does a
    `billing_anchor` of null.
    """

    name: str | None = None
    tier: str | None = None
    status: Status | None = None
    billing_anchor: date | None = None
    time_zone: str | None = None
    internal: StrictBool | None = None
    metadata: dict[str, str | None] | None = None


class Empty(Sent):
    """Nothing."""


class AccountList(TypedDict):
    """A page of accounts."""

    data: list[wording.AccountDocument]
    next: str | None


class AccountsApi:
    """What operators do with accounts."""

    def __init__(self, with_: Collaborators) -> None:
        self._accounts, self._policies, self._counters = with_.accounts, with_.policies, with_.counters

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint("GET", "/accounts", self.list_accounts, "accounts:read", AccountList, query=AccountPage),
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
        ]

    async def list_accounts(self, request: web.Request) -> web.Response:
        """A page of accounts in the order of creation."""
        page = read_query(request, AccountPage)
        found = await self._accounts.list_accounts(
            after=page.after, limit=page.limit, tier=page.tier, status=page.status
        )
        return answer(page.of([(one.public_id, wording.account(one)) for one in found]))

    async def create_account(self, request: web.Request) -> web.Response:
        """A new account."""
        wanted = await read_body(request, NewAccount)
        self._check_tier(wanted.tier)
        accounts = self._accounts.on(request[CONNECTION])
        details = AccountDetails(
            status=wanted.status,
            billing_anchor=wanted.billing_anchor,
            time_zone=wanted.time_zone,
            internal=wanted.internal,
            metadata=wanted.metadata,
        )
        made = await accounts.create_account(
            wanted.name, wanted.tier, external_id=wanted.external_id, details=details
        )
        headers = {"Location": f"/admin/v1/accounts/{made.public_id}"}
        return tagged(wording.account(made), status=201, headers=headers)

    async def get_account(self, request: web.Request) -> web.Response:
        """One account. Its `ETag` goes into `If-Match` of a change that must not undo somebody else's."""
        return tagged(wording.account(await self._accounts.get_account(request.match_info["account"])))

    async def change_account(self, request: web.Request) -> web.Response:
        """All that is given changes, or nothing. In effect within a second."""
        wanted = await read_body(request, AccountChange)
        if wanted.tier is not None:
            self._check_tier(wanted.tier)
        accounts, public_id = self._accounts.on(request[CONNECTION]), request.match_info["account"]
        before = await accounts.lock_account(public_id)
        check_match(request, wording.account(before))
        drop = "billing_anchor" in wanted.model_fields_set and wanted.billing_anchor is None
        changes = AccountChanges(**wanted.model_dump(), drop_billing_anchor=drop)
        changed = await accounts.change_account(public_id, changes)
        if self._counters is not None:
            await count_moved(self._counters, request[CONNECTION], self._policies(), before, changed)
        return tagged(wording.account(changed))

    def _check_tier(self, name: str) -> None:
        known = self._policies().tiers
        if name not in known:
            raise invalid([("tier", f"is not in the policies in use; they have: {', '.join(known)}")])
