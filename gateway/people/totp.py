"""Codes of authenticator apps (RFC 6238: SHA-1, 6 digits, 30 s), and those for when the app is lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from urllib.parse import quote, urlencode

STEP_S = 30
DIGITS = 6
DRIFT = 1
"""Codes of the step before and the step after work, too: clocks differ."""
SECRET_BYTES = 20
RECOVERY_CODES = 10

_CODE = re.compile(rf"[0-9]{{{DIGITS}}}")
_RECOVERY = re.compile(r"[a-z2-7]{16}")


def new_secret() -> bytes:
    """What app and gateway share."""
    return secrets.token_bytes(SECRET_BYTES)


def spelled(secret: bytes) -> str:
    """As one types it into an app."""
    return base64.b32encode(secret).decode().rstrip("=")


def uri(secret: bytes, email: str, issuer: str) -> str:
    """As apps read it from a QR code."""
    label = quote(f"{issuer}:{email}", safe=":@")
    return f"otpauth://totp/{label}?{urlencode({'secret': spelled(secret), 'issuer': issuer})}"


def code_at(secret: bytes, step: int) -> str:
    """The code of one step (RFC 4226, section 5.3)."""
    mac = hmac.digest(secret, step.to_bytes(8, "big"), "sha1")
    start = mac[-1] & 15
    number = int.from_bytes(mac[start : start + 4], "big") & 0x7FFF_FFFF
    return str(number % 10**DIGITS).zfill(DIGITS)


def step_of(secret: bytes, code: str, now_s: int, used_step: int) -> int | None:
    """The step whose code this is; None if it is none, or one no newer than what was used."""
    given = code.replace(" ", "")
    if not _CODE.fullmatch(given):
        return None
    now = now_s // STEP_S
    found = None
    for step in range(now - DRIFT, now + DRIFT + 1):
        if hmac.compare_digest(code_at(secret, step), given) and step > used_step:
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Codes that work once each, like `abcd-efgh-ijkl-mnop`: 80 random bits."""
    texts = [base64.b32encode(secrets.token_bytes(10)).decode().lower() for _ in range(RECOVERY_CODES)]
    return ["-".join(text[start : start + 4] for start in range(0, 16, 4)) for text in texts]


def recovery_digest(code: str) -> bytes | None:
    """What stands for a recovery code; None for what can not be one."""
    bare = code.replace("-", "").replace(" ", "").lower()
    return hashlib.sha256(bare.encode()).digest() if _RECOVERY.fullmatch(bare) else None
