"""Somebody at the portal: registers, reads mails, logs in, and asks."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient

from gateway.controlplane.identity import Identity
from gateway.people.records import Mail
from gateway.storage.postgres import Pool

AUTH = "/api/v1/auth"
PASSWORD = "three mild words"


@dataclass
class Post:
    """The mails that were sent, read as their recipients do."""

    pool: Pool
    identity: Identity
    delivered: list[Mail] = field(default_factory=list)

    async def collect(self) -> list[Mail]:
        """All mails so far."""

        async def deliver(_: str, mail: Mail) -> None:
            self.delivered.append(mail)

        while await self.identity.outbox.send_due(self.pool, deliver):
            pass
        return self.delivered

    async def token(self, email: str) -> str:
        """The token of the newest mail to an address."""
        text = next(one.text for one in reversed(await self.collect()) if one.recipient == email)
        found = re.search(r"\?token=(\S+)", text)
        assert found, text
        return found[1]


@dataclass
class Visitor:
    """A person with a browser."""

    portal: TestClient[web.Request, web.Application]
    post: Post
    email: str = "ada@example.com"
    password: str = PASSWORD
    session: dict[str, Any] = field(default_factory=dict)

    async def ask(self, method: str, path: str, body: object = None, *, account: str = "") -> Any:
        """An answer, asked for with the access token if there is one."""
        headers = {"Tollway-Account": account} if account else {}
        if self.session:
            headers["Authorization"] = f"Bearer {self.session['access_token']}"
        sent: dict[str, Any] = {} if body is None else {"json": body}
        return await self.portal.request(method, AUTH + path, headers=headers, **sent)

    async def ok(
        self, method: str, path: str, body: object = None, *, status: int = 200, account: str = ""
    ) -> dict[str, Any]:
        """The document of an answer that is as expected."""
        response = await self.ask(method, path, body, account=account)
        assert response.status == status, await response.text()
        assert response.headers["Cache-Control"] == "no-store"
        document: dict[str, Any] = await response.json()
        return document

    async def refused(
        self, method: str, path: str, body: object = None, *, account: str = ""
    ) -> tuple[int, str, dict[str, Any]]:
        """Status, code and problem of an answer that refuses."""
        response = await self.ask(method, path, body, account=account)
        document: dict[str, Any] = json.loads(await response.read())
        assert response.headers["Content-Type"] == "application/problem+json", document
        if response.status == 401:
            assert response.headers["WWW-Authenticate"].startswith("Bearer ")
        return response.status, document["code"], document

    async def register(self, **more: str) -> None:
        body = {"email": self.email, "password": self.password, **more}
        assert await self.ok("POST", "/register", body, status=202) == {"status": "accepted"}

    async def verify(self) -> dict[str, Any]:
        token = await self.post.token(self.email)
        return await self.ok("POST", "/verify", {"token": token, "password": self.password}, status=201)

    async def log_in(self, **more: str) -> dict[str, Any]:
        body = {"email": self.email, "password": self.password, **more}
        self.session = await self.ok("POST", "/login", body)
        return self.session

    async def arrive(self) -> str:
        """Register, confirm, log in; the id of the account."""
        await self.register()
        await self.verify()
        await self.log_in()
        account: str = (await self.ok("GET", "/me"))["accounts"][0]["id"]
        return account

    def elsewhere(self, email: str | None = None) -> Visitor:
        """Somebody else, or the same person in another browser."""
        return Visitor(self.portal, self.post, email or self.email)
