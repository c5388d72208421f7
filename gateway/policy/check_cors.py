"""CORS profiles that say what no browser would follow."""

from __future__ import annotations

from gateway.policy.cors_documents import EVERY, CorsDocument
from gateway.policy.documents import RouteDocument
from gateway.policy.merge import Entry, Merged
from gateway.policy.problems import Problems, meant, quoted
from gateway.policy.texts import with_head


def check_cors(merged: Merged, problems: Problems) -> None:
    """Note every problem of profiles on their own."""
    for entry in merged.cors.values():
        if entry.document is not None:
            _check_profile(entry, entry.document, problems)


def _check_profile(entry: Entry[CorsDocument], cors: CorsDocument, problems: Problems) -> None:
    for key, what in (("origins", cors.origins), ("headers", cors.headers), ("expose", cors.expose)):
        if EVERY in what and len(what) > 1:
            problems.add(
                entry.problem("has * for every one and others besides; remove one or the others", key)
            )
    if cors.credentials and EVERY in cors.origins:
        message = (
            "must not be * with `credentials: true`: any page could act as whoever is logged in; "
            "list the origins"
        )
        problems.add(entry.problem(message, "origins"))
    if cors.credentials and EVERY in cors.expose:
        message = "must not be * with `credentials: true`: browsers take it for a name; list the headers"
        problems.add(entry.problem(message, "expose"))


def check_cors_of_route(
    entry: Entry[RouteDocument], route: RouteDocument, merged: Merged, problems: Problems
) -> None:
    """Note a profile that does not exist, or leaves no method of the route."""
    if route.cors is None:
        return
    if not merged.may_have("cors", route.cors):
        message = f"there is no CORS profile {quoted(route.cors)}.{meant(route.cors, merged.cors)}"
        problems.add(entry.problem(message, "cors"))
    profile = merged.good_cors().get(route.cors)
    taken, allowed = with_head(route.match.methods or ()), profile.methods if profile is not None else None
    if taken and allowed and not set(taken) & set(allowed):
        message = f"{quoted(route.cors)} allows no method that this route takes; add one there"
        problems.add(entry.problem(message, "cors"))
