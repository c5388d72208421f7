"""Keys that could be taken for another kind, or that are too weak, are none."""

from __future__ import annotations

from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from gateway.auth.jwt_keys import BadKey, fits, from_jwks, from_pem, from_secret
from tests.unit.auth.issuing import (
    EC_KEY,
    ED_KEY,
    OTHER_RSA_KEY,
    RSA_KEY,
    SECRET,
    SMALL_RSA_KEY,
    jwk,
    key_set,
    pem,
)

PRIVATE = RSA_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("a private key", PRIVATE),
        ("a short one", pem(SMALL_RSA_KEY)),
        ("no key", "nonsense"),
        ("nothing", ""),
    ],
)
def test_a_pem_that_is_not_used(case: str, text: str) -> None:
    with pytest.raises(BadKey) as raised:
        from_pem(text)
    assert text not in str(raised.value) or not text, case


def test_a_secret_must_be_long() -> None:
    assert from_secret(SECRET) == SECRET.encode()
    with pytest.raises(BadKey, match="32 bytes"):
        from_secret("short")


@pytest.mark.parametrize(
    ("key", "algorithms"),
    [
        (from_pem(pem(RSA_KEY)), {"RS256", "RS384", "RS512", "PS256"}),
        (from_pem(pem(EC_KEY)), {"ES256"}),
        (from_pem(pem(ED_KEY)), {"EdDSA"}),
        (SECRET.encode(), {"HS256", "HS512"}),
    ],
)
def test_a_key_fits_algorithms_of_its_kind_alone(key: Any, algorithms: set[str]) -> None:
    every = {"RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA", "HS256", "HS512", "none"}
    assert {algorithm for algorithm in every if fits(key, algorithm)} == algorithms


def test_a_set_is_a_map_by_key_id() -> None:
    keys = from_jwks(key_set(jwk(), jwk(OTHER_RSA_KEY, kid="k2")))
    assert keys.find("k1") is not None
    assert keys.find("k2") is not None
    assert keys.find("../../dev/null") is None
    assert keys.find(None) is None, "which of the two?"
    assert from_jwks(key_set(jwk())).find(None) is not None


@pytest.mark.parametrize(
    ("case", "key"),
    [
        ("for encryption", jwk(use="enc")),
        ("for signing only", jwk(key_ops=["sign"])),
        ("operations that are no list", jwk(key_ops="verify")),
        ("a secret", {"kty": "oct", "k": "c2VjcmV0", "kid": "k1"}),
        ("a private key", {**jwk(), "d": "AQAB"}),
        ("a short one", jwk(SMALL_RSA_KEY)),
        ("of another kind", jwk(kty="X")),
        ("broken", jwk(n="!")),
        ("a key id that is a number", jwk(kid=1)),
        ("no object", "key"),
    ],
)
def test_a_key_of_a_set_that_is_left_out(case: str, key: object) -> None:
    with pytest.raises(BadKey, match="no key"):
        from_jwks(key_set(key))
    assert from_jwks(key_set(key, jwk(OTHER_RSA_KEY, kid="good"))).find("good") is not None, case


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000])
def test_what_is_no_set(document: bytes) -> None:
    with pytest.raises(BadKey):
        from_jwks(document)


def test_a_set_is_bounded() -> None:
    with pytest.raises(BadKey, match="at most 100"):
        from_jwks(key_set(*[jwk()] * 101))
