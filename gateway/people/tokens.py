"""Opaque tokens: random texts with a prefix that says what they are for. Only their digests are kept."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import Enum

RANDOM_BYTES = 24


class Purpose(Enum):
    """What a token is for, and how it begins."""

    REFRESH = "tollway_refresh_"
    VERIFY = "tollway_verify_"
    RESET = "tollway_reset_"
    INVITE = "tollway_invite_"


_RANDOM = re.compile(rf"[0-9a-f]{{{2 * RANDOM_BYTES}}}")


def mint(purpose: Purpose) -> tuple[str, bytes]:
    """A new token and its digest."""
    text = purpose.value + secrets.token_hex(RANDOM_BYTES)
    return text, _digest(text)


def successor(purpose: Purpose, text: str, key: bytes) -> tuple[str, bytes]:
    """The token that follows one, and its digest: always the same, and nobody else can tell which."""
    following = purpose.value + hmac.digest(key, text.encode(), "sha256")[:RANDOM_BYTES].hex()
    return following, _digest(following)


def digest_of(purpose: Purpose, text: str) -> bytes | None:
    """What stands for a token; None for what can not be one, which needs no look-up."""
    if not text.startswith(purpose.value) or not _RANDOM.fullmatch(text.removeprefix(purpose.value)):
        return None
    return _digest(text)


def new_id(kind: str) -> str:
    """A public id like `person_...`."""
    return f"{kind}_{secrets.token_hex(12)}"


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
