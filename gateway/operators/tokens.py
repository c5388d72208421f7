"""Tokens for the admin API."""

from __future__ import annotations

import hashlib
import re
import secrets
import string
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

import asyncpg

from gateway.errors import Invalid, NotFound
from gateway.operators import scopes as known_scopes
from gateway.storage.postgres import Connection, Pool
from gateway.storage.queries import load_queries

QUERIES = load_queries(__file__, "tokens")
NAME_MAX = 200

_ALPHABET = string.digits + string.ascii_letters
_PREFIX = "tollway_admin_"
_SHAPE = re.compile(rf"{_PREFIX}[0-9A-Za-z]{{40}}")
_PUBLIC_ID = re.compile(r"tok_[0-9A-Za-z]{16,40}")


@dataclass(frozen=True, slots=True)
class AdminToken:
    """What is known of a token: everything but its secret."""

    id: int
    public_id: str
    name: str
    last_four: str
    scopes: tuple[str, ...]
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


class AdminTokens:
    """What may be done with tokens, over a pool or within the transaction of one connection.

    Methods raise NotFound for an id that is not there and Invalid for a value that can not be stored.
    """

    def __init__(self, database: Pool | Connection) -> None:
        self._database = database

    async def create(
        self, name: str, scopes: Collection[str], expires_in_s: int | None = None
    ) -> tuple[AdminToken, str]:
        """A new token and its secret: the only time it is seen."""
        _check_name(name)
        wanted = sorted(set(scopes))
        if not wanted:
            raise Invalid("scopes", "must name at least one scope")
        if wrong := known_scopes.unknown(wanted):
            known = ", ".join(sorted(known_scopes.SCOPES))
            raise Invalid("scopes", f"has {len(wrong)} that are none; there are: {known}")
        secret = _PREFIX + _random_text(40)
        row = await self._database.fetchrow(
            QUERIES.create, f"tok_{_random_text(20)}", name, digest(secret), secret[-4:], wanted, expires_in_s
        )
        return _token(row), secret

    async def get(self, public_id: str) -> AdminToken:
        """The token as it is now."""
        return _token(await self._database.fetchrow(QUERIES.get, _expect_id(public_id)))

    async def list(
        self, *, after: str | None = None, limit: int = 100, state: str | None = None
    ) -> list[AdminToken]:
        """A page in the order of creation; `state`: only those that are `revoked`, `expired`, or `works`."""
        try:
            start = 0 if after is None else (await self.get(after)).id
        except NotFound:
            raise Invalid("after", "must be the id of a token") from None
        return [_token(row) for row in await self._database.fetch(QUERIES.list, start, limit, state)]

    async def revoke(self, public_id: str) -> AdminToken:
        """End a token for good. Again changes nothing."""
        await self._database.execute(QUERIES.revoke, _expect_id(public_id))
        return await self.get(public_id)

    async def find(self, secret: str) -> AdminToken | None:
        """The token that works with this secret. Only its digest is compared, by an index."""
        if not _SHAPE.fullmatch(secret):
            return None
        row = await self._database.fetchrow(QUERIES.find, digest(secret))
        if row is None:
            return None
        await self._database.execute(QUERIES.note_use, row["id"])
        return _token(row)


def digest(secret: str) -> bytes:
    """What stands for a secret. It is random: no salt, no stretching."""
    return hashlib.sha256(secret.encode()).digest()


def _random_text(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > NAME_MAX or not name.isprintable():
        raise Invalid("name", f"must have 1 to {NAME_MAX} characters, all printable")


def _expect_id(public_id: str) -> str:
    """What can not be an id is not there; Postgres would choke on some of it."""
    if not _PUBLIC_ID.fullmatch(public_id):
        raise NotFound("There is no such token.")
    return public_id


def _token(row: asyncpg.Record | None) -> AdminToken:
    if row is None:
        raise NotFound("There is no such token.")
    return AdminToken(**{**row, "scopes": tuple(row["scopes"])})
