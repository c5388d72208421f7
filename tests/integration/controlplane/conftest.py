"""Both applications over a real database, and a clock that stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from argon2 import PasswordHasher

from gateway.accounts.store import Accounts
from gateway.admission.redis_store import RedisStore
from gateway.clock import ManualClock
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.doors import Doors
from gateway.controlplane.health import Health
from gateway.controlplane.identity import Identity
from gateway.controlplane.operator_app import build_operator_app
from gateway.controlplane.portal import build_portal_app
from gateway.controlplane.proxies import Proxies
from gateway.controlplane.tokens import BootstrapToken
from gateway.explain.explainer import Explainer, Frame
from gateway.ledger.usage import Usage
from gateway.model.access import Access
from gateway.model.networks import parse_networks
from gateway.model.periods import Period
from gateway.model.policies import (
    Limit,
    Meter,
    PolicySet,
    Price,
    Quota,
    Route,
    Target,
    Tier,
    Upstream,
)
from gateway.operators.policy_history import PolicyHistory
from gateway.people.inviting import Inviting
from gateway.people.outbox import Outbox
from gateway.people.passwords import Passwords
from gateway.people.vault import Vault
from gateway.policy.folder import PolicyFolder
from gateway.routing.table import RoutingTable
from gateway.storage.postgres import Pool, connect_pool
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import TickRedis
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

from .people import Post, Visitor

ADMIN_TOKEN = "an-admin-token-of-the-tests"
NOW_US = 1_795_262_400_000_000  # 2026-11-21T12:00:00Z

Client = TestClient[web.Request, web.Application]

_PROJECTS = Upstream("projects", (Target("127.0.0.1", 9000),))
POLICIES = PolicySet(
    digest="d" * 64,
    upstreams={"projects": _PROJECTS},
    meters={"api_calls": Meter("api_calls", "call")},
    tiers={
        "free": Tier(
            "free",
            "Free",
            Price(0, "USD", "month"),
            (Limit("burst", 60, 60_000, 20),),
            (Quota("monthly", "api_calls", 1000, Period.MONTH), Quota("daily", "api_calls", 5, Period.DAY)),
            frozenset(),
        ),
        "team": Tier("team", "Team", Price(2500, "USD", "month"), (), (), frozenset({"private_projects"})),
    },
    routes=(
        Route(
            "all",
            "/api/**",
            frozenset({"GET"}),
            frozenset(),
            _PROJECTS,
            frozenset({"private_projects"}),
            {"api_calls": 1},
        ),
        Route(
            "write",
            "/write/**",
            frozenset({"POST"}),
            frozenset(),
            _PROJECTS,
            frozenset(),
            {"api_calls": 1},
            access=Access(scopes=frozenset({"projects:write"})),
        ),
    ),
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await connect_pool(database_url)
    yield made
    made.terminate()


@pytest.fixture
def accounts(pool: Pool) -> Accounts:
    return Accounts(pool, "tw")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_US)


@pytest.fixture
def collaborators(pool: Pool, accounts: Accounts, clock: ManualClock) -> Collaborators:
    return Collaborators(
        pool=pool, accounts=accounts, usage=Usage(pool), policies=lambda: POLICIES, clock=clock
    )


def make_explainer(
    pool: Pool,
    redis: TickRedis,
    clock: ManualClock,
    tasks: Tasks,
    store: RedisStore | None = None,
    *,
    tiers: Mapping[str, Tier] = POLICIES.tiers,
) -> Explainer:
    """Explains calls by the tests' policies and the counters of `redis`, which need not be connected.

    `store` may be one that does not believe every counter. They have one more route, which everybody may use.
    """
    methods, free = frozenset({"GET", "HEAD"}), frozenset[str]()
    everybodys = Route("open", "/open/**", methods, free, _PROJECTS, free, {"api_calls": 1})
    policies = replace(POLICIES, tiers=tiers, routes=(*POLICIES.routes, everybodys))
    table = RoutingTable(policies, portal_url="https://portal.example")
    store = store or RedisStore(redis, clock, time_from=clock, looks_only=True)
    return Explainer(pool, store, lambda: table, clock, tasks, Frame("tw", 0))


@pytest.fixture
async def operator_app(
    collaborators: Collaborators, identity: Identity, clock: ManualClock, tmp_path: Path, redis_url: str
) -> AsyncIterator[web.Application]:
    tasks, pool = Tasks(), collaborators.pool
    counters = TickRedis(parse_address(redis_url), Slots.in_memory(), tasks, timeout_s=5)
    explainer = make_explainer(pool, counters, clock, tasks)
    counters.start()
    assert await counters.wait_until_up()

    async def redis() -> object:
        return "PONG"

    health = Health(tmp_path, 0, clock, tasks, postgres=lambda: pool.fetchval("SELECT 1"), redis=redis)
    yield build_operator_app(
        collaborators,
        health=health,
        bootstrap=BootstrapToken(ADMIN_TOKEN),
        explains=explainer,
        inviting=Inviting(identity.outbox, identity.portal_url),
        folder=PolicyFolder(tmp_path / "policies"),
        history=PolicyHistory(pool),
        slots_folder=tmp_path,
        version="1.2.3",
    )
    await counters.close()
    await tasks.close()


@pytest.fixture
async def stranger(operator_app: web.Application, aiohttp_client: Any) -> Client:
    """The control port, without a token."""
    made: Client = await aiohttp_client(TestServer(operator_app))
    return made


@pytest.fixture
async def admin(stranger: Client, aiohttp_client: Any) -> Client:
    """The control port, with the token."""
    made: Client = await aiohttp_client(stranger.server, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
    return made


def make_identity(pool: Pool, clock: ManualClock, **changes: Any) -> Identity:
    """The portal's means, with hashes that cost little."""
    vault = Vault(pool)
    made: dict[str, Any] = {
        "passwords": Passwords(PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)),
        "vault": vault,
        "outbox": Outbox(vault),
        "doors": Doors(clock),
        "portal_url": "https://portal.example",
        "registration": True,
        "default_tier": None,
        "proxies": Proxies(parse_networks("127.0.0.0/8")),
    }
    return Identity(**{**made, **changes})


@pytest.fixture
def identity(pool: Pool, clock: ManualClock) -> Identity:
    return make_identity(pool, clock)


@pytest.fixture
def portal_app(collaborators: Collaborators, identity: Identity) -> web.Application:
    return build_portal_app(collaborators, identity, "1.2.3")


@pytest.fixture
async def portal(portal_app: web.Application, aiohttp_client: Any) -> Client:
    """The portal port."""
    made: Client = await aiohttp_client(TestServer(portal_app))
    return made


@pytest.fixture
def post(pool: Pool, identity: Identity) -> Post:
    """The mails of the portal."""
    return Post(pool, identity)


@pytest.fixture
def visitor(portal: Client, post: Post) -> Visitor:
    """Somebody who has not registered yet."""
    return Visitor(portal, post)


@pytest.fixture
async def owner(visitor: Visitor) -> Visitor:
    """Somebody who is logged in, and owns an account."""
    await visitor.arrive()
    return visitor
