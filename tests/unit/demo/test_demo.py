"""The demo upstream answers like a small real API; the demo keys are the same at every start."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient
from pytest_aiohttp import AiohttpClient

from gateway.demo import DemoKey, DemoKeys, demo_app, render_demo, serve_demo_upstream
from gateway.errors import StartupError


@pytest.fixture
async def client(aiohttp_client: AiohttpClient) -> TestClient[web.Request, web.Application]:
    return await aiohttp_client(demo_app())


async def test_a_project_lives_from_creation_to_deletion(
    client: TestClient[web.Request, web.Application],
) -> None:
    created = await client.post("/api/v1/projects", json={"name": "alpha", "private": True})
    assert created.status == 201
    project = await created.json()
    at = f"/api/v1/projects/{project['id']}"
    assert created.headers["Location"] == at
    assert await (await client.get(at)).json() == project
    assert project in (await (await client.get("/api/v1/projects")).json())["projects"]
    assert project in (await (await client.get("/api/v1/search?q=ALP")).json())["projects"]
    assert (await client.get(f"{at}/private")).status == 200
    assert (await client.delete(at)).status == 204
    assert (await client.get(at)).status == 404


@pytest.mark.parametrize(
    ("case", "body", "status"),
    [
        ("no body at all is a project too", b"", 201),
        ("not JSON", b"{", 400),
        ("not an object", b"[1]", 400),
        ("a name that is no text", b'{"name": 1}', 422),
        ("private is yes or no", b'{"private": "x"}', 422),
    ],
)
async def test_what_one_can_post(
    case: str, body: bytes, status: int, client: TestClient[web.Request, web.Application]
) -> None:
    assert (await client.post("/api/v1/projects", data=body)).status == status


async def test_there_is_an_end_to_projects(
    client: TestClient[web.Request, web.Application], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.demo.PROJECTS_MAX", 1)
    assert (await client.post("/api/v1/projects", json={})).status == 409


async def test_the_echo_shows_what_arrived(client: TestClient[web.Request, web.Application]) -> None:
    told = await (
        await client.put("/api/v1/echo?a=1", headers={"Tollway-Account": "acct_x"}, data=b"x")
    ).json()
    assert told["method"] == "PUT"
    assert told["path"] == "/api/v1/echo?a=1"
    assert ["Tollway-Account", "acct_x"] in told["headers"]


async def test_the_stream_sends_events(
    client: TestClient[web.Request, web.Application], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.demo.STREAM_EVERY_S", 0)
    answer = await client.get("/api/v1/stream?events=2")
    assert answer.content_type == "text/event-stream"
    assert await answer.text() == "id: 1\ndata: event 1 of 2\n\nid: 2\ndata: event 2 of 2\n\n"


async def test_slow_answers_and_exports(client: TestClient[web.Request, web.Application]) -> None:
    assert (await client.get("/api/v1/slow?seconds=0")).status == 200
    assert (await client.get("/api/v1/slow?seconds=x")).status == 400
    assert (await client.get("/api/v1/stream?events=x")).status == 400
    assert (await (await client.get("/api/v1/exports")).text()).startswith("id,name\n")
    assert (await client.get("/healthz")).status == 200


async def test_a_taken_port_is_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            StartupError, match=rf"can not listen on 127.0.0.1:{port}: Address already in use"
        ):
            await serve_demo_upstream("127.0.0.1", port, asyncio.Event())


async def test_the_demo_upstream_ends_when_told() -> None:
    stop = asyncio.Event()
    stop.set()
    await serve_demo_upstream("127.0.0.1", 0, stop)


def test_the_banner_has_a_line_to_paste_for_each_key() -> None:
    free = DemoKey("acct_free", "community", "tw_test_free")
    paid = DemoKey("acct_paid", "team", "tw_test_paid")
    text = render_demo(
        DemoKeys(free, paid), gateway_url="http://127.0.0.1:8080", control_url="http://127.0.0.1:8090"
    )
    for key in (free, paid):
        assert f'curl -i http://127.0.0.1:8080/api/v1/projects -H "X-API-Key: {key.secret}"' in text
        assert key.secret not in repr(key)
    assert "usage --account acct_free" in text
    assert "curl http://127.0.0.1:8090/metrics" in text
    assert '-H "Authorization: Bearer $TOLLWAY_ADMIN_TOKEN"' in text


def test_the_banner_reads_the_admin_token_from_where_it_is_kept() -> None:
    key = DemoKey("acct_x", "team", "tw_test_x")
    text = render_demo(
        DemoKeys(key, key),
        gateway_url="http://g",
        control_url="http://c",
        token_file=Path("my data/admin-token"),
    )
    assert """-H "Authorization: Bearer $(cat 'my data/admin-token')\"""" in text
