"""Alive, ready, degraded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from redis.exceptions import ConnectionError as RedisConnectionError

from gateway.clock import ManualClock
from gateway.controlplane import health
from gateway.controlplane.health import Check, Health
from gateway.controlplane.problems import answer_problems
from gateway.controlplane.processes import read_all
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots

STARTING, READY, DRAINING, RETIRED = 0, 1, 2, 4


async def well() -> object:
    return "PONG"


async def redis_gone() -> object:
    raise RedisConnectionError


async def postgres_gone() -> object:
    raise ConnectionRefusedError


async def silent() -> object:
    return await asyncio.Event().wait()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.close()


def worker(folder: Path, number: int | str, clock: ManualClock, state: int = READY) -> None:
    slots = Slots.open(folder / f"worker-{number}.slots")
    slots.set("state", state)
    slots.set("heartbeat_us", clock.now_us())
    slots.set("alive_us", clock.monotonic_us())
    slots.set("policy_generation", 3)


async def ready(
    folder: Path,
    clock: ManualClock,
    tasks: Tasks,
    *,
    postgres: Check = well,
    redis: Check = well,
    evicting: str | None = None,
) -> dict[str, Any]:
    """The document of `/readyz` with two workers expected."""
    app = web.Application(middlewares=[answer_problems])
    checked = Health(folder, 2, clock, tasks, postgres=postgres, redis=redis, evicting=lambda: evicting)
    app.add_routes([web.get("/healthz", checked.healthz), web.get("/readyz", checked.readyz)])
    async with TestClient(TestServer(app)) as client:
        assert (await client.get("/healthz")).status == 200
        response = await client.get("/readyz")
        document: dict[str, Any] = json.loads(await response.read())
    assert (response.status == 200) == (document["status"] == "ready")
    if response.status != 200:
        assert (response.status, document["code"]) == (503, "not_ready")
        assert response.headers["Retry-After"]
    return document


async def test_ready_when_every_worker_is(tmp_path: Path, clock: ManualClock, tasks: Tasks) -> None:
    worker(tmp_path, 1, clock)
    worker(tmp_path, 2, clock)
    assert await ready(tmp_path, clock, tasks) == {"status": "ready", "degraded": []}


@pytest.mark.parametrize(
    ("case", "state", "silent_s", "why"),
    [
        ("it starts", STARTING, 0, "is starting"),
        ("it drains", DRAINING, 0, "is draining"),
        ("it hangs", READY, 6, "has given no sign of life for 6 s"),
        ("a state of a newer release", 9, 0, "is unknown"),
    ],
)
async def test_not_ready_while_a_worker_is_not(
    tmp_path: Path, clock: ManualClock, tasks: Tasks, case: str, state: int, silent_s: int, why: str
) -> None:
    worker(tmp_path, 2, clock, state)
    clock.advance(silent_s)
    worker(tmp_path, 1, clock)
    (missing,) = (await ready(tmp_path, clock, tasks))["missing"]
    assert (missing["what"], missing["why"]) == ("worker-2", why), case
    assert missing["mend"]


@pytest.mark.parametrize("step_s", [-300, 300])
async def test_a_step_of_the_time_makes_no_worker_look_dead(
    tmp_path: Path, clock: ManualClock, tasks: Tasks, step_s: int
) -> None:
    worker(tmp_path, 1, clock)
    worker(tmp_path, 2, clock)
    clock.step_wall(step_s)
    assert (await ready(tmp_path, clock, tasks))["status"] == "ready"


async def test_a_redis_that_drops_keys_is_told_of(tmp_path: Path, clock: ManualClock, tasks: Tasks) -> None:
    worker(tmp_path, 1, clock)
    worker(tmp_path, 2, clock)
    (told,) = (await ready(tmp_path, clock, tasks, evicting="allkeys-lru"))["degraded"]
    assert (told["what"], told["why"]) == ("redis", "drops keys when its memory is full (allkeys-lru)")
    assert "noeviction" in told["mend"]


async def test_a_worker_that_never_started_is_missed(
    tmp_path: Path, clock: ManualClock, tasks: Tasks
) -> None:
    worker(tmp_path, 1, clock)
    (missing,) = (await ready(tmp_path, clock, tasks))["missing"]
    assert (missing["what"], missing["why"]) == ("worker-2", "has not started")


async def test_a_worker_that_is_replaced_is_not_missed(
    tmp_path: Path, clock: ManualClock, tasks: Tasks
) -> None:
    worker(tmp_path, 1, clock)
    worker(tmp_path, 2, clock, DRAINING)
    worker(tmp_path, "2b", clock)
    assert (await ready(tmp_path, clock, tasks))["status"] == "ready"
    worker(tmp_path, 2, clock, RETIRED)
    assert (await ready(tmp_path, clock, tasks))["status"] == "ready"
    worker(tmp_path, "2b", clock, STARTING)
    (missing,) = (await ready(tmp_path, clock, tasks))["missing"]
    assert (missing["what"], missing["why"]) == ("worker-2b", "is starting")


async def test_a_gateway_that_was_asked_to_stop_is_not_ready(
    tmp_path: Path, clock: ManualClock, tasks: Tasks
) -> None:
    worker(tmp_path, 1, clock)
    worker(tmp_path, 2, clock)
    Slots.open(tmp_path / "supervisor.slots").set("state", DRAINING)
    (missing,) = (await ready(tmp_path, clock, tasks))["missing"]
    assert missing["what"] == "gateway"
    assert missing["why"].startswith("is stopping")


@pytest.mark.parametrize(
    ("case", "overloaded", "for_s", "is_ready"),
    [
        ("one of two, for as long as you like", [1], 1000, True),
        ("both, for a moment", [1, 2], 9, True),
        ("both, for long", [1, 2], 10, False),
    ],
)
async def test_overloaded_workers(
    tmp_path: Path,
    clock: ManualClock,
    tasks: Tasks,
    case: str,
    overloaded: list[int],
    for_s: int,
    is_ready: bool,
) -> None:
    clock.advance(5)
    since_us = clock.monotonic_us()
    clock.advance(for_s)
    for number in (1, 2):
        worker(tmp_path, number, clock)
    for number in overloaded:
        Slots.open(tmp_path / f"worker-{number}.slots").set("overloaded_since_us", since_us)
    document = await ready(tmp_path, clock, tasks)
    assert (document["status"] == "ready") is is_ready, case
    told = document["degraded"] if is_ready else document["missing"]
    assert [one["what"] for one in told] == ([f"worker-{n}" for n in overloaded] if is_ready else ["workers"])


async def test_without_postgres_known_customers_are_served(
    tmp_path: Path, clock: ManualClock, tasks: Tasks
) -> None:
    worker(tmp_path, 1, clock)
    worker(tmp_path, 2, clock)
    document = await ready(tmp_path, clock, tasks, postgres=postgres_gone)
    assert document["status"] == "ready"
    assert [one["what"] for one in document["degraded"]] == ["postgres"]


async def test_without_redis_it_is_not_ready(tmp_path: Path, clock: ManualClock, tasks: Tasks) -> None:
    worker(tmp_path, 1, clock)
    document = await ready(tmp_path, clock, tasks, redis=redis_gone, postgres=postgres_gone)
    assert [one["what"] for one in document["missing"]] == ["worker-2", "redis"]
    assert [one["what"] for one in document["degraded"]] == ["postgres"]


async def test_a_server_that_does_not_answer_is_given_a_second(
    tmp_path: Path, clock: ManualClock, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert health.CHECK_TIMEOUT_S == 1.0
    monkeypatch.setattr(health, "CHECK_TIMEOUT_S", 0.01)
    worker(tmp_path, 1, clock)
    worker(tmp_path, 2, clock)
    document = await ready(tmp_path, clock, tasks, redis=silent)
    assert [one["what"] for one in document["missing"]] == ["redis"]


async def test_processes_show_state_heartbeat_and_generation(tmp_path: Path, clock: ManualClock) -> None:
    worker(tmp_path, 1, clock, DRAINING)
    process = read_all(tmp_path)["worker-1"]
    assert (process.state, process.heartbeat_at_us, process.generation) == ("draining", clock.now_us(), 3)


async def test_limits_that_operators_loosened_are_told(
    tmp_path: Path, clock: ManualClock, tasks: Tasks
) -> None:
    for number in (1, 2):
        worker(tmp_path, number, clock)
    Slots.open(tmp_path / "worker-2.slots").set("enforcement_switches", 1, "off")
    document = await ready(tmp_path, clock, tasks)
    assert document["status"] == "ready"
    (told,) = document["degraded"]
    assert (told["what"], told["why"]) == ("enforcement", "is loosened by operators: 0 in shadow, 1 off")
