"""Upstreams that are written well and yet could not be meant that way."""

from __future__ import annotations

from collections.abc import Callable

from gateway.policy.check_changes import check_headers
from gateway.policy.merge import Entry, Merged
from gateway.policy.problems import Problems
from gateway.policy.target_texts import TargetParts, target_parts
from gateway.policy.texts import duration_ms
from gateway.policy.upstream_documents import UpstreamDocument

Objection = Callable[[TargetParts], str | None]
"""What is wrong with where an upstream listens; None: nothing."""


def no_objection(_: TargetParts) -> None:
    """Without a gateway every well-formed target is as good as another."""


def check_upstreams(merged: Merged, problems: Problems, objection: Objection = no_objection) -> None:
    """Note every problem of upstreams."""
    for entry in merged.upstreams.values():
        if entry.document is not None:
            _check_targets(entry, entry.document, problems, objection)
            check_headers(entry, entry.document, problems)
            if not entry.partial:
                _check_tls(entry, entry.document, problems)
                _check_ejection(entry, entry.document, problems)
                _check_pool(entry, entry.document, problems)


def _check_targets(
    entry: Entry[UpstreamDocument], upstream: UpstreamDocument, problems: Problems, objection: Objection
) -> None:
    seen: set[object] = set()
    for position, target in enumerate(upstream.targets):
        parts = target_parts(target.url)
        if parts in seen:
            message = "is listed twice; remove one, or give the first a `weight`"
            problems.add(entry.problem(message, "targets", position))
        seen.add(parts)
        objected = objection(parts)
        if objected is not None:
            problems.add(entry.problem(objected, "targets", position))


def _check_ejection(entry: Entry[UpstreamDocument], upstream: UpstreamDocument, problems: Problems) -> None:
    ejection = upstream.ejection
    if duration_ms(ejection.max_time) < duration_ms(ejection.time):
        message = f"is shorter than `time`, {ejection.time}; raise it or lower that"
        problems.add(entry.problem(message, "ejection", "max_time"))


def _check_pool(entry: Entry[UpstreamDocument], upstream: UpstreamDocument, problems: Problems) -> None:
    kept, most = upstream.keepalive.max_idle, upstream.max_connections
    if kept is not None and kept > most:
        message = f"is more than `max_connections`, {most}, so it never matters; lower it or raise that"
        problems.add(entry.problem(message, "keepalive", "max_idle"))
    if not upstream.max_waiting and "queue" in upstream.timeouts.model_fields_set:
        message = "is never used while `max_waiting` is 0; remove one of the two"
        problems.add(entry.problem(message, "timeouts", "queue"))


def _check_tls(entry: Entry[UpstreamDocument], upstream: UpstreamDocument, problems: Problems) -> None:
    tls = upstream.tls
    if not tls.model_fields_set:
        return
    if not any(target_parts(target.url).tls for target in upstream.targets):
        problems.add(entry.problem("no target starts with https://, so this is never used; remove it", "tls"))
    if (tls.client_cert is None) != (tls.client_key is None):
        missing = "client_key" if tls.client_key is None else "client_cert"
        problems.add(entry.problem(f"a certificate needs its key; add `{missing}`", "tls"))
    if tls.ca is not None and not tls.verify:
        message = "is never used while `verify` is false; remove one of the two"
        problems.add(entry.problem(message, "tls", "ca"))
