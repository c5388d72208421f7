"""All files of a folder as one: every name once, everything in the order of the files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.policy.access_documents import IssuerDocument
from gateway.policy.billing_documents import BillOnDocument, MeterDocument
from gateway.policy.cors_documents import CorsDocument
from gateway.policy.documents import (
    AdmissionDocument,
    RouteDocument,
    TierDocument,
)
from gateway.policy.problems import Problem, Problems, quoted
from gateway.policy.shape import Read, read_part
from gateway.policy.tree import Loc, Tree
from gateway.policy.upstream_documents import UpstreamDocument
from gateway.policy.values import Document

D = TypeVar("D", bound=Document | str)

_NAMED = frozenset({"upstreams", "meters", "tiers", "cors", "issuers"})
_ONCE = frozenset({"admission", "bill_on", "upgrade_url"})

MOST = {"upstreams": 500, "meters": 100, "tiers": 200, "cors": 100, "issuers": 100, "routes": 2000}


@dataclass(frozen=True, slots=True)
class Entry(Generic[D]):
    """One thing that is defined.

    `document` None: nothing of it is usable, but its name is taken. `partial`: what was wrong is left out.
    """

    tree: Tree
    loc: Loc
    document: D | None
    partial: bool

    @property
    def place(self) -> str:
        return self.tree.place(self.loc)

    def problem(self, message: str, *keys: str | int) -> Problem:
        """A problem at this entry, or at the keys below it."""
        return self.tree.problem((*self.loc, *keys), message)


@dataclass(slots=True)
class Merged:
    """What the whole folder defines."""

    folder: str = "."
    whole: bool = True  # False: parts could not be read, so that a missing name may be in them
    upstreams: dict[str, Entry[UpstreamDocument]] = field(default_factory=dict)
    meters: dict[str, Entry[MeterDocument]] = field(default_factory=dict)
    tiers: dict[str, Entry[TierDocument]] = field(default_factory=dict)
    cors: dict[str, Entry[CorsDocument]] = field(default_factory=dict)
    issuers: dict[str, Entry[IssuerDocument]] = field(default_factory=dict)
    routes: list[Entry[RouteDocument]] = field(default_factory=list)
    admission: Entry[AdmissionDocument] | None = None
    bill_on: Entry[BillOnDocument] | None = None
    upgrade_url: Entry[str] | None = None

    def may_have(self, section: str, name: str) -> bool:
        """Whether a name is defined, or may be in a part that could not be read."""
        return name in getattr(self, section) or not self.whole

    def good_upstreams(self) -> dict[str, UpstreamDocument]:
        return _good(self.upstreams)

    def good_meters(self) -> dict[str, MeterDocument]:
        return _good(self.meters)

    def good_tiers(self) -> dict[str, TierDocument]:
        return _good(self.tiers)

    def good_cors(self) -> dict[str, CorsDocument]:
        return _good(self.cors)

    def good_issuers(self) -> dict[str, IssuerDocument]:
        return _good(self.issuers)


def _good(entries: dict[str, Entry[D]]) -> dict[str, D]:
    return {name: entry.document for name, entry in entries.items() if entry.document is not None}


def merge(trees: Iterable[Tree], folder: str, problems: Problems, *, whole: bool) -> Merged:
    """Read every entry of every file. Wrong ones and second definitions go to `problems`.

    `whole` says whether the trees are all files of the folder.
    """
    merged = Merged(folder, whole)
    for tree in trees:
        for section, value in tree.value.items():
            if problems.full:
                return merged
            _merge_section(merged, tree, section, value, problems)
    return merged


def _merge_section(merged: Merged, tree: Tree, section: str, value: object, problems: Problems) -> None:
    if section == "routes" and isinstance(value, list):
        _merge_routes(merged, tree, value, problems)
    elif section in _NAMED and isinstance(value, dict):
        for name, written in value.items():
            read = read_part(tree, {section: {name: written}}, problems)
            document = getattr(read.document, section)[name] if read.document else None
            entry = Entry(tree, (section, name), document, read.partial)
            _define(merged, section, name, entry, problems)
    else:
        read = read_part(tree, {section: value}, problems)
        merged.whole = merged.whole and (read.document is not None or section in _ONCE)
        _merge_once(merged, tree, section, read, problems)


def _merge_routes(merged: Merged, tree: Tree, routes: list[object], problems: Problems) -> None:
    for position, written in enumerate(routes):
        if len(merged.routes) >= MOST["routes"]:
            problems.add(
                tree.problem(("routes", position), f"is more than the {MOST['routes']} routes allowed")
            )
            return
        read = read_part(tree, {"routes": [written]}, problems, route=position)
        document = read.document.routes[0] if read.document else None
        merged.routes.append(Entry(tree, ("routes", position), document, read.partial))


def _define(merged: Merged, section: str, name: str, entry: Entry[Document], problems: Problems) -> None:
    entries: dict[str, Entry[Document]] = getattr(merged, section)
    if name in entries:
        message = (
            f"{quoted(name)} is already defined at {entries[name].place}; rename or remove one of the two"
        )
        problems.add(entry.problem(message))
    elif len(entries) >= MOST[section]:
        problems.add(entry.problem(f"is more than the {MOST[section]} {section} allowed"))
    else:
        entries[name] = entry


def _merge_once(merged: Merged, tree: Tree, section: str, read: Read, problems: Problems) -> None:
    """What stands once in the folder; anything else is noted as wrong already."""
    if section not in _ONCE:
        return
    entry: Entry[Document] = Entry(
        tree, (section,), getattr(read.document, section) if read.document else None, read.partial
    )
    before: Entry[Document] | None = getattr(merged, section)
    if before is None:
        setattr(merged, section, entry)
    else:
        problems.add(entry.problem(f"is already written at {before.place}; remove one of the two"))
