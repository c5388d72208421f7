"""Charges whose parts do not fit each other, or their meter."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.policy.billing_documents import OF_ANSWERS, SOURCES, ChargeDocument
from gateway.policy.documents import RouteDocument
from gateway.policy.merge import Entry
from gateway.policy.meters import BUILT_IN_METERS
from gateway.policy.problems import Problems, listed, quoted

MOST_REPORTED = 16
"""Charges of a route whose units are only known at its end: so many fit the record of an end."""

_KNOWN_BEFORE = ("units", "methods", "per_kib")
_OF_VALUES = ("times", "per", "default", "reserve", "max", "within")


def check_charges(entry: Entry[RouteDocument], route: RouteDocument, problems: Problems) -> None:
    """Note every problem of the charges of a route."""
    for meter, charge in route.charges.items():
        for message, *keys in _problems_of(meter, charge):
            problems.add(entry.problem(message, "charges", meter, *keys))
    special = any(charge.sources or charge.bill_on is not None for charge in route.charges.values())
    if special and len(route.charges) > MOST_REPORTED:
        message = (
            f"has {len(route.charges)} meters; where one has a bill_on of its own, or a value that is known "
            f"only at the end, at most {MOST_REPORTED} are possible"
        )
        problems.add(entry.problem(message, "charges"))


def _problems_of(meter: str, charge: ChargeDocument) -> Iterator[tuple[str, ...]]:
    written = charge.model_fields_set
    if not charge.sources:
        for key in _OF_VALUES:
            if key in written:
                message = (
                    f"means nothing for a cost that is known before the call; add one of {listed(SOURCES)}"
                )
                yield f"{message}, or remove it", key
        return
    if meter in BUILT_IN_METERS:
        message = "counts by itself; a value of the answer needs a meter of its own, declared under `meters`"
        yield message, charge.sources[0]
    yield from _beside(charge)
    for key in ("default", "reserve"):
        if getattr(charge, key) > charge.max:
            yield f"is more than the max of {charge.max}, so it could never be paid", key


def _beside(charge: ChargeDocument) -> Iterator[tuple[str, ...]]:
    """Keys that say nothing beside where the value comes from."""
    written = charge.model_fields_set
    for key in _KNOWN_BEFORE:
        if key in written:
            yield f"stands beside {quoted(charge.sources[0])}, which says what a call costs; remove one", key
    if charge.measured is not None:
        for key in (*OF_ANSWERS, "default", "within"):
            if key in written:
                yield "stands beside `measured`, which is always there; remove one", key
    elif "within" in written and charge.response_json is None and charge.response_events is None:
        yield "means nothing for headers and trailers; remove it", "within"
