"""From checked access documents to what the authenticator decides by."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

from gateway.model.access import KEYS_ONLY, Access, Issuer
from gateway.policy.access_documents import AccessDocument, IssuerDocument


def compile_issuer(name: str, document: IssuerDocument, counted: tuple[str, ...]) -> Issuer:
    """Whose tokens are believed, and what they must say. `counted`: claims that limits go by."""
    return Issuer(
        name=name,
        issuer=document.issuer,
        audience=tuple(document.audience),
        algorithms=tuple(document.algorithms),
        pems=MappingProxyType(dict(document.pems or {})),
        secret_env=document.secret_env,
        jwks_url=document.jwks_url,
        account_claim=document.account_claim,
        tier_claim=document.tier_claim,
        required=MappingProxyType({claim: tuple(values) for claim, values in document.required.items()}),
        leeway_s=document.leeway_s,
        counted=counted,
    )


def compile_access(
    document: AccessDocument | None, issuers: Mapping[str, Issuer], scopes: Collection[str]
) -> Access:
    """How callers may show who they are, and what they must have been given; the usual way is one object."""
    if document is None:
        return Access(scopes=frozenset(scopes)) if scopes else KEYS_ONLY
    query_key = document.query_key.encode() if document.query_key is not None else None
    believed = tuple(issuers[name] for name in document.issuers)
    access = Access(document.keys, believed, document.anonymous, query_key, frozenset(scopes))
    return KEYS_ONLY if access == KEYS_ONLY else access
