"""Changes of paths and headers that do not fit their route, or each other."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.model.changes import folded
from gateway.policy.change_documents import HeadersDocument, RewriteDocument
from gateway.policy.documents import RouteDocument
from gateway.policy.merge import Entry
from gateway.policy.problems import Problems, meant, quoted
from gateway.policy.texts import segments_of
from gateway.policy.upstream_documents import UpstreamDocument


def check_headers(
    entry: Entry[UpstreamDocument] | Entry[RouteDocument],
    document: UpstreamDocument | RouteDocument,
    problems: Problems,
) -> None:
    """Note every problem of the header rules of a route or an upstream."""
    for key, rules in (
        ("request_headers", document.request_headers),
        ("response_headers", document.response_headers),
    ):
        if rules is None:
            continue
        if not (rules.set or rules.add or rules.remove) and not entry.partial:
            problems.add(entry.problem("changes nothing; write set, add or remove, or leave it out", key))
        first: dict[bytes, str] = {}
        for verb, place, name in _names(rules):
            spelling = folded(name.encode())
            if spelling in first:
                message = f"{quoted(name)} stands under `{first[spelling]}` already; a header stands once"
                problems.add(entry.problem(message, key, verb, place))
            first.setdefault(spelling, verb)


def check_beside_cors(entry: Entry[RouteDocument], route: RouteDocument, problems: Problems) -> None:
    """Note rules for headers that the CORS profile of a route writes anyway."""
    if route.cors is None or route.response_headers is None:
        return
    for verb, place, name in _names(route.response_headers):
        if folded(name.encode()).startswith(b"access-control-"):
            message = f"is written by the CORS profile {quoted(route.cors)}; remove this, or `cors`"
            problems.add(entry.problem(message, "response_headers", verb, place))


def _names(rules: HeadersDocument) -> Iterator[tuple[str, str | int, str]]:
    """What is done, where that stands, and the header it is done to."""
    yield from (("set", name, name) for name in rules.set)
    yield from (("add", name, name) for name in rules.add)
    yield from (("remove", position, name) for position, name in enumerate(rules.remove))


def check_rewrite(entry: Entry[RouteDocument], route: RouteDocument, problems: Problems) -> None:
    """Note every problem of the path that the upstream of a route gets."""
    rewrite = route.rewrite
    if rewrite is None or entry.partial:
        return
    if rewrite.path is not None and (rewrite.strip_prefix or rewrite.add_prefix):
        message = "is the whole path already; remove strip_prefix and add_prefix, or this"
        problems.add(entry.problem(message, "rewrite", "path"))
    elif rewrite.path is not None:
        _check_path(entry, route.match.path, rewrite.path, problems)
    elif rewrite.strip_prefix is None and rewrite.add_prefix is None:
        message = "changes nothing; write path, strip_prefix or add_prefix, or leave it out"
        problems.add(entry.problem(message, "rewrite"))
    if rewrite.strip_prefix is not None:
        _check_prefix(entry, route.match.path, rewrite, problems)
    elif rewrite.forwarded_prefix:
        message = "has no prefix to tell of; add strip_prefix, or remove this"
        problems.add(entry.problem(message, "rewrite", "forwarded_prefix"))


def _check_path(entry: Entry[RouteDocument], pattern: str, path: str, problems: Problems) -> None:
    given, wanted = segments_of(pattern), segments_of(path)
    if wanted[-1:] == ["**"] and given[-1:] != ["**"]:
        message = f"ends in ** and match.path, {quoted(pattern)}, does not; make both end alike"
        problems.add(entry.problem(message, "rewrite", "path"))
    names = [segment for segment in given if segment.startswith("{")]
    for segment in wanted:
        if segment.startswith("{") and segment not in names:
            message = f"holds {quoted(segment)}, which no segment of match.path is called."
            problems.add(entry.problem(message + meant(segment, names), "rewrite", "path"))


def _check_prefix(
    entry: Entry[RouteDocument], pattern: str, rewrite: RewriteDocument, problems: Problems
) -> None:
    prefix = segments_of(rewrite.strip_prefix or "/")
    if segments_of(pattern)[: len(prefix)] != prefix:
        message = f"must be how match.path, {quoted(pattern)}, begins; or write the new path as `path`"
        problems.add(entry.problem(message, "rewrite", "strip_prefix"))
