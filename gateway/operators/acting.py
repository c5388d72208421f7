"""Who a transaction is made by, for the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from gateway.storage.postgres import Pool

ACTOR_SETTING = "tollway.actor"
"""Given as a setting of a whole session, it names who acts where no transaction says otherwise."""
SIGN = f"SELECT set_config('{ACTOR_SETTING}', $1, true), set_config('tollway.request_id', $2, true)"


@asynccontextmanager
async def acting(
    pool: Pool, actor: str, request_id: str = ""
) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
    """A transaction whose changes are noted as this actor's. Undone when the block raises."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute(SIGN, actor, request_id)
        yield connection
