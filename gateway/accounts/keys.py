"""The format of a key: `<prefix>_<live|test>_<24 random characters><6 characters of checksum>`.

The checksum is the CRC-32 of everything before it: garbage and typing errors are refused without a look-up.
It proves nothing else. 24 characters of base62 are 142 random bits.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from dataclasses import dataclass, field

from gateway.model.principal import Mode

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
RANDOM_CHARACTERS = 24
CHECKSUM_CHARACTERS = 6  # 62 ** 6 > 2 ** 32
PREFIX = re.compile(r"[a-z][a-z0-9]{1,15}")
LONGEST = 16 + len("_live_") + RANDOM_CHARACTERS + CHECKSUM_CHARACTERS

_SHAPE = re.compile(
    rb"(?P<visible>[a-z][a-z0-9]{1,15}_(?P<mode>live|test)_)[0-9A-Za-z]{%d}"
    % (RANDOM_CHARACTERS + CHECKSUM_CHARACTERS)
)


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A key's secret, kept nowhere, and what is stored and shown of it."""

    secret: str = field(repr=False)
    digest: bytes
    visible: str | None  # how the secret begins: prefix and mode; None: nobody knows
    last_four: str | None
    mode: Mode


def mint(prefix: str, mode: Mode) -> MintedKey:
    """A new key. `prefix` has been checked with the settings."""
    assert PREFIX.fullmatch(prefix), "settings refuse any other prefix"
    body = f"{prefix}_{mode.value}_{random_text(RANDOM_CHARACTERS)}"
    return describe(f"{body}{_checksum(body.encode()).decode()}")


def describe(secret: str) -> MintedKey:
    """What is stored and shown of a secret that was made elsewhere. ValueError if it is not well-formed."""
    encoded = secret.encode(errors="replace")
    shape = _SHAPE.fullmatch(encoded)
    if shape is None or not is_well_formed(encoded):
        raise ValueError("not a key")
    return MintedKey(
        secret, digest(encoded), shape["visible"].decode(), secret[-4:], Mode(shape["mode"].decode())
    )


def is_well_formed(secret: bytes) -> bool:
    """Whether this could be a key, of any prefix. Takes any bytes and never raises; about a microsecond."""
    if len(secret) > LONGEST or _SHAPE.fullmatch(secret) is None:
        return False
    return _checksum(secret[:-CHECKSUM_CHARACTERS]) == secret[-CHECKSUM_CHARACTERS:]


def digest(secret: bytes) -> bytes:
    """What stands for the secret in database and caches. The secret is random: no salt, no stretching."""
    return hashlib.sha256(secret).digest()


def random_text(length: int) -> str:
    """Characters of base62 that nobody can guess."""
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def _checksum(body: bytes) -> bytes:
    number = zlib.crc32(body)
    characters = []
    for _ in range(CHECKSUM_CHARACTERS):
        number, digit = divmod(number, 62)
        characters.append(ALPHABET[digit])
    return "".join(reversed(characters)).encode()
