"""What a token must say. PyJWT verifies the signature; everything else is checked here, type by type."""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import jwt

from gateway.accounts.checks import TIER
from gateway.auth.jwt_keys import Key, fits
from gateway.model.access import Issuer

MAX_TOKEN_BYTES = 8192
MAX_KEY_ID = 256
MAX_REFERENCE = 200
_SHAPE = re.compile(rb"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_TYPES = frozenset(("jwt", "at+jwt"))


class Refused(Exception):
    """The token is not believed. The message is for our log and never repeats the token."""


@dataclass(frozen=True, slots=True)
class Header:
    """What of a token's header is used. Where it says that keys are to be found is never looked at."""

    algorithm: str
    key_id: str | None


@dataclass(frozen=True, slots=True)
class Claims:
    """What of a token's claims is used."""

    account: str
    tier: str | None
    expires_at_us: int
    scopes: frozenset[str] = frozenset()
    counted: tuple[tuple[str, str], ...] = ()  # claims that limits go by, with digests of their values


def looks_like_token(credential: bytes) -> bool:
    """Whether this may be a JWT. None of our keys does."""
    return credential.startswith(b"eyJ") and credential.count(b".") == 2


def read_header(token: bytes) -> Header:
    """The header, unverified. Raises Refused."""
    shape = _SHAPE.fullmatch(token) if len(token) <= MAX_TOKEN_BYTES else None
    if shape is None:
        raise Refused("not three parts of base64url, or too long")
    header = _object(shape[1])
    algorithm, key_id = header.get("alg"), header.get("kid")
    kind = header.get("typ", "JWT")
    if "crit" in header or "b64" in header:
        raise Refused("its header asks for extensions")
    if not isinstance(algorithm, str) or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise Refused("its header names no algorithm, or another type")
    if key_id is not None and (not isinstance(key_id, str) or len(key_id) > MAX_KEY_ID):
        raise Refused("its key id is no short text")
    return Header(algorithm, key_id)


def read_issuer(token: bytes) -> str | None:
    """Whose token it says it is, unverified; None if it says nothing. Raises Refused."""
    shape = _SHAPE.fullmatch(token)
    issuer = _object(shape[2]).get("iss") if shape is not None else None
    return issuer if isinstance(issuer, str) else None


def verify(token: bytes, header: Header, key: Key, issuer: Issuer, now_s: float) -> Claims:
    """The claims of a token that is signed with this key and says all it must. Raises Refused."""
    if header.algorithm not in issuer.algorithms or not fits(key, header.algorithm):
        raise Refused("its algorithm is not one of the issuer's, or not one for this key")
    try:
        told = jwt.decode_complete(
            token,
            key,
            algorithms=[header.algorithm],
            options={
                "verify_signature": True,
                "verify_exp": False,
                "verify_nbf": False,
                "verify_iat": False,
                "verify_aud": False,
                "verify_iss": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )["payload"]
    except jwt.PyJWTError as error:
        raise Refused(f"not verified: {type(error).__name__}") from None
    return _checked(told, issuer, now_s)


def _checked(told: dict[str, Any], issuer: Issuer, now_s: float) -> Claims:
    expires_s = _instant(told, "exp", required=True)
    starts_s = max(_instant(told, "nbf"), _instant(told, "iat"))
    if expires_s <= now_s - issuer.leeway_s or starts_s > now_s + issuer.leeway_s:
        raise Refused("expired, or not valid yet")
    if told.get("iss") != issuer.issuer:
        raise Refused("of another issuer")
    audience = _texts(told.get("aud"))
    if not set(audience) & set(issuer.audience):
        raise Refused("for another audience")
    for name, values in issuer.required.items():
        if not set(_texts(told.get(name))) & set(values):
            raise Refused(f"lacks a claim that is required: {name}")
    account = told.get(issuer.account_claim)
    if not isinstance(account, str) or not 0 < len(account) <= MAX_REFERENCE or not account.isprintable():
        raise Refused(f"names no account: {issuer.account_claim}")
    tier = told.get(issuer.tier_claim) if issuer.tier_claim is not None else None
    if tier is not None and not (isinstance(tier, str) and TIER.fullmatch(tier)):
        raise Refused(f"its tier is not the name of one: {issuer.tier_claim}")
    # `scp` is what some identity providers call it.
    given = _texts(told.get("scope", told.get("scp")))
    scopes = frozenset(one for one in given if one and " " not in one)
    expires_at_us = round((expires_s + issuer.leeway_s) * 1_000_000)
    return Claims(account, tier, expires_at_us, scopes, _counted(told, issuer.counted))


def _counted(told: dict[str, Any], names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Claims as limits tell callers apart: by digests, whatever type and size values have. Null is none."""
    there = [(name, told[name]) for name in names if told.get(name) is not None]
    return tuple([(name, _digest(name, value)) for name, value in there])


def _digest(name: str, value: object) -> str:
    text = json.dumps([name, value], sort_keys=True)
    return blake2b(text.encode(), digest_size=12, person=b"tollway.claim").hexdigest()


def _instant(told: dict[str, Any], name: str, *, required: bool = False) -> float:
    """A NumericDate (RFC 7519, section 2): a number, not a text and not true."""
    if name not in told and not required:
        return 0.0
    value = told.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refused(f"{name} is missing or no number")
    if not 0 <= value < 2**40:
        raise Refused(f"{name} is out of range")
    return float(value)


def _texts(value: object) -> list[str]:
    """A text, or several as a list or (as `scope` has them, RFC 8693) in one text with spaces."""
    if isinstance(value, str):
        return [value, *value.split(" ")]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    return []


def _object(part: bytes) -> dict[str, Any]:
    try:
        raw = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
        told = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except (binascii.Error, ValueError, RecursionError):
        raise Refused("its parts are not JSON in base64url") from None
    if not isinstance(told, dict):
        raise Refused("its parts are no objects")
    return told


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        raise ValueError("a name is repeated")
    return told
