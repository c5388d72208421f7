"""The control process: operators' port and customers' port."""

from __future__ import annotations

import asyncio

import redis.asyncio
from aiohttp import web

from gateway import __version__
from gateway.accounts.store import Accounts
from gateway.app.policies import PoliciesInUse
from gateway.app.process import Process, State
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.health import Health
from gateway.controlplane.operator_app import build_operator_app
from gateway.controlplane.portal import build_portal_app
from gateway.controlplane.serving import ControlRunner
from gateway.controlplane.tokens import BootstrapToken
from gateway.ledger.usage import Usage
from gateway.operators.idempotency import forget_forever
from gateway.settings import Address
from gateway.storage.postgres import lazy_pool


async def serve_control(process: Process) -> None:
    """Serve both private ports until told to stop."""
    wiring, settings = process.wiring, process.wiring.settings
    policies = PoliciesInUse(process)
    process.on_reload = policies.reload
    pool = await lazy_pool(wiring.database_url, max_size=8)
    store = redis.asyncio.Redis.from_url(wiring.redis_url)
    collaborators = Collaborators(
        pool=pool,
        accounts=Accounts(pool, settings.key_prefix),
        usage=Usage(pool),
        policies=policies.policies,
        clock=process.clock,
    )
    health = Health(
        wiring.metrics_dir,
        settings.workers,
        process.clock,
        process.tasks,
        postgres=lambda: pool.fetchval("SELECT 1"),
        redis=store.ping,
    )
    operators = build_operator_app(
        collaborators,
        health=health,
        bootstrap=BootstrapToken(wiring.admin_token),
        slots_folder=wiring.metrics_dir,
        version=__version__,
    )
    runners = [
        await _serve(operators, settings.control),
        await _serve(build_portal_app(collaborators), settings.portal),
    ]
    process.tasks.spawn(forget_forever(pool), name="control.idempotency")
    process.state(State.READY)
    await process.stop.wait()
    process.state(State.DRAINING)
    await asyncio.gather(*(runner.cleanup() for runner in runners))
    await store.aclose()
    pool.terminate()


async def _serve(app: web.Application, address: Address) -> ControlRunner:
    runner = ControlRunner(app)
    await runner.setup()
    await web.TCPSite(runner, address.host, address.port, reuse_port=True).start()
    return runner
