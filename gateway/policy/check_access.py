"""Issuers that could never be believed, and routes that nobody could call."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.policy.access_documents import IssuerDocument
from gateway.policy.documents import RouteDocument
from gateway.policy.extends import FullTier
from gateway.policy.merge import Entry, Merged
from gateway.policy.problems import Problems, meant, quoted

_SOURCES = ("jwks_url", "pems", "secret_env")


def check_issuers(merged: Merged, problems: Problems) -> None:
    """Note every problem of issuers on their own."""
    for entry in merged.issuers.values():
        if entry.document is not None and not entry.partial:
            _check_issuer(entry, entry.document, problems)


def _check_issuer(entry: Entry[IssuerDocument], issuer: IssuerDocument, problems: Problems) -> None:
    sources = [name for name in _SOURCES if getattr(issuer, name) is not None]
    if len(sources) != 1:
        message = f"needs exactly one of {', '.join(_SOURCES)}, and has {' and '.join(sources) or 'none'}"
        problems.add(entry.problem(message))
    families = {algorithm[:2] for algorithm in issuer.algorithms}
    if len(families) > 1:
        message = "mixes families of algorithms, which lets one key be taken for another kind; keep one"
        problems.add(entry.problem(message, "algorithms"))
    elif sources and (families == {"HS"}) is not (sources == ["secret_env"]):
        message = "HS algorithms go with `secret_env`, all others with `jwks_url` or `pems`"
        problems.add(entry.problem(message, "algorithms"))


def check_access_of_route(
    entry: Entry[RouteDocument],
    route: RouteDocument,
    merged: Merged,
    tiers: Mapping[str, FullTier],
    problems: Problems,
) -> None:
    """Note what a route's access names and is not there, or could never work."""
    access = route.access
    if access is None:
        return
    if not access.keys and not access.issuers and access.anonymous is None:
        problems.add(entry.problem("lets nobody call; accept keys, an issuer or anonymous callers", "access"))
    if route.scopes and access.anonymous is not None:
        message = "has `scopes`, and anonymous callers have none, so none could pass; remove one of the two"
        problems.add(entry.problem(message, "access", "anonymous"))
    if access.query_key is not None and not access.keys:
        problems.add(entry.problem("is for API keys, which `keys: false` shuts out", "access", "query_key"))
    for position, name in enumerate(access.issuers):
        if not merged.may_have("issuers", name):
            message = f"there is no issuer {quoted(name)}.{meant(name, merged.issuers)}"
            problems.add(entry.problem(message, "access", "issuers", position))
    issued = [one.issuer for name in access.issuers if (one := merged.good_issuers().get(name)) is not None]
    if len(set(issued)) < len(issued):
        problems.add(entry.problem("has two with the same `issuer`; keep one", "access", "issuers"))
    _check_anonymous(entry, access.anonymous, merged, tiers, problems)


def _check_anonymous(
    entry: Entry[RouteDocument],
    name: str | None,
    merged: Merged,
    tiers: Mapping[str, FullTier],
    problems: Problems,
) -> None:
    if name is None:
        return
    if not merged.may_have("tiers", name):
        message = f"there is no tier {quoted(name)}.{meant(name, merged.tiers)}"
        problems.add(entry.problem(message, "access", "anonymous"))
        return
    tier = tiers.get(name)
    if tier is None:
        return
    shared = [key for key, limit in tier.limits.items() if "ip" not in _parts(limit.scope)]
    if shared or tier.quotas:
        what = f"the limit {quoted(shared[0])}" if shared else "a quota"
        message = (
            f"{quoted(name)} has {what} that all anonymous callers would share, so that one could use it up "
            "for all; give limits `scope: ip` and the tier no quotas"
        )
        problems.add(entry.problem(message, "access", "anonymous"))


def _parts(scope: str | list[str]) -> list[str]:
    return [scope] if isinstance(scope, str) else scope
