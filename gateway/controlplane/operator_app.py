"""The application on the control port: admin API, metrics and health, for operators."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from gateway.controlplane.accounts_api import AccountsApi
from gateway.controlplane.bodies import MAX_BODY_BYTES
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.health import Health
from gateway.controlplane.problems import add_headers, answer_problems
from gateway.controlplane.snapshot_api import SnapshotApi
from gateway.controlplane.tokens import Tokens, require_token
from gateway.controlplane.usage_api import UsageApi
from gateway.telemetry import exposition

ADMIN = "/admin/v1"


def build_operator_app(
    with_: Collaborators, *, health: Health, tokens: Tokens, slots_folder: Path, version: str
) -> web.Application:
    """The application, for `serving.ControlRunner`. Nothing below `/admin/v1` answers without a token."""
    admin = web.Application(middlewares=[require_token(tokens)], client_max_size=MAX_BODY_BYTES)
    admin.add_routes(AccountsApi(with_.accounts, with_.policies).routes())
    admin.add_routes(UsageApi(with_.usage, with_.accounts, with_.clock).routes())
    admin.add_routes(SnapshotApi(with_.policies, slots_folder, with_.clock).routes())

    async def metrics(_: web.Request) -> web.Response:
        body = exposition.render(slots_folder, version)
        return web.Response(body=body, headers={"Content-Type": exposition.CONTENT_TYPE})

    app = web.Application(middlewares=[answer_problems], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(add_headers)
    app.add_routes(
        [
            web.get("/healthz", health.healthz),
            web.get("/readyz", health.readyz),
            web.get("/metrics", metrics),
        ]
    )
    app.add_subapp(ADMIN, admin)
    return app
