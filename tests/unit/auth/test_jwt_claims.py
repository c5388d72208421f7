"""Only a token that says all it must, each in its type, signed as its issuer signs, is believed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.auth.jwt_claims import Claims, Refused, looks_like_token, read_header, verify
from gateway.auth.jwt_keys import from_pem
from tests.unit.auth.issuing import (
    ACME,
    CLAIMS,
    EC_KEY,
    ED_KEY,
    NOW_S,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECRET,
    pem,
    token,
)

PUBLIC = from_pem(pem(RSA_KEY))


def checked(raw: bytes, issuer: Any = ACME, key: Any = PUBLIC) -> Claims:
    return verify(raw, read_header(raw), key, issuer, NOW_S)


def part(told: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=")


def forged(header: object, payload: object = CLAIMS, signature: bytes = b"x" * 256) -> bytes:
    return b".".join((part(header), part(payload), base64.urlsafe_b64encode(signature).rstrip(b"=")))


def signed_with_the_public_key() -> bytes:
    """The classic: HMAC with the RSA public key, which everybody has, as its secret."""
    message = part({"alg": "HS256", "typ": "JWT"}) + b"." + part(CLAIMS)
    mac = hmac.new(pem(RSA_KEY).encode(), message, hashlib.sha256).digest()
    return message + b"." + base64.urlsafe_b64encode(mac).rstrip(b"=")


def test_a_good_token_is_believed() -> None:
    assert checked(token()) == Claims(
        "crm-7", None, (NOW_S + 600 + 30) * 1_000_000, frozenset({"write", "read"})
    )


@pytest.mark.parametrize(
    ("case", "claims"),
    [
        ("several audiences", {"aud": ["x", "other"]}),
        ("a list of scopes", {"scope": ["read"]}),
        ("a fraction of a second", {"exp": NOW_S + 0.5}),
        ("expired within the leeway", {"exp": NOW_S - 29}),
        ("valid from now", {"nbf": NOW_S, "iat": NOW_S}),
        ("valid soon, within the leeway", {"nbf": NOW_S + 30}),
    ],
)
def test_what_is_believed_as_well(case: str, claims: dict[str, Any]) -> None:
    assert checked(token(**claims)).account == "crm-7", case


@pytest.mark.parametrize(
    ("case", "claims"),
    [
        ("no expiry", {"exp": ...}),
        ("an expiry that is a text", {"exp": str(NOW_S + 600)}),
        ("an expiry that is true", {"exp": True}),
        ("an expiry of null", {"exp": None}),
        ("an expiry without end", {"exp": 10**30}),
        ("a negative expiry", {"exp": -1}),
        ("expired", {"exp": NOW_S - 31}),
        ("not valid yet", {"nbf": NOW_S + 31}),
        ("a start that is a text", {"nbf": "0"}),
        ("issued in the future", {"iat": NOW_S + 31}),
        ("another issuer", {"iss": "https://acme.example"}),
        ("no issuer", {"iss": ...}),
        ("an issuer that is a list", {"iss": ["https://acme.example/"]}),
        ("another audience", {"aud": "elsewhere"}),
        ("no audience", {"aud": ...}),
        ("an audience of numbers", {"aud": [1]}),
        ("a required claim that is missing", {"scope": ...}),
        ("a required claim with another value", {"scope": "reads"}),
        ("no account", {"sub": ...}),
        ("an account that is a number", {"sub": 7}),
        ("an empty account", {"sub": ""}),
        ("an account that breaks a line", {"sub": "a\r\nb"}),
        ("an account that is far too long", {"sub": "a" * 201}),
    ],
)
def test_what_is_not_believed(case: str, claims: dict[str, Any]) -> None:
    # PyJWT itself refuses to sign some of these.
    told = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    message = part({"alg": "RS256"}) + b"." + part(told)
    signature = RSA_KEY.sign(message, padding.PKCS1v15(), hashes.SHA256())
    raw = message + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")
    with pytest.raises(Refused):
        checked(raw)


@pytest.mark.parametrize(
    ("case", "raw"),
    [
        ("no algorithm", forged({"alg": "none"}, signature=b"")),
        ("no algorithm, spelled oddly", forged({"alg": "nOnE"})),
        ("no signature", token().rpartition(b".")[0] + b"."),
        ("the public key as a secret", signed_with_the_public_key()),
        ("another key", token(OTHER_RSA_KEY)),
        ("another algorithm of the same key", token(RSA_KEY, "RS512")),
        ("another family", token(EC_KEY, "ES256")),
        ("a shared secret", token(SECRET, "HS256")),
        ("extensions that are critical", token(headers={"crit": ["exp"]})),
        ("a payload that is not encoded", token(headers={"b64": False})),
        ("another type", token(headers={"typ": "secevent+jwt"})),
        ("a key id that is a number", forged({"alg": "RS256", "kid": 1})),
        ("a key id of a megabyte", forged({"alg": "RS256", "kid": "k" * 1_000_000})),
        ("an algorithm that is a list", forged({"alg": ["RS256"]})),
        ("a name that is repeated", part({"alg": "RS256"})[:-1] + token()[10:]),
        ("padding", token().replace(b".", b"=.", 1)),
        ("four parts", token() + b".x"),
        ("spaces", b" " + token()),
        ("a changed payload", token().replace(b".", b".e", 1)),
        ("not JSON", b"eyJ.eyJ.eyJ"),
        ("nothing", b""),
    ],
)
def test_what_is_no_token_of_the_issuer(case: str, raw: bytes) -> None:
    with pytest.raises(Refused):
        checked(raw)


def test_where_a_header_says_that_its_key_is_means_nothing() -> None:
    headers = {
        "jku": "https://evil.example/",
        "x5u": "https://evil.example/",
        "jwk": {"kty": "oct", "k": "AA"},
    }
    with pytest.raises(Refused):
        checked(token(OTHER_RSA_KEY, headers=headers))
    assert checked(token(headers=headers)).account == "crm-7"


@pytest.mark.parametrize(("key", "algorithm"), [(EC_KEY, "ES256"), (ED_KEY, "EdDSA"), (RSA_KEY, "PS384")])
def test_other_algorithms(key: Any, algorithm: str) -> None:
    issuer = replace(ACME, algorithms=(algorithm,))
    assert checked(token(key, algorithm), issuer, from_pem(pem(key))).account == "crm-7"


@pytest.mark.parametrize(
    "tier", ["", "Team", "te am", "team\n", "team\r\nTollway-Account: acct_evil", "\ud800", "t" * 64]
)
def test_a_tier_is_sent_on_in_a_header_so_it_must_be_the_name_of_one(tier: str) -> None:
    with pytest.raises(Refused, match="tier"):
        checked(token(plan=tier), replace(ACME, tier_claim="plan"))


def test_account_and_tier_come_from_the_claims_that_the_issuer_names() -> None:
    issuer = replace(ACME, account_claim="https://acme.example/org", tier_claim="plan")
    named: dict[str, Any] = {"https://acme.example/org": "o1"}
    told = checked(token(**named, plan="team"), issuer)
    assert (told.account, told.tier) == ("o1", "team")
    assert checked(token(**named), issuer).tier is None
    with pytest.raises(Refused, match="tier"):
        checked(token(**named, plan=7), issuer)


def test_our_keys_do_not_look_like_tokens() -> None:
    assert looks_like_token(token())
    assert not looks_like_token(b"tw_live_0123456789abcdefghijklmnopqrst")


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(some.integers(0, 2000), some.binary(min_size=1, max_size=3))
def test_no_change_of_a_token_is_believed(at: int, changed: bytes) -> None:
    raw = token()
    at %= len(raw)
    other = raw[:at] + changed + raw[at + len(changed) :]
    try:
        told = checked(other)
    except Refused:
        return
    # The last character of a part has bits that mean nothing: then it is the same token in other words.
    assert told == checked(raw)
