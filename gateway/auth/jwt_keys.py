"""Keys that verify tokens: such as fit an algorithm the issuer uses, found by key id in a fixed map."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

MIN_RSA_BITS = 2048
MIN_SECRET_BYTES = 32
MAX_KEYS = 100
CURVES = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
_READERS: dict[str, Any] = {"RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm}

Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | bytes


class BadKey(Exception):
    """A key that can not be used. The message says why, never what it is."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Keys by id. Without an id in a token, the only key there is."""

    by_id: Mapping[str, Key]

    def find(self, key_id: str | None) -> Key | None:
        """The key, or None."""
        if key_id is not None:
            return self.by_id.get(key_id)
        return next(iter(self.by_id.values())) if len(self.by_id) == 1 else None


def fits(key: Key, algorithm: str) -> bool:
    """Whether a key is of the kind that an algorithm takes: the kinds are never mixed."""
    if isinstance(key, bytes):
        return algorithm.startswith("HS")
    if isinstance(key, rsa.RSAPublicKey):
        return algorithm[:2] in ("RS", "PS")
    if isinstance(key, ec.EllipticCurvePublicKey):
        return CURVES.get(algorithm) == key.curve.name
    return algorithm == "EdDSA"


def from_pem(text: str) -> Key:
    """A public key. Raises BadKey."""
    if "PRIVATE KEY" in text:
        raise BadKey("is a private key; give the public one")
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("is not a public key in PEM") from None
    return _checked(key)


def from_secret(secret: str) -> bytes:
    """A shared secret. Raises BadKey."""
    encoded = secret.encode()
    if len(encoded) < MIN_SECRET_BYTES:
        raise BadKey(f"is shorter than {MIN_SECRET_BYTES} bytes")
    return encoded


def from_jwks(document: bytes) -> Keys:
    """The keys of a set (RFC 7517) that can verify; others are left out. Raises BadKey for what is no set."""
    try:
        told = json.loads(document)
        listed = told["keys"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise BadKey("is not a JSON Web Key Set") from None
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise BadKey(f"does not list at most {MAX_KEYS} keys")
    keys: dict[str, Key] = {}
    for one in listed:
        key = _from_jwk(one) if isinstance(one, dict) else None
        key_id = one.get("kid", "") if isinstance(one, dict) else None
        if key is not None and isinstance(key_id, str):
            keys.setdefault(key_id, key)
    if not keys:
        raise BadKey("has no key that can verify")
    return Keys(keys)


def _from_jwk(one: dict[str, object]) -> Key | None:
    """None for a key that is for something else, that is secret, or that we can not use."""
    reader = _READERS.get(str(one.get("kty")))
    operations = one.get("key_ops", ["verify"])
    for_us = one.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations
    if reader is None or not for_us or "d" in one:
        return None
    try:
        return _checked(reader.from_jwk(json.dumps(one)))
    except (jwt.PyJWTError, ValueError, TypeError, BadKey, UnsupportedAlgorithm):
        return None


def _checked(key: object) -> Key:
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise BadKey(f"is shorter than {MIN_RSA_BITS} bits")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return key
    raise BadKey("is of a kind that is not used here")
