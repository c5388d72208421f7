"""Whatever is sent to the APIs, they answer as their own descriptions say, and never fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from gateway.accounts.store import Accounts
from gateway.clock import ManualClock
from gateway.controlplane import policies_api
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
from tests.integration.controlplane.routes import make_ids

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


OFTEN = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


@dataclass(frozen=True)
class Built:
    """An application, a token that may do everything in it, and ids of what is there."""

    app: web.Application
    token: str
    ids: Mapping[str, str]


Build = Callable[[Collaborators, Path], Awaitable[Built]]


async def _operators(with_: Collaborators, folder: Path) -> Built:
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
    return Built(app, ADMIN_TOKEN, await make_ids(with_.pool, with_.accounts, folder / "policies"))


async def _people(with_: Collaborators, _: Path) -> Built:
    clock = ManualClock(NOW_US)
    identity = make_identity(with_.pool, clock)
    account = await with_.accounts.create_account("Acme", "free")
    key, _secret = await with_.accounts.create_key(account.public_id)
    password_hash = await identity.passwords.hash(PASSWORD)
    person = await People(with_.pool).create(new_id("person"), "ada@example.com", "Ada", password_hash)
    assert person is not None
    members = Memberships(with_.pool)
    await members.add(person, account.id, "owner")
    invited, _token = await members.invite(account.public_id, "cy@example.com", "member")
    member = (await members.of_person(person))[0].public_id
    opened = await Sessions(with_.pool).begin(person)
    token = await identity.access_token(opened.person, opened.session, clock)
    ids = {"key": key.public_id, "member": member, "invitation": invited.public_id}
    return Built(build_portal_app(with_, identity, "1.2.3"), token, ids)


async def _serve(
    build: Build,
    database_url: str,
    folder: Path,
    told: list[Any],
    ready: threading.Event,
    stop: asyncio.Event,
) -> None:
    pool, clock = await connect_pool(database_url), ManualClock(NOW_US)
    with_ = Collaborators(
        pool=pool, accounts=Accounts(pool, "tw"), usage=Usage(pool), policies=lambda: POLICIES, clock=clock
    )
    built = await build(with_, folder)
    runner = ControlRunner(built.app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told += [f"http://127.0.0.1:{runner.addresses[0][1]}", built]
    ready.set()
    await stop.wait()
    await runner.cleanup()
    pool.terminate()


@contextmanager
def served(build: Build, database_url: str, folder: Path) -> Iterator[tuple[str, Built]]:
    """An application on a port and a loop of its own: where it is, and what is in it."""
    told: list[Any] = []
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
    [("operators", _operators, 46), ("people", _people, 22)],
    ids=["operators", "people"],
)
def test_nothing_that_is_sent_gets_an_answer_that_is_not_described(
    case: str,
    build: Build,
    least: int,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policies_api, "IN_USE_WITHIN_S", 0)
    with served(build, database_url, tmp_path) as (url, built):
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        assert len(operations) >= least, case
        reached = {operation.label: _statuses(operation, built) for operation in operations}
    if case == "operators":  # as a person one has soon logged out, and that is all one is told
        assert [label for label, statuses in reached.items() if statuses <= {401, 404, 405}] == []
        good = [label for label, statuses in reached.items() if any(status < 300 for status in statuses)]
        assert len(good) > len(reached) // 2, "more than refusals is compared with the description"


def _statuses(operation: Any, built: Built) -> set[int]:
    """Everything that the operation answered with, to ids that are there and to others."""
    found: set[int] = set()
    headers = {"Authorization": f"Bearer {built.token}"}

    @given(case=operation.as_strategy(), is_there=st.sampled_from((True, True, False)))
    @OFTEN
    def call(case: Any, is_there: bool) -> None:
        if is_there:
            known = {name: built.ids[name] for name in case.path_parameters or {} if name in built.ids}
            case.path_parameters = {**(case.path_parameters or {}), **known}
        found.add(case.call_and_validate(headers=headers, checks=CHECKS).status_code)

    call()
    return found
