"""The portal's secret, and what is made of it: the key that signs access tokens, and seals.

What we must be able to read again (secrets of authenticator apps, mails that wait) is sealed: where the
secret is in a setting, a copy of the tables tells nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.storage.postgres import Pool

_NONCE_BYTES = 12
# Two gateways may start at once: the first to write decides, the other reads what is there.
_MAKE = "INSERT INTO portal_secret (secret) VALUES ($1) ON CONFLICT DO NOTHING"
_READ = "SELECT secret FROM portal_secret"


class Vault:
    """Derives keys from the secret: the configured one, or one that all gateways on the database share."""

    def __init__(self, pool: Pool, configured: str | None = None) -> None:
        self._pool = pool
        self._secret = hashlib.sha256(configured.encode()).digest() if configured else None

    async def signing_key(self) -> bytes:
        """What access tokens are signed with. Raises what `LOST` lists until the database was there once."""
        return await self._derive(b"access tokens")

    async def successor_key(self) -> bytes:
        """What makes the next refresh token out of one."""
        return await self._derive(b"refresh tokens")

    async def credential(self, person: str) -> bytes:
        """A secret that stands for a person, whatever token they show."""
        return hmac.digest(await self._derive(b"people"), person.encode(), "sha256")

    async def seal(self, plain: bytes, bound_to: str) -> bytes:
        """What only `open` reads, and only beside the same name."""
        nonce = os.urandom(_NONCE_BYTES)
        cipher = AESGCM(await self._derive(b"seals"))
        return nonce + cipher.encrypt(nonce, plain, bound_to.encode())

    async def open(self, sealed: bytes, bound_to: str) -> bytes | None:
        """What was sealed; None when it was sealed with another secret, or beside another name."""
        cipher = AESGCM(await self._derive(b"seals"))
        try:
            return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound_to.encode())
        except (InvalidTag, ValueError):
            return None

    async def _derive(self, use: bytes) -> bytes:
        if self._secret is None:
            self._secret = await self._shared()
        return hmac.digest(self._secret, use, "sha256")

    async def _shared(self) -> bytes:
        found = await self._pool.fetchval(_READ)
        if found is None:
            await self._pool.execute(_MAKE, os.urandom(32))
            found = await self._pool.fetchval(_READ)
        return bytes(found)
