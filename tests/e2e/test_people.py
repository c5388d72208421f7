"""Somebody new: from registering to a key that works, and to one that does not, with all it held open."""

from __future__ import annotations

import asyncio
import hashlib
import re
import stat
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import requests
from aiohttp import web

from tests.e2e.conftest import Gateway, eventually

EMAIL, PASSWORD = "ada@example.com", "three mild words"
LEGACY = "legacy-key-of-another-gateway"
REVOKED_S = 1.0
"""What is promised; the test allows for a machine that is busy with other tests."""
ALLOWED_S = 10 * REVOKED_S


@pytest.fixture
async def upstream() -> AsyncIterator[int]:
    """Calls, events without end and a WebSocket; its port."""

    async def call(request: web.Request) -> web.Response:
        return web.json_response({"account": request.headers["Tollway-Account"]})

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        with suppress(ConnectionError):
            while True:
                await response.write(b"data: tick\n\n")
                await asyncio.sleep(0.1)
        return response

    async def chat(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.add_routes([web.get("/call", call), web.get("/events", events), web.get("/chat", chat)])
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.port
    await runner.cleanup()


@pytest.fixture
async def gateway(upstream: int, tmp_path: Path) -> AsyncIterator[Gateway]:
    keys = tmp_path / "keys.csv"
    keys.write_text("sha256,account,tier\n")
    made = Gateway(tmp_path, upstream, settings={"TOLLWAY_KEYS_FILE": str(keys)})
    try:
        await asyncio.to_thread(made.start)
        yield made
        assert await asyncio.to_thread(made.stop) == 0, made.log
    finally:
        made.kill()


class Customer:
    """Somebody with a browser for the portal, and programs that call."""

    def __init__(self, gateway: Gateway, browser: aiohttp.ClientSession) -> None:
        self.gateway, self.browser = gateway, browser
        self.secrets: list[str] = [PASSWORD]
        self.access = ""

    async def ask(self, method: str, path: str, status: int = 200, body: object = None) -> Any:
        url = f"http://127.0.0.1:{self.gateway.portal}/api/v1{path}"
        headers = {"Authorization": f"Bearer {self.access}"} if self.access else {}
        async with self.browser.request(method, url, json=body, headers=headers) as answer:
            told = await answer.json(content_type=None)
            assert answer.status == status, told
        self.secrets += [told[one] for one in ("access_token", "refresh_token", "secret") if one in told]
        return told

    async def call(self, secret: str) -> int:
        async with self.browser.get(self.gateway.url("/call"), headers={"X-API-Key": secret}) as answer:
            return answer.status

    async def register(self) -> dict[str, Any]:
        """From nobody to the owner of an account, by way of the mail."""
        wanted = {"email": EMAIL, "password": PASSWORD, "account_name": "Engines"}
        await self.ask("POST", "/auth/register", 202, wanted)
        folder = self.gateway.data_dir / "mail"
        (mail,) = await asyncio.to_thread(
            eventually, lambda: list(folder.glob("*.eml")), "the mail is written"
        )
        assert stat.S_IMODE(mail.stat().st_mode) == 0o600
        found = re.search(r"token=(\S+)", mail.read_text())
        assert found
        self.secrets.append(found[1])
        await self.ask("POST", "/auth/login", 401, {"email": EMAIL, "password": PASSWORD})
        confirmation = {"token": found[1], "password": PASSWORD}
        await self.ask("POST", "/auth/verify", 201, confirmation)
        await self.ask("POST", "/auth/verify", 400, confirmation)
        self.access = (await self.ask("POST", "/auth/login", 200, {"email": EMAIL, "password": PASSWORD}))[
            "access_token"
        ]
        account: dict[str, Any] = (await self.ask("GET", "/auth/me"))["accounts"][0]
        return account

    async def used(self, times: int) -> None:
        """The calls that were served show in the usage."""

        async def seen() -> bool:
            rows = (await self.ask("GET", "/usage"))["data"]
            served = [row for row in rows if row["meter"] == "api_calls" and row["outcome"] == "served"]
            return sum(int(row["quantity"]) for row in served) == times

        await until(seen, "the calls are seen")


async def until(check: Callable[[], Awaitable[bool]], what: str, within_s: float = 20) -> float:
    """Ask until it is so; how long that took."""
    began = time.monotonic()
    while not await check():
        assert time.monotonic() - began < within_s, f"not in time: {what}"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def test_the_life_of_a_customer(gateway: Gateway) -> None:
    async with aiohttp.ClientSession() as browser:
        ada = Customer(gateway, browser)
        account = await ada.register()
        assert account["name"] == "Engines"
        # So that she may ask often.
        await asyncio.to_thread(gateway.admin, "PATCH", f"/accounts/{account['id']}", json={"tier": "paid"})

        key = await ada.ask("POST", "/auth/keys", 201, {"name": "laptop"})
        assert await ada.call(key["secret"]) == 200
        await ada.used(1)

        successor = await ada.ask("POST", f"/auth/keys/{key['id']}/rotate", 201, {"overlap_s": 2})
        assert [await ada.call(one["secret"]) for one in (successor, key)] == [200, 200]

        async def dead() -> bool:
            return await ada.call(key["secret"]) == 401

        await until(dead, "the old key dies after the overlap")
        assert await ada.call(successor["secret"]) == 200
        await refused_at_once_with_all_it_held_open(ada, successor)
        await ada.ask("POST", f"/auth/keys/{successor['id']}/rotate", 409, {})

        ada.access, refresh = "", ada.secrets[3]
        assert refresh.startswith("tollway_refresh_")
        old = ada.secrets[2]
        await ada.ask("POST", "/auth/logout", 200, {"refresh_token": refresh})
        ada.access = old
        await ada.ask("GET", "/auth/me", 401)
    await asyncio.to_thread(nothing_secret_was_said, gateway, ada.secrets)


async def refused_at_once_with_all_it_held_open(ada: Customer, key: dict[str, Any]) -> None:
    """A key is revoked while an event stream and a WebSocket go on with it."""
    headers = {"X-API-Key": key["secret"]}
    async with (
        ada.browser.get(ada.gateway.url("/events"), headers=headers) as events,
        ada.browser.ws_connect(ada.gateway.url("/chat"), headers=headers) as socket,
    ):
        assert await events.content.readline() == b"data: tick\n"
        await socket.send_str("hello")
        assert await socket.receive_str() == "HELLO"
        await ada.ask("POST", f"/auth/keys/{key['id']}/revoke")

        async def refused() -> bool:
            return await ada.call(key["secret"]) == 401

        await until(refused, "the key is refused", ALLOWED_S)
        closed = await asyncio.wait_for(socket.receive(), ALLOWED_S)
        assert (closed.type, closed.data) == (aiohttp.WSMsgType.CLOSE, 1008)
        with pytest.raises(aiohttp.ClientPayloadError):  # cut, not ended as if it were whole
            await asyncio.wait_for(events.content.read(), ALLOWED_S)


def nothing_secret_was_said(gateway: Gateway, secrets: list[str]) -> None:
    """Not in a log line, a metric or the list of processes."""
    metrics = requests.get(gateway.control_url("/metrics"), timeout=5).text
    processes = [
        (path / "cmdline").read_bytes().decode(errors="replace")
        for path in Path("/proc").glob("[0-9]*")
        if (path / "cmdline").exists()
    ]
    assert len(set(secrets)) == 6
    for secret in (*secrets, gateway.token):
        assert secret not in gateway.log
        assert secret not in metrics
        assert not any(secret in line for line in processes)
    for journal in (gateway.data_dir / "journals").rglob("*"):
        if journal.is_file():
            assert not any(secret.encode() in journal.read_bytes() for secret in secrets)
    counted = {line.rsplit(" ", 1)[0] for line in metrics.splitlines() if "people_attempts" in line}
    assert any('action="login"' in line and 'result="done"' in line for line in counted)
    assert not any("@" in line or "ada" in line for line in counted)


async def test_a_key_of_another_gateway_works_while_its_line_is_there(gateway: Gateway) -> None:
    file = Path(gateway.settings["TOLLWAY_KEYS_FILE"])
    head, line = "sha256,account,tier\n", f"{hashlib.sha256(LEGACY.encode()).hexdigest()},crm-7,paid\n"
    async with aiohttp.ClientSession() as browser:
        caller = Customer(gateway, browser)

        async def status(wanted: int) -> None:
            async def found() -> bool:
                return await caller.call(LEGACY) == wanted

            await until(found, f"calls get {wanted}")

        await status(401)
        file.write_text(head + line)
        await status(200)
        file.write_text(head + line + "nonsense\n")
        await asyncio.to_thread(eventually, lambda: f"{file}:3: " in gateway.log, "the problem is in the log")
        await status(200)
        file.write_text(head)
        await status(401)
    assert LEGACY not in gateway.log


async def test_who_guesses_keys_is_held_off_and_who_has_one_goes_on(gateway: Gateway) -> None:
    customer = await asyncio.to_thread(gateway.customer, "paid")
    async with aiohttp.ClientSession() as browser:
        caller = Customer(gateway, browser)
        for _ in range(20):  # known to both workers
            assert await caller.call(customer.secret) == 200
        statuses = [await caller.call(f"guess-{number:040}") for number in range(200)]
        assert set(statuses) == {401, 429}
        assert statuses.count(401) <= 2 * 60, "each worker looks up sixty"
        assert await caller.call(customer.secret) == 200
    assert await asyncio.to_thread(gateway.counted, "key_guesses_refused_total") >= 80
