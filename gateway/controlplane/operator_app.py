"""The application on the control port: admin API, metrics and health, for operators."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from gateway.accounts.overrides import Overrides
from gateway.auth.guesses import Guesses
from gateway.auth.refusals import Refusals
from gateway.controlplane.account_members_api import AccountMembersApi
from gateway.controlplane.accounts_api import AccountsApi
from gateway.controlplane.attempts import Attempts
from gateway.controlplane.bodies import MAX_BODY_BYTES
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.endpoints import Endpoint, bind
from gateway.controlplane.enforcement_api import EnforcementApi
from gateway.controlplane.entries_api import EntriesApi
from gateway.controlplane.explain_api import ExplainApi
from gateway.controlplane.explanations import Explains
from gateway.controlplane.health import Health
from gateway.controlplane.keys_api import KeysApi
from gateway.controlplane.openapi import describe
from gateway.controlplane.operators_api import OperatorsApi
from gateway.controlplane.overrides_api import OverridesApi
from gateway.controlplane.period_api import PeriodApi
from gateway.controlplane.policies_api import PoliciesApi
from gateway.controlplane.problems import add_headers, answer_problems
from gateway.controlplane.quota_events_api import QuotaEventsApi
from gateway.controlplane.reference import Reference
from gateway.controlplane.snapshot_api import SnapshotApi
from gateway.controlplane.tokens import WRONG_TOKENS_MAX, StoredTokens, Tokens, require_token
from gateway.controlplane.usage_api import UsageApi
from gateway.ledger.quota_events import QuotaEvents
from gateway.operators.audit import AuditLog
from gateway.operators.enforcement import Switches
from gateway.operators.policy_history import PolicyHistory
from gateway.operators.tokens import AdminTokens
from gateway.people.inviting import Inviting
from gateway.policy.folder import PolicyFolder
from gateway.telemetry import exposition

ADMIN = "/admin/v1"


def build_operator_app(
    with_: Collaborators,
    *,
    health: Health,
    bootstrap: Tokens,
    explains: Explains,
    inviting: Inviting,
    folder: PolicyFolder,
    history: PolicyHistory,
    slots_folder: Path,
    version: str,
) -> web.Application:
    """The application, for `serving.ControlRunner`. Nothing below `/admin/v1` answers without a token."""
    stored = AdminTokens(with_.pool)
    endpoints: list[Endpoint] = [
        *AccountsApi(with_).endpoints(),
        *KeysApi(with_.accounts, with_.policies).endpoints(),
        *AccountMembersApi(with_.pool, with_.accounts, inviting).endpoints(),
        *OverridesApi(Overrides(with_.pool, with_.accounts), with_.accounts, with_.policies).endpoints(),
        *UsageApi(with_.usage, with_.accounts, with_.clock).endpoints(),
        *QuotaEventsApi(QuotaEvents(with_.pool), with_.accounts).endpoints(),
        *EnforcementApi(Switches(with_.pool), with_.policies).endpoints(),
        *ExplainApi(explains).endpoints(),
        *EntriesApi(with_).endpoints(),
        *PeriodApi(with_).endpoints(),
        *SnapshotApi(with_.policies, folder, slots_folder, with_.clock).endpoints(),
        *PoliciesApi(folder, history, with_.policies).endpoints(),
        *OperatorsApi(stored, AuditLog(with_.pool)).endpoints(),
    ]
    guesses = Guesses(with_.clock, with_.slots, WRONG_TOKENS_MAX)
    attempts = Attempts(guesses, Refusals(with_.clock, with_.key_refusal_ms))
    guard = require_token(bootstrap, StoredTokens(stored), attempts)
    admin = web.Application(middlewares=[guard], client_max_size=MAX_BODY_BYTES)
    admin.add_routes(bind(endpoints, with_.pool))
    reference = Reference(lambda: describe(endpoints, ADMIN, version))

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
            web.get("/openapi.json", reference.document),
            web.get("/reference", reference.page),
        ]
    )
    app.add_subapp(ADMIN, admin)
    return app
