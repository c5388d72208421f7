"""What the documents say together: names that lead nowhere, tiers and routes that could never work.

Changes nothing. Entries that failed on their own are left out, and nothing is said that only follows from
them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from gateway.policy.check_access import check_issuers
from gateway.policy.check_cors import check_cors
from gateway.policy.check_quotas import check_quotas
from gateway.policy.check_routes import check_routes
from gateway.policy.check_upstreams import Objection, check_upstreams, no_objection
from gateway.policy.documents import MOST_OF_A_TIER, TierDocument
from gateway.policy.extends import FullTier, full_tiers, quota_name
from gateway.policy.merge import Entry, Merged
from gateway.policy.meters import BUILT_IN_METERS, cost_problem
from gateway.policy.problems import Problem, Problems, listed, meant, quoted
from gateway.policy.quota_documents import QuotaDocument
from gateway.policy.rollout_documents import RolloutDocument
from gateway.policy.scope_texts import claims_in
from gateway.policy.texts import duration_ms

LONGEST_WAIT_MS = 5 * 60_000
"""For a slot: callers and proxies in between seldom have more patience."""


def check(merged: Merged, problems: Problems, objection: Objection = no_objection) -> None:
    """Note every problem between the entries of a folder."""
    _check_complete(merged, problems)
    check_upstreams(merged, problems, objection)
    _check_meters(merged, problems)
    check_cors(merged, problems)
    check_issuers(merged, problems)
    full = full_tiers(merged.good_tiers())
    for name, entry in merged.tiers.items():
        if entry.document is not None:
            _check_extends(name, entry, entry.document, merged, problems)
            _check_names(entry, entry.document, full.get(name), problems)
            _check_counters(entry, entry.document, full, problems)
            _check_rollout(entry, entry.document, problems)
            _check_claims(entry, entry.document, merged, problems)
            check_quotas(entry, entry.document, full.get(name), problems)
            _check_size(entry, full.get(name), problems)
            _check_quota_meters(entry, entry.document, merged, problems)
            _check_limit_meters(entry, entry.document, merged, problems)
            _check_limit_routes(entry, entry.document, merged, problems)
            _check_waits(entry, entry.document, problems)
    check_routes(merged, full, problems)


def _check_complete(merged: Merged, problems: Problems) -> None:
    for section in ("upstreams", "tiers", "routes"):
        if merged.whole and not getattr(merged, section):
            problems.add(Problem(merged.folder, 0, section, "no file has any; at least one is needed"))


def _check_meters(merged: Merged, problems: Problems) -> None:
    for name, entry in merged.meters.items():
        if name in BUILT_IN_METERS:
            problems.add(
                entry.problem("is built in and needs no declaration; remove it or choose another name")
            )


def _check_extends(
    name: str, entry: Entry[TierDocument], tier: TierDocument, merged: Merged, problems: Problems
) -> None:
    if tier.extends is None:
        return
    if not merged.may_have("tiers", tier.extends):
        others = [other for other in merged.tiers if other != name]
        message = f"there is no tier {quoted(tier.extends)}.{meant(tier.extends, others)}"
        problems.add(entry.problem(message, "extends"))
    elif _in_circle(name, merged):
        message = (
            f"{quoted(name)} extends itself, by way of {quoted(tier.extends)}; one of them must not extend"
        )
        problems.add(entry.problem(message, "extends"))


def _in_circle(name: str, merged: Merged) -> bool:
    tiers = merged.good_tiers()
    seen: set[str] = set()
    step = tiers[name].extends
    while step is not None and step in tiers and step not in seen:
        if step == name:
            return True
        seen.add(step)
        step = tiers[step].extends
    return False


def _check_names(
    entry: Entry[TierDocument], tier: TierDocument, full: FullTier | None, problems: Problems
) -> None:
    """Callers learn limits, quotas and concurrency by name: one name means one thing within a tier."""
    for position in _repeated([limit.name for limit in tier.limits]):
        message = "is the name of an earlier limit of this tier; rename one"
        problems.add(entry.problem(message, "limits", position, "name"))
    for position in _repeated([limit.name for limit in tier.concurrency]):
        message = "is the name of an earlier concurrency limit of this tier; rename one"
        problems.add(entry.problem(message, "concurrency", position, "name"))
    for position in _repeated([quota_name(quota) for quota in tier.quotas]):
        message = "is called like an earlier quota of this tier; give it a `name` of its own"
        problems.add(entry.problem(message, "quotas", position))
    for position in _repeated(tier.features):
        problems.add(entry.problem("is listed twice; remove one", "features", position))
    both = sorted(set(full.limits) & set(full.quotas)) if full else []
    if both:
        message = f"a limit and a quota are both called {listed(both)}; rename one"
        problems.add(entry.problem(message))
    both = sorted(set(full.concurrency) & {*full.limits, *full.quotas}) if full else []
    if both:
        message = f"a concurrency limit and another limit or quota are both called {listed(both)}; rename one"
        problems.add(entry.problem(message))


def _check_counters(
    entry: Entry[TierDocument], tier: TierDocument, full: Mapping[str, FullTier], problems: Problems
) -> None:
    """One meter and period is one counter: under two quotas every call would be counted twice in it."""
    parent = full.get(tier.extends or "")
    inherited = dict(parent.quotas) if parent else {}
    replaced = {
        (name, *_counter(inherited.pop(name))) for name in map(quota_name, tier.quotas) if name in inherited
    }
    taken = {_counter(quota): name for name, quota in inherited.items()}
    for position, quota in enumerate(tier.quotas):
        name = quota_name(quota)
        other = taken.setdefault(_counter(quota), name)
        # A repeated name, and what a parent has twice, are problems of their own.
        if other != name and (name, *_counter(quota)) not in replaced:
            who = "an inherited quota, " if other in inherited else "the quota "
            mend = "to replace it, give this one its name" if other in inherited else "remove one"
            message = f"limits {quoted(quota.meter)} per {quota.per} like {who}{quoted(other)}; {mend}"
            problems.add(entry.problem(message, "quotas", position))


def _counter(quota: QuotaDocument) -> tuple[str, str]:
    return quota.meter, quota.per


def _check_rollout(entry: Entry[TierDocument], tier: TierDocument, problems: Problems) -> None:
    parts: tuple[tuple[str, Sequence[RolloutDocument]], ...] = (
        ("limits", tier.limits),
        ("quotas", tier.quotas),
        ("concurrency", tier.concurrency),
    )
    for what, documents in parts:
        for position, one in enumerate(documents):
            if one.shadow and one.enforce is not None:
                message = f"says {one.enforce} while shadow: true says 0; remove one of them"
                problems.add(entry.problem(message, what, position, "enforce"))


def _check_claims(entry: Entry[TierDocument], tier: TierDocument, merged: Merged, problems: Problems) -> None:
    """Claims come with tokens, and tokens of issuers that are declared."""
    if merged.issuers or not merged.whole:
        return
    for what in ("limits", "concurrency"):
        for position, limit in enumerate(getattr(tier, what)):
            for claim in claims_in(limit.scope):
                message = f"goes by the claim {quoted(claim)}; declare the `issuers` whose tokens have it"
                problems.add(entry.problem(message, what, position, "scope"))


def _check_size(entry: Entry[TierDocument], full: FullTier | None, problems: Problems) -> None:
    """What a tier inherits counts: all of it is decided, and shown, with every call."""
    for what in ("limits", "quotas", "concurrency") if full else ():
        count = len(getattr(full, what))
        if count > MOST_OF_A_TIER:
            message = f"with what it inherits there are {count}; at most {MOST_OF_A_TIER} fit into a tier"
            problems.add(entry.problem(message, what))


def _check_quota_meters(
    entry: Entry[TierDocument], tier: TierDocument, merged: Merged, problems: Problems
) -> None:
    for position, quota in enumerate(tier.quotas):
        message = cost_problem(quota.meter, merged.meters, whole=merged.whole)
        if message:
            problems.add(entry.problem(message, "quotas", position, "meter"))


def _check_limit_meters(
    entry: Entry[TierDocument], tier: TierDocument, merged: Merged, problems: Problems
) -> None:
    for position, limit in enumerate(tier.limits):
        message = limit.meter and cost_problem(limit.meter, merged.meters, whole=merged.whole)
        if message:
            problems.add(entry.problem(message, "limits", position, "meter"))


def _check_limit_routes(
    entry: Entry[TierDocument], tier: TierDocument, merged: Merged, problems: Problems
) -> None:
    known = {route.document.name for route in merged.routes if route.document is not None}
    whole = merged.whole and all(route.document is not None for route in merged.routes)
    counted = [("limits", position, limit.routes) for position, limit in enumerate(tier.limits)]
    counted += [("concurrency", position, limit.routes) for position, limit in enumerate(tier.concurrency)]
    for what, position, routes in counted:
        for at, name in enumerate(routes or ()):
            if whole and name not in known:
                message = f"there is no route {quoted(name)}.{meant(name, known)}"
                problems.add(entry.problem(message, what, position, "routes", at))


def _check_waits(entry: Entry[TierDocument], tier: TierDocument, problems: Problems) -> None:
    for position, limit in enumerate(tier.concurrency):
        if limit.wait is None:
            continue
        message = ""
        if limit.on_full != "queue":
            message = "means nothing where calls are refused at once; add on_full: queue, or remove this"
        elif duration_ms(limit.wait) > LONGEST_WAIT_MS:
            message = f"must be at most {LONGEST_WAIT_MS // 60_000}m, got {limit.wait}"
        if message:
            problems.add(entry.problem(message, "concurrency", position, "wait"))


def _repeated(values: Iterable[str]) -> Iterator[int]:
    """Positions of values that were there before."""
    seen: set[str] = set()
    for position, value in enumerate(values):
        if value in seen:
            yield position
        seen.add(value)
