"""The application on the portal port: people's API, the tiers, and what customers ask about themselves."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from aiohttp import web
from typing_extensions import TypedDict

from gateway.accounts.overrides import Overrides
from gateway.admission.period import period_at
from gateway.auth.guesses import Guesses
from gateway.auth.refusals import Refusals
from gateway.controlplane import wording
from gateway.controlplane.attempted import counted
from gateway.controlplane.attempts import Attempts
from gateway.controlplane.bodies import MAX_BODY_BYTES, answer, read_query
from gateway.controlplane.callers import Callers
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.entrance import Entrance
from gateway.controlplane.entry_api import EntryApi
from gateway.controlplane.identity import Identity
from gateway.controlplane.keyholders import VIEWER, Viewer, require_viewer
from gateway.controlplane.members_api import MembersApi
from gateway.controlplane.openapi import describe
from gateway.controlplane.own_keys_api import OwnKeysApi
from gateway.controlplane.people_pages import PeoplePages
from gateway.controlplane.period_api import PeriodApi
from gateway.controlplane.portal_endpoints import FLAVOUR, bind_portal
from gateway.controlplane.problems import add_headers, answer_problems, invalid
from gateway.controlplane.proxies import believe
from gateway.controlplane.reference import Reference
from gateway.controlplane.self_api import SelfApi
from gateway.controlplane.tiers_page import CONTENT_SECURITY_POLICY, render_tiers
from gateway.controlplane.usage_api import PagedSpan, UsagePage, usage_answer
from gateway.model.periods import Calendar
from gateway.model.policies import Quota
from gateway.model.principal import Mode
from gateway.routing.terms import with_overrides

API = "/api/v1"
AUTH = "/auth"


def build_portal_app(with_: Collaborators, identity: Identity, version: str) -> web.Application:
    """The application, for `serving.ControlRunner`. Pages for everybody, the API for people and keys."""
    portal, entrance = Portal(with_), Entrance(with_, identity)
    callers = Callers(with_.pool, identity, with_.clock)
    endpoints = [
        *EntryApi(with_, identity, entrance).endpoints(),
        *SelfApi(with_, identity).endpoints(),
        *OwnKeysApi(with_.accounts, with_.policies).endpoints(),
        *MembersApi(with_, identity).endpoints(),
    ]
    auth = web.Application(client_max_size=MAX_BODY_BYTES)
    auth.add_routes(bind_portal(counted(endpoints, with_.slots), callers, with_.pool, identity.outbox.wake))
    guesses = Guesses(with_.clock, with_.slots, identity.wrong_keys_per_minute)
    attempts = Attempts(guesses, Refusals(with_.clock, with_.key_refusal_ms))
    viewer = require_viewer(with_.accounts, callers, attempts, foreign_keys=identity.foreign_keys)
    api = web.Application(middlewares=[viewer], client_max_size=MAX_BODY_BYTES)
    own = [*portal.endpoints(), *PeriodApi(with_).own_endpoints()]
    api.add_routes([web.route(one.method, one.path, one.handler) for one in own])
    below_api = [*(replace(one, path=AUTH + one.path) for one in endpoints), *own]
    reference = Reference(lambda: describe(below_api, API, version, FLAVOUR))

    middlewares = [answer_problems, believe(identity.proxies)]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(add_headers)
    app.add_routes(
        [
            web.get("/", portal.home),
            web.get("/tiers", portal.tiers),
            web.get("/openapi.json", reference.document),
            web.get("/reference", reference.page),
        ]
    )
    app.add_routes(PeoplePages(entrance, with_.slots).routes())
    app.add_subapp(API + AUTH, auth)
    app.add_subapp(API, api)
    return app


class OwnUsage(PagedSpan):
    """A page of one's own sums. `mode`: what keys of this mode did, for people; a key sees its own."""

    mode: Literal["live", "test"] | None = None


class ViewedAccount(TypedDict):
    """The account in short."""

    id: str
    name: str
    status: str


class ViewedKey(TypedDict):
    """The key that asks."""

    id: str
    mode: str


class StandingDocument(TypedDict):
    """An account, what its tier allows, and what is used of each quota."""

    account: ViewedAccount
    key: ViewedKey | None
    tier: dict[str, object]
    quotas: list[dict[str, object]]


class Portal:
    """What customers see."""

    def __init__(self, with_: Collaborators) -> None:
        self._accounts, self._usage = with_.accounts, with_.usage
        self._policies, self._clock = with_.policies, with_.clock
        self._overrides = Overrides(with_.pool, with_.accounts)

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/api/v1` for members and for holders of a key."""
        return [
            Endpoint("GET", "/account", self.get_account, "account:read", StandingDocument),
            Endpoint("GET", "/usage", self.get_usage, "usage:read", UsagePage, query=OwnUsage, csv=True),
        ]

    async def home(self, _: web.Request) -> web.Response:
        """There is one page so far."""
        return web.Response(status=302, headers={"Location": "/tiers"})

    async def tiers(self, request: web.Request) -> web.Response:
        """The tiers as a page; `?upgrade=name` makes one stand out."""
        text = render_tiers(self._policies(), request.query.get("upgrade"))
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)

    async def get_account(self, request: web.Request) -> web.Response:
        """The account, what its tier allows, and what is used of each quota."""
        viewer = request[VIEWER]
        account = await self._accounts.get_account(viewer.account)
        tier = self._policies().tiers.get(account.tier)
        if tier is not None and (deals := await self._overrides.of_account(viewer.account)):
            tier = with_overrides(tier, deals)
        return answer(
            {
                "account": {"id": account.public_id, "name": account.name, "status": account.status},
                "key": None if viewer.key is None else {"id": viewer.key, "mode": viewer.mode.value},
                "tier": {"name": account.tier} if tier is None else wording.tier(tier),
                "quotas": [
                    await self._used(viewer, one, account.calendar)
                    for one in (tier.quotas if tier else ())
                    if not one.shadow
                ],
            }
        )

    async def get_usage(self, request: web.Request) -> web.Response:
        """The account's own sums. A key sees what keys of its mode did."""
        asked = read_query(request, OwnUsage)
        viewer = request[VIEWER]
        if viewer.key is not None and asked.mode not in (None, viewer.mode.value):
            raise invalid([("mode", "is that of the key that asks, unless a member asks")])
        mode = viewer.mode if asked.mode is None else Mode(asked.mode)
        own_zone = (await self._accounts.get_account(viewer.account)).time_zone
        sums = asked.sums(viewer.account, asked.within(self._clock.now_us(), own_zone), mode)
        return await usage_answer(request, self._usage, asked, sums)

    async def _used(self, viewer: Viewer, quota: Quota, by: Calendar) -> wording.Document:
        """A quota with what the ledger has of the present period: calls appear seconds after their end."""
        span = period_at(quota.per, self._clock.now_us(), by)
        start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in span)
        used = await self._usage.period_total(viewer.account_id, quota.meter, start, end, viewer.mode)
        return {
            **wording.quota(quota),
            "used": used,
            "remaining": max(0, quota.amount - used),
            "period_start": wording.instant(start),
            "resets_at": wording.instant(end),
        }
