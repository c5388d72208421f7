"""Issuers of tokens, with keys of their own."""

from __future__ import annotations

import json
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import RSAAlgorithm

from gateway.model.access import Issuer

NOW_S = 1_795_262_400
RSA_KEY = rsa.generate_private_key(65537, 2048)
OTHER_RSA_KEY = rsa.generate_private_key(65537, 2048)
SMALL_RSA_KEY = rsa.generate_private_key(65537, 1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()
SECRET = "a secret of at least thirty-two bytes"

ACME = Issuer("acme", "https://acme.example/", ("api", "other"), ("RS256",), required={"scope": ("read",)})
CLAIMS: dict[str, Any] = {
    "iss": "https://acme.example/",
    "aud": "api",
    "sub": "crm-7",
    "exp": NOW_S + 600,
    "scope": "write read",
}


def pem(key: Any) -> str:
    """The public half."""
    return str(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def token(key: Any = RSA_KEY, algorithm: str = "RS256", headers: Any = None, **claims: Any) -> bytes:
    """A token; a claim given as `...` is left out."""
    told = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not ...}
    return jwt.encode(told, key, algorithm, headers=headers).encode()


def jwk(key: Any = RSA_KEY, **more: Any) -> dict[str, Any]:
    """A key of a set."""
    return {**json.loads(RSAAlgorithm.to_jwk(key.public_key())), "kid": "k1", **more}


def key_set(*keys: Any) -> bytes:
    """A set."""
    return json.dumps({"keys": list(keys)}).encode()
