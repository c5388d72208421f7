"""Whatever is sent to the APIs, they answer as their own descriptions say, and never fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.accounts.store import Accounts
from gateway.clock import ManualClock
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.health import Health
from gateway.controlplane.operator_app import build_operator_app
from gateway.controlplane.portal import build_portal_app
from gateway.controlplane.serving import ControlRunner
from gateway.controlplane.tokens import BootstrapToken
from gateway.ledger.usage import Usage
from gateway.operators.policy_history import PolicyHistory
from gateway.people.inviting import Inviting
from gateway.people.memberships import Memberships
from gateway.people.outbox import Outbox
from gateway.people.sessions import Sessions
from gateway.people.store import People
from gateway.people.tokens import new_id
from gateway.people.vault import Vault
from gateway.policy.folder import PolicyFolder
from gateway.storage.postgres import connect_pool
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.integration.controlplane.conftest import (
    ADMIN_TOKEN,
    NOW_US,
    POLICIES,
    make_explainer,
    make_identity,
)
from tests.integration.controlplane.people import PASSWORD

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


OFTEN = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


Build = Callable[[Collaborators, Path], Awaitable[tuple[web.Application, str]]]
"""Makes an application and a token that may do everything in it."""


async def _operators(with_: Collaborators, folder: Path) -> tuple[web.Application, str]:
    tasks = Tasks()

    async def alive() -> object:
        return "PONG"

    health = Health(folder, 0, with_.clock, tasks, postgres=alive, redis=alive)
    nobody = TickRedis(parse_address("redis://127.0.0.1:1"), Slots.in_memory(), tasks)
    app = build_operator_app(
        with_,
        health=health,
        bootstrap=BootstrapToken(ADMIN_TOKEN),
        explains=make_explainer(with_.pool, nobody, ManualClock(NOW_US), tasks),
        inviting=Inviting(Outbox(Vault(with_.pool)), "https://portal.example"),
        folder=PolicyFolder(folder / "policies"),
        history=PolicyHistory(with_.pool),
        slots_folder=folder,
        version="1.2.3",
    )
    account = await with_.accounts.create_account("Acme", "free")
    await with_.accounts.create_key(account.public_id)
    return app, ADMIN_TOKEN


async def _people(with_: Collaborators, _: Path) -> tuple[web.Application, str]:
    clock = ManualClock(NOW_US)
    identity = make_identity(with_.pool, clock)
    account = await with_.accounts.create_account("Acme", "free")
    await with_.accounts.create_key(account.public_id)
    password_hash = await identity.passwords.hash(PASSWORD)
    person = await People(with_.pool).create(new_id("person"), "ada@example.com", "Ada", password_hash)
    assert person is not None
    await Memberships(with_.pool).add(person, account.id, "owner")
    opened = await Sessions(with_.pool).begin(person)
    token = await identity.access_token(opened.person, opened.session, clock)
    return build_portal_app(with_, identity, "1.2.3"), token


async def _serve(
    build: Build,
    database_url: str,
    folder: Path,
    told: list[str],
    ready: threading.Event,
    stop: asyncio.Event,
) -> None:
    pool, clock = await connect_pool(database_url), ManualClock(NOW_US)
    with_ = Collaborators(
        pool=pool, accounts=Accounts(pool, "tw"), usage=Usage(pool), policies=lambda: POLICIES, clock=clock
    )
    app, token = await build(with_, folder)
    runner = ControlRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told += [f"http://127.0.0.1:{runner.addresses[0][1]}", token]
    ready.set()
    await stop.wait()
    await runner.cleanup()
    pool.terminate()


@contextmanager
def served(build: Build, database_url: str, folder: Path) -> Iterator[tuple[str, str]]:
    """An application on a port and a loop of its own: where it is, and a token."""
    told: list[str] = []
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    work = _serve(build, database_url, folder, told, ready, stop)
    thread = threading.Thread(target=lambda: loop.run_until_complete(work))
    thread.start()
    assert ready.wait(30), "the application starts"
    try:
        yield told[0], told[1]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@pytest.mark.parametrize(
    ("case", "build", "least"),
    [("operators", _operators, 18), ("people", _people, 22)],
    ids=["operators", "people"],
)
def test_nothing_that_is_sent_gets_an_answer_that_is_not_described(
    case: str, build: Build, least: int, database_url: str, tmp_path: Path
) -> None:
    with served(build, database_url, tmp_path) as (url, token):
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        assert len(operations) >= least, case
        for operation in operations:

            @given(case=operation.as_strategy())
            @OFTEN
            def call(case: Any) -> None:
                case.call_and_validate(headers={"Authorization": f"Bearer {token}"}, checks=CHECKS)

            call()
