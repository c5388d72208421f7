"""What is no access token of ours, however much it looks like one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import jwt
import pytest

from gateway.people import access_tokens
from gateway.people.access_tokens import LIFE_S, SKEW_S, Claims

KEY = bytes(range(32))
NOW_S = 1_800_000_000
CLAIMS = {
    "iss": "tollway",
    "aud": "tollway-portal",
    "sub": "person_1",
    "sid": "session_1",
    "iat": NOW_S,
    "exp": NOW_S + LIFE_S,
}
HEADER = {"alg": "HS256", "typ": "at+jwt"}


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def signed(claims: object = CLAIMS, header: object = HEADER, key: bytes = KEY, digest: str = "sha256") -> str:
    """A token with any header and any claims, signed right."""
    body = f"{part(header)}.{part(claims)}"
    mac = hmac.digest(key, body.encode(), digest)
    return f"{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def without(name: str) -> dict[str, Any]:
    return {one: value for one, value in CLAIMS.items() if one != name}


def test_what_was_issued_is_read() -> None:
    text = access_tokens.issue(KEY, "person_1", "session_1", NOW_S)
    assert access_tokens.read(KEY, text, NOW_S) == Claims("person_1", "session_1", NOW_S + LIFE_S)
    assert access_tokens.read(KEY, signed(), NOW_S) == Claims("person_1", "session_1", NOW_S + LIFE_S)


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("nothing", ""),
        ("two parts", "a.b"),
        ("garbage", "a.b.c"),
        ("a line break", signed() + "\n"),
        ("padding", signed() + "="),
        ("another key", signed(key=bytes(32))),
        ("no signature", signed().rpartition(".")[0] + "."),
        ("alg none", f"{part({'alg': 'none', 'typ': 'at+jwt'})}.{part(CLAIMS)}."),
        ("alg nOnE with a signature", signed(header={**HEADER, "alg": "nOnE"})),
        ("another algorithm of the family", signed(header={**HEADER, "alg": "HS512"}, digest="sha512")),
        ("an algorithm of another family", signed(header={**HEADER, "alg": "RS256"})),
        ("a key of its own", signed(header={**HEADER, "jwk": {"kty": "oct", "k": "AA"}})),
        ("a key elsewhere", signed(header={**HEADER, "jku": "https://evil.example/keys"})),
        ("a key id", signed(header={**HEADER, "kid": "../../dev/null"})),
        ("a critical extension", signed(header={**HEADER, "crit": ["exp"]})),
        ("an unencoded payload", signed(header={**HEADER, "b64": False, "crit": ["b64"]})),
        ("another type", signed(header={**HEADER, "typ": "JWT"})),
        ("a header that is a list", signed(header=[])),
        ("claims that are a list", signed([])),
        *((f"no {name}", signed(without(name))) for name in CLAIMS),
        *((f"{name} as a list", signed({**CLAIMS, name: [CLAIMS[name]]})) for name in CLAIMS),
        *((f"{name} as null", signed({**CLAIMS, name: None})) for name in CLAIMS),
        ("exp as a text", signed({**CLAIMS, "exp": str(NOW_S + LIFE_S)})),
        ("exp as a fraction", signed({**CLAIMS, "exp": NOW_S + 0.5})),
        ("exp as true", signed({**CLAIMS, "exp": True})),
        ("a life that is too long", signed({**CLAIMS, "exp": NOW_S + LIFE_S + 1})),
        ("from the future", signed({**CLAIMS, "iat": NOW_S + SKEW_S + 1})),
        ("for somebody else", signed({**CLAIMS, "aud": "another"})),
        ("by somebody else", signed({**CLAIMS, "iss": "another"})),
        ("very long", signed({**CLAIMS, "more": "x" * 4000})),
    ],
)
def test_what_is_no_token_of_ours(case: str, text: str) -> None:
    assert access_tokens.read(KEY, text, NOW_S) is None, case


def test_it_works_until_its_end_and_a_little() -> None:
    text = access_tokens.issue(KEY, "person_1", "session_1", NOW_S)
    assert access_tokens.read(KEY, text, NOW_S + LIFE_S + SKEW_S - 1) is not None
    assert access_tokens.read(KEY, text, NOW_S + LIFE_S + SKEW_S) is None
    assert access_tokens.read(KEY, text, NOW_S - SKEW_S) is not None
    assert access_tokens.read(KEY, text, NOW_S - SKEW_S - 1) is None


def test_a_signature_over_the_digest_of_the_key_is_none() -> None:
    assert access_tokens.read(KEY, signed(key=hashlib.sha256(KEY).digest()), NOW_S) is None


def test_customers_keys_do_not_look_like_one() -> None:
    assert not access_tokens.looks_like_one("tw_live_000000000000000000000000000000")
    assert access_tokens.looks_like_one(jwt.encode({}, "k" * 32, "HS256"))
