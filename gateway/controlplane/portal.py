"""The application on the portal port: the page of tiers, and what customers may ask about themselves."""

from __future__ import annotations

from datetime import UTC, datetime

from aiohttp import web

from gateway.admission.period import period_at
from gateway.controlplane import wording
from gateway.controlplane.bodies import MAX_BODY_BYTES, answer, read_query
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.keyholders import PRINCIPAL, require_key
from gateway.controlplane.problems import add_headers, answer_problems
from gateway.controlplane.tiers_page import CONTENT_SECURITY_POLICY, render_tiers
from gateway.controlplane.usage_api import PagedSpan, usage_page
from gateway.ledger.usage import Sums
from gateway.model.policies import Quota
from gateway.model.principal import Principal

API = "/api/v1"


def build_portal_app(with_: Collaborators) -> web.Application:
    """The application, for `serving.ControlRunner`. Pages for everybody, the API for holders of a key."""
    portal = Portal(with_)
    api = web.Application(middlewares=[require_key(with_.accounts)], client_max_size=MAX_BODY_BYTES)
    api.add_routes([web.get("/account", portal.get_account), web.get("/usage", portal.get_usage)])
    app = web.Application(middlewares=[answer_problems], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(add_headers)
    app.add_routes([web.get("/", portal.home), web.get("/tiers", portal.tiers)])
    app.add_subapp(API, api)
    return app


class Portal:
    """What customers see."""

    def __init__(self, with_: Collaborators) -> None:
        self._accounts, self._usage = with_.accounts, with_.usage
        self._policies, self._clock = with_.policies, with_.clock

    async def home(self, _: web.Request) -> web.Response:
        """There is one page so far."""
        return web.Response(status=302, headers={"Location": "/tiers"})

    async def tiers(self, request: web.Request) -> web.Response:
        """The tiers as a page; `?upgrade=name` makes one stand out."""
        text = render_tiers(self._policies(), request.query.get("upgrade"))
        headers = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"}
        return web.Response(text=text, content_type="text/html", charset="utf-8", headers=headers)

    async def get_account(self, request: web.Request) -> web.Response:
        """The key's account, what its tier allows, and what is used of each quota."""
        principal = request[PRINCIPAL]
        account = await self._accounts.get_account(principal.account)
        tier = self._policies().tiers.get(account.tier)
        return answer(
            {
                "account": {"id": account.public_id, "name": account.name, "status": account.status},
                "key": {"id": principal.key, "mode": principal.mode.value},
                "tier": {"name": account.tier} if tier is None else wording.tier(tier),
                "quotas": [await self._used(principal, one) for one in (tier.quotas if tier else ())],
            }
        )

    async def get_usage(self, request: web.Request) -> web.Response:
        """The account's own sums, of keys of the same mode."""
        asked = read_query(request, PagedSpan)
        principal = request[PRINCIPAL]
        start, end = asked.bounds(self._clock.now_us())
        sums = Sums(principal.account, start, end, asked.bucket, principal.mode)
        return answer(await usage_page(self._usage, asked, sums))

    async def _used(self, principal: Principal, quota: Quota) -> wording.Document:
        """A quota with what the ledger has of the present period: calls appear seconds after their end."""
        span = period_at(quota.per, self._clock.now_us())
        start, end = (datetime.fromtimestamp(at_s, UTC) for at_s in span)
        used = await self._usage.period_total(principal.account_id, quota.meter, start, end, principal.mode)
        return {
            **wording.quota(quota),
            "used": used,
            "remaining": max(0, quota.amount - used),
            "period_start": wording.instant(start),
            "resets_at": wording.instant(end),
        }
