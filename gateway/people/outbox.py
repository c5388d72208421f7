"""Mails that wait in the database until they are sent: put there in the transaction that is their reason."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

import asyncpg

from gateway.people.records import Mail
from gateway.people.tokens import new_id
from gateway.people.vault import Vault
from gateway.storage.postgres import LOST, Connection, Pool
from gateway.storage.queries import load_queries

log = logging.getLogger("tollway.mail")
QUERIES = load_queries(__file__, "outbox")

LOOK_EVERY_S = 5.0
"""For mails that other gateways put there, or that are tried again; our own are sent at once."""
BATCH = 50
FIRST_RETRY_S = 10
LONGEST_RETRY_S = 3600

Deliver = Callable[[str, Mail], Awaitable[None]]
"""Sends one mail under an id that stays the same when it is tried again. Raises Undelivered."""


class Undelivered(Exception):
    """The mail could not be sent. `refused`: and never will be. The message says nothing of its content."""

    def __init__(self, message: str, *, refused: bool = False) -> None:
        self.refused = refused
        super().__init__(message)


class Outbox:
    """Takes mails, and sends them one after another from one gateway at a time."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._news = asyncio.Event()

    async def put(self, connection: Connection, mail: Mail) -> None:
        """The mail goes out once the transaction of the connection is done."""
        public_id = new_id("mail")
        plain = json.dumps({"subject": mail.subject, "text": mail.text}).encode()
        sealed = await self._vault.seal(plain, public_id)
        await connection.execute(QUERIES.put, public_id, mail.recipient, sealed)

    async def put_nothing(self, connection: Connection, recipient: str) -> None:
        """As much work as `put`, for nobody: how long an answer takes shall tell nothing."""
        public_id = new_id("mail")
        await self._vault.seal(bytes(512), public_id)
        await connection.execute(QUERIES.put, public_id, recipient, None)

    def wake(self) -> None:
        """There is something to send now."""
        self._news.set()

    async def send_forever(self, pool: Pool, deliver: Deliver) -> None:
        """Send what is due, again and again. A lost database is tried again."""
        while True:
            self._news.clear()
            try:
                await self.send_due(pool, deliver)
            except LOST as lost:
                log.warning("mails wait for the database", extra={"error": type(lost).__name__})
            try:
                async with asyncio.timeout(LOOK_EVERY_S):
                    await self._news.wait()
            except TimeoutError:
                continue

    async def send_due(self, pool: Pool, deliver: Deliver) -> int:
        """Send what is due now, unless another gateway is at it; how many were tried."""
        async with pool.acquire() as connection:
            if not await connection.fetchval(QUERIES.lock):
                return 0
            rows = await connection.fetch(QUERIES.due, BATCH)
            for row in rows:  # the pool gives up the lock when it takes the connection back
                await self._send(connection, row, deliver)
        return len(rows)

    async def _send(self, connection: Connection, row: asyncpg.Record, deliver: Deliver) -> None:
        plain = await self._vault.open(bytes(row["sealed"]), row["public_id"])
        if plain is None:
            log.error("mail given up", extra={"error": "it was sealed with another portal secret"})
            await connection.execute(QUERIES.give_up, row["id"])
            return
        mail = Mail(row["recipient"], **json.loads(plain))
        try:
            await deliver(row["public_id"], mail)
        except Undelivered as failed:
            if failed.refused or row["old"]:
                said = {"error": str(failed), "attempt": row["attempts"] + 1}
                log.error("mail given up", extra=said)  # noqa: TRY400  the message says all there is
                await connection.execute(QUERIES.give_up, row["id"])
                return
            delay_s = retry_delay_s(row["attempts"])
            said = {"error": str(failed), "attempt": row["attempts"] + 1, "delay_s": delay_s}
            log.warning("mail not sent, tried again", extra=said)
            await connection.execute(QUERIES.put_off, row["id"], delay_s)
        else:
            await connection.execute(QUERIES.sent, row["id"])


def retry_delay_s(attempts: int) -> int:
    """How long to wait after so many attempts and one more: twice as long each time, at most an hour."""
    return min(FIRST_RETRY_S << min(attempts, 16), LONGEST_RETRY_S)
