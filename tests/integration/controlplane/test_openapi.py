"""Whatever is sent to the admin API, it answers as its own description says, and never fails."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
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
from gateway.controlplane.serving import ControlRunner
from gateway.controlplane.tokens import BootstrapToken
from gateway.ledger.usage import Usage
from gateway.storage.postgres import connect_pool
from gateway.tasks import Tasks
from tests.integration.controlplane.conftest import ADMIN_TOKEN, NOW_US, POLICIES

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


OFTEN = settings(
    max_examples=25, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


async def _serve(
    database_url: str, folder: Path, told: list[int], ready: threading.Event, stop: asyncio.Event
) -> None:
    pool, clock, tasks = await connect_pool(database_url), ManualClock(NOW_US), Tasks()
    with_ = Collaborators(
        pool=pool, accounts=Accounts(pool, "tw"), usage=Usage(pool), policies=lambda: POLICIES, clock=clock
    )

    async def alive() -> object:
        return "PONG"

    health = Health(folder, 0, clock, tasks, postgres=alive, redis=alive)
    app = build_operator_app(
        with_, health=health, bootstrap=BootstrapToken(ADMIN_TOKEN), slots_folder=folder, version="1.2.3"
    )
    account = await with_.accounts.create_account("Acme", "free")
    await with_.accounts.create_key(account.public_id)
    runner = ControlRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    told.append(runner.addresses[0][1])
    ready.set()
    await stop.wait()
    await runner.cleanup()
    pool.terminate()
    await tasks.close()


@pytest.fixture
def served(database_url: str, tmp_path: Path) -> Iterator[str]:
    """The operators' application on a port and a loop of its own."""
    told: list[int] = []
    ready, loop, stop = threading.Event(), asyncio.new_event_loop(), asyncio.Event()
    work = _serve(database_url, tmp_path, told, ready, stop)
    thread = threading.Thread(target=lambda: loop.run_until_complete(work))
    thread.start()
    assert ready.wait(30), "the application starts"
    yield f"http://127.0.0.1:{told[0]}"
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


def test_nothing_that_is_sent_gets_an_answer_that_is_not_described(served: str) -> None:
    schema = schemathesis.openapi.from_url(f"{served}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    assert len(operations) >= 18
    for operation in operations:

        @given(case=operation.as_strategy())
        @OFTEN
        def call(case: Any) -> None:
            case.call_and_validate(headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}, checks=CHECKS)

        call()
