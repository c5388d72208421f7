"""`/admin/v1/tokens` and `/admin/v1/audit`."""

from __future__ import annotations

from typing import Annotated

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.controlplane import wording
from gateway.controlplane.accounts_api import Empty, Page
from gateway.controlplane.bodies import Sent, answer, read_body, read_query
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.keys_api import State
from gateway.controlplane.spans import Instant
from gateway.operators.audit import AuditLog, AuditQuestion
from gateway.operators.tokens import AdminTokens

DAY_S = 86_400
ONE = "/tokens/{token:tok_[0-9A-Za-z]+}"


class NewToken(Sent):
    """What an admin token is made of."""

    name: str
    scopes: list[str]
    expires_in_s: Annotated[int, Field(ge=60, le=3650 * DAY_S, strict=True)] | None = None


class TokenPage(Page):
    """Which tokens."""

    state: State | None = None


class Changes(Sent):
    """Which changes, newest first; `before` is the `next` of the page before."""

    target: str | None = None
    actor: str | None = None
    action: str | None = None
    start: Annotated[Instant | None, Field(alias="from")] = None
    end: Annotated[Instant | None, Field(alias="to")] = None
    before: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class TokenList(TypedDict):
    """A page of tokens."""

    data: list[wording.TokenDocument]
    next: str | None


class ChangeList(TypedDict):
    """A page of changes."""

    data: list[wording.ChangeDocument]
    next: int | None


class OperatorsApi:
    """Tokens of operators, and what operators changed."""

    def __init__(self, tokens: AdminTokens, audit: AuditLog) -> None:
        self._tokens, self._audit = tokens, audit

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint("GET", "/tokens", self.list_tokens, "tokens:read", TokenList, query=TokenPage),
            Endpoint(
                "POST",
                "/tokens",
                self.create_token,
                "tokens:write",
                wording.NewTokenDocument,
                body=NewToken,
                status=201,
            ),
            Endpoint("GET", ONE, self.get_token, "tokens:read", wording.TokenDocument),
            Endpoint(
                "POST", f"{ONE}/revoke", self.revoke_token, "tokens:write", wording.TokenDocument, body=Empty
            ),
            Endpoint("GET", "/audit", self.list_changes, "audit:read", ChangeList, query=Changes),
        ]

    async def list_tokens(self, request: web.Request) -> web.Response:
        """Admin tokens in the order of creation, revoked and expired ones too, without secrets."""
        page = read_query(request, TokenPage)
        found = await self._tokens.list(after=page.after, limit=page.limit, state=page.state)
        return answer(page.of([(one.public_id, wording.token(one)) for one in found]))

    async def create_token(self, request: web.Request) -> web.Response:
        """A new admin token. The only answer that ever holds its secret."""
        wanted = await read_body(request, NewToken)
        tokens = AdminTokens(request[CONNECTION])
        made, secret = await tokens.create(wanted.name, wanted.scopes, wanted.expires_in_s)
        headers = {"Location": f"/admin/v1/tokens/{made.public_id}"}
        return answer({**wording.token(made), "secret": secret}, status=201, headers=headers)

    async def get_token(self, request: web.Request) -> web.Response:
        """One admin token."""
        return answer(wording.token(await self._tokens.get(request.match_info["token"])))

    async def revoke_token(self, request: web.Request) -> web.Response:
        """The token stops working at once. Again changes nothing."""
        await read_body(request, Empty)
        tokens = AdminTokens(request[CONNECTION])
        return answer(wording.token(await tokens.revoke(request.match_info["token"])))

    async def list_changes(self, request: web.Request) -> web.Response:
        """What was changed, by whom, from what to what. Newest first."""
        asked = read_query(request, Changes)
        found = await self._audit.page(AuditQuestion(**asked.model_dump()))
        following = found[-1].id if len(found) == asked.limit else None
        return answer({"data": [wording.change(one) for one in found], "next": following})
