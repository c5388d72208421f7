"""Every error has the one shape and says nothing it should not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from pydantic import Field

from gateway.controlplane.bodies import MAX_BODY_BYTES, Sent, answer, read_body, read_query
from gateway.controlplane.problems import Problem, add_headers, answer_problems
from gateway.errors import Conflict, Invalid, NotFound

Client = TestClient[web.Request, web.Application]


class Wish(Sent):
    """What the test's application takes."""

    name: str
    count: int = Field(default=1, ge=0, strict=True)
    inner: Inner | None = None


class Inner(Sent):
    """Something nested."""

    word: str


Wish.model_rebuild()


@pytest.fixture
def failure() -> list[Exception]:
    """What `/fail` raises."""
    return []


@pytest.fixture
async def client(failure: list[Exception], aiohttp_client: Any) -> Client:
    async def fail(_: web.Request) -> web.Response:
        raise failure[0]

    async def take(request: web.Request) -> web.Response:
        return answer((await read_body(request, Wish)).model_dump())

    async def ask(request: web.Request) -> web.Response:
        return answer(read_query(request, Wish).model_dump())

    app = web.Application(middlewares=[answer_problems], client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(add_headers)
    app.add_routes([web.get("/fail", fail), web.post("/take", take), web.get("/ask", ask)])
    made: Client = await aiohttp_client(TestServer(app))
    return made


async def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """The document, after checking what all of them have in common."""
    assert response.status == status
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in response.headers["Content-Security-Policy"]
    assert "Server" not in response.headers
    document: dict[str, Any] = json.loads(await response.read())
    assert document["status"] == status
    assert document["code"] == code
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    assert document["request_id"] == response.headers["Tollway-Request-Id"]
    return document


@pytest.mark.parametrize(
    ("case", "error", "status", "code"),
    [
        ("a problem of the handler's", Problem(409, "conflict", "No."), 409, "conflict"),
        ("an unknown id", NotFound("There is no such account."), 404, "not_found"),
        ("what does not go together", Conflict("It has one already."), 409, "conflict"),
        ("a field", Invalid("name", "must not be empty"), 422, "invalid"),
        ("the database refuses connections", ConnectionRefusedError(), 503, "database_unavailable"),
        ("the database is slow", TimeoutError(), 503, "database_unavailable"),
        ("the database stops", asyncpg.AdminShutdownError("bye"), 503, "database_unavailable"),
        ("the pool is closed", asyncpg.InterfaceError("pool is closed"), 503, "database_unavailable"),
        ("a defect", LookupError("canary"), 500, "internal_error"),
        ("a wrong query", asyncpg.UndefinedTableError("canary"), 500, "internal_error"),
        ("what aiohttp refuses", web.HTTPBadRequest(text="canary"), 400, "bad_request"),
    ],
)
async def test_every_failure_is_a_problem_document(
    client: Client, failure: list[Exception], case: str, error: Exception, status: int, code: str
) -> None:
    failure.append(error)
    document = await problem(await client.get("/fail"), status, code)
    assert "canary" not in json.dumps(document), case


async def test_a_defect_is_logged_with_the_id_the_caller_got(
    client: Client, failure: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    failure.append(LookupError("for us"))
    document = await problem(await client.get("/fail"), 500, "internal_error")
    (record,) = [one for one in caplog.records if one.name == "tollway.control"]
    assert record.__dict__["request_id"] == document["request_id"]
    assert record.exc_info is not None


async def test_an_address_nobody_knows(client: Client) -> None:
    document = await problem(await client.get("/canary?key=canary"), 404, "not_found")
    assert "canary" not in json.dumps(document)


async def test_a_wrong_method_names_the_right_ones(client: Client) -> None:
    response = await client.delete("/take")
    await problem(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "POST"


async def test_a_body_beyond_a_megabyte(client: Client) -> None:
    body = json.dumps({"name": "x" * MAX_BODY_BYTES})
    response = await client.post("/take", data=body, headers={"Content-Type": "application/json"})
    await problem(response, 413, "body_too_large")


@pytest.mark.parametrize(
    ("case", "body", "content_type", "status", "code"),
    [
        ("a form", "name=x", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        ("text", '{"name": "x"}', "text/plain", 415, "unsupported_media_type"),
        ("half an object", '{"name":', "application/json", 400, "bad_request"),
        ("a name twice", '{"name": "a", "name": "b"}', "application/json", 400, "bad_request"),
        ("bytes that are not text", b"\xff\xfe\xff", "application/json", 400, "bad_request"),
        ("JSON in UTF-16", '{"name": "a"}'.encode("utf-16"), "application/json", 400, "bad_request"),
        ("very deep", "[" * 500_000, "application/json", 400, "bad_request"),
        ("a list", "[]", "application/json", 422, "invalid"),
        ("null", "null", "application/json", 422, "invalid"),
        ("nothing", "", "application/json", 422, "invalid"),
    ],
)
async def test_a_body_that_is_no_use(
    client: Client, case: str, body: str | bytes, content_type: str, status: int, code: str
) -> None:
    response = await client.post("/take", data=body, headers={"Content-Type": content_type})
    await problem(response, status, code)


async def test_all_fields_that_can_not_be_used_are_named_at_once(client: Client) -> None:
    wish = {"count": "canary", "inner": {"word": 1}, "canary\r\n": True}
    document = await problem(await client.post("/take", json=wish), 422, "invalid")
    assert {error["field"] for error in document["errors"]} >= {"name", "count", "inner.word"}
    assert all(error["message"] for error in document["errors"])


async def test_a_query_is_checked_like_a_body(client: Client) -> None:
    document = await problem(await client.get("/ask?name=a&name=b&unknown=1"), 422, "invalid")
    assert document["errors"] == [{"field": "name", "message": "is given more than once"}]
    document = await problem(await client.get("/ask?name=a&unknown=1"), 422, "invalid")
    assert [error["field"] for error in document["errors"]] == ["unknown"]


async def test_a_body_that_does_not_arrive_is_given_up(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.controlplane.bodies.BODY_TIMEOUT_S", 0.05)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(
        b"POST /take HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await writer.wait_closed()
