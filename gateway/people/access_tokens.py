"""Access tokens: short-lived JWTs (RFC 9068) that name a person and a session.

PyJWT compares the signature, with the one algorithm we use. Everything else is checked here: it lets a token
pass whose `exp` is missing or a text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import jwt
from jwt.types import Options

LIFE_S = 600
SKEW_S = 10
ALGORITHM = "HS256"
TYPE = "at+jwt"
ISSUER = "tollway"
AUDIENCE = "tollway-portal"
LONGEST = 2048

_SHAPE = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_HEADER = {"alg": ALGORITHM, "typ": TYPE}
_UNCHECKED: Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "verify_aud": False,
    "verify_iss": False,
    "verify_sub": False,
    "verify_jti": False,
}
"""Done here, by our clock."""


@dataclass(frozen=True, slots=True)
class Claims:
    """Whose token it is, of which session, and until when it works. Public ids."""

    person: str
    session: str
    expires_at_s: int


def issue(key: bytes, person: str, session: str, now_s: int) -> str:
    """A token that works for `LIFE_S`."""
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": person,
        "sid": session,
        "iat": now_s,
        "exp": now_s + LIFE_S,
    }
    return jwt.encode(claims, key, ALGORITHM, headers={"typ": TYPE})


def looks_like_one(text: str) -> bool:
    """Whether it could be a JWT, and not a customer's key."""
    return len(text) <= LONGEST and _SHAPE.fullmatch(text) is not None


def read(key: bytes, text: str, now_s: int) -> Claims | None:
    """What a token of ours says, while it works; None for anything else."""
    claims = _signed(key, text) if looks_like_one(text) else {}
    if claims.get("iss") != ISSUER or claims.get("aud") != AUDIENCE:
        return None
    person, session, issued, expires = (claims.get(name) for name in ("sub", "sid", "iat", "exp"))
    if not (type(person) is str and type(session) is str and type(issued) is int and type(expires) is int):
        return None
    if not (issued - SKEW_S <= now_s < expires + SKEW_S and expires - issued <= LIFE_S):
        return None
    return Claims(person, session, expires)


def _signed(key: bytes, text: str) -> dict[str, object]:
    """What is signed with our key; nothing if it is not."""
    try:
        if jwt.get_unverified_header(text) != _HEADER:
            return {}
        claims: dict[str, object] = jwt.decode(text, key, [ALGORITHM], options=_UNCHECKED)
    except jwt.InvalidTokenError:
        return {}
    return claims
