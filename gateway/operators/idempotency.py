"""Requests that may be repeated: the second time nothing is done and the first answer is given again.

The answer may hold a secret that is shown only once, so it is kept sealed. The key of the seal is made of the
operator's credential and the `Idempotency-Key`: only who repeats the request can open it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import Conflict
from gateway.storage.postgres import LOST, Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "idempotency")
KEPT_S = 86_400
"""An answer is given again for a day, as with the payment providers."""
FORGET_EVERY_S = 3600.0
_NONCE_BYTES = 12


class KeyReused(Conflict):
    """The key came with another request before."""


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that may be repeated. `credential` is the operator's secret, `request` all that was sent."""

    credential: bytes
    key: bytes
    request: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(b"id\0" + self._both).digest()

    @property
    def request_digest(self) -> bytes:
        return hashlib.sha256(self.request).digest()

    @property
    def _both(self) -> bytes:
        return hashlib.sha256(self.credential).digest() + self.key

    def seal(self, answer: bytes) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher().encrypt(nonce, answer, self.id)

    def open(self, sealed: bytes) -> bytes:
        return self._cipher().decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self.id)

    def _cipher(self) -> AESGCM:
        return AESGCM(hashlib.sha256(b"seal\0" + self._both).digest())


async def claim(connection: Connection, repeatable: Repeatable) -> bytes | None:
    """None when the request is new: then `keep` its answer in this transaction. Else the answer it had.

    Waits while another transaction answers the same request. Raises KeyReused.
    """
    if await connection.fetchval(QUERIES.claim, repeatable.id, repeatable.request_digest):
        return None
    answer = await find(connection, repeatable)
    assert answer is not None, "who claimed it has committed"
    return answer


async def find(database: Connection | Pool, repeatable: Repeatable) -> bytes | None:
    """The answer that the request had before, if any. Raises KeyReused."""
    row = await database.fetchrow(QUERIES.get, repeatable.id)
    if row is None:
        return None
    if bytes(row["request"]) != repeatable.request_digest:
        raise KeyReused("This Idempotency-Key came with another request before. Take a new key.")
    return repeatable.open(bytes(row["sealed"]))


async def keep(connection: Connection, repeatable: Repeatable, answer: bytes) -> None:
    """The answer to a request that was claimed, to be given again."""
    await connection.execute(QUERIES.keep, repeatable.id, repeatable.seal(answer))


async def forget_forever(pool: Pool) -> None:
    """Delete answers older than `KEPT_S`, now and every hour. A lost database is tried again then."""
    while True:
        with suppress(*LOST):
            await pool.execute(QUERIES.forget, KEPT_S)
        await asyncio.sleep(FORGET_EVERY_S)
