"""Usage that is no call: what trusted upstreams post, and corrections. Entries are added, never edited.

An entry has an id of its sender's. Sent again it changes nothing, sent with other content it is refused; ids
are kept for good, so that holds whenever it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import Enum

import asyncpg

from gateway.errors import TollwayError
from gateway.ledger.aggregates import TotalRow
from gateway.ledger.booking import add_totals
from gateway.model.periods import IN_UTC, Calendar, calendar
from gateway.model.principal import Mode
from gateway.storage.postgres import Connection
from gateway.storage.queries import load_queries

MAX_UNITS = 999_999_999_999_999
"""Of one entry; the sums of thousands of them are within what a 64-bit integer holds."""
AHEAD = timedelta(minutes=5)
"""What a sender's clock may be fast."""

QUERIES = load_queries(__file__, "entries")


class Kind(Enum):
    """What an entry is; in sums it is the outcome."""

    POSTED = "posted"
    CORRECTION = "correction"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """What somebody wants booked. No `at`: now. No `mode`: that of the key, or live."""

    id: str
    account: str
    meter: str
    quantity: int
    at: datetime | None = None
    key: str | None = None
    mode: Mode | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was booked. `account` and `key` are public ids, `number` its place in the list."""

    number: int
    id: str
    kind: Kind
    happened_at: datetime
    booked_at: datetime
    account: str | None
    key: str | None
    mode: Mode
    meter: str
    quantity: int
    reason: str | None
    author: str


@dataclass(frozen=True, slots=True)
class Holder:
    """The account of an entry."""

    number: int
    tier: str
    calendar: Calendar = IN_UTC


@dataclass(frozen=True, slots=True)
class Counted:
    """Units that were just booked, for those who count them elsewhere, too."""

    holder: Holder
    mode: Mode
    meter: str
    quantity: int
    happened_at: datetime


@dataclass(frozen=True, slots=True)
class Booked:
    """The answer to what was sent, in its order, and which part of it was new."""

    entries: tuple[Entry, ...]
    new: tuple[Counted, ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What may be booked now. `month` is the billing period of an account around an instant."""

    meters: frozenset[str]
    now: datetime
    window: timedelta  # how far back
    month: Callable[[Holder, datetime], tuple[datetime, datetime]]


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """What is wrong with one field of the entry at `index`."""

    index: int
    field: str
    message: str


class EntriesRefused(TollwayError):
    """Nothing may be booked of what was sent together. The transaction must be undone."""

    def __init__(self, problems: Sequence[EntryProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(f"{one.field}: {one.message}" for one in problems))


class EntryIdReused(EntriesRefused):
    """An id came with other content before."""


@dataclass(slots=True)
class _Checked:
    """An entry that may be booked."""

    entry: NewEntry
    content: bytes
    holder: Holder
    key_id: int | None
    mode: Mode
    happened_at: datetime


@dataclass(slots=True)
class _Found:
    """What entries refer to."""

    holders: Mapping[str, Holder]
    keys: Mapping[str, asyncpg.Record]
    problems: list[EntryProblem] = field(default_factory=list)


class Entries:
    """Books and lists entries on a connection. To book, it is within a transaction that names who acts."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def book(self, sent: Sequence[NewEntry], kind: Kind, rules: Rules) -> Booked:
        """All of it or nothing. Raises EntriesRefused, with every problem; then undo the transaction."""
        contents = [_content(one, kind) for one in sent]
        known = await self._known(sent, contents)
        fresh = [index for index, one in enumerate(sent) if one.id not in known]
        checked = await self._check(sent, contents, fresh, rules)
        if any(one.entry.quantity < 0 for one in checked):
            await self._connection.fetch(QUERIES.lock_accounts, [one.holder.number for one in checked])
        added = await self._add(checked, kind)
        new = [one for one in checked if one.entry.id in added]
        await self._add_to_sums(new, kind)
        await self._check_what_is_left(sent, new, rules)
        known = await self._known(sent, contents)
        return Booked(
            tuple(known[one.id] for one in sent),
            tuple(
                Counted(one.holder, one.mode, one.entry.meter, one.entry.quantity, one.happened_at)
                for one in new
            ),
        )

    async def page(
        self, limit: int, *, before: int | None = None, account: str | None = None, kind: Kind | None = None
    ) -> list[Entry]:
        """Entries, the last booked first. `before`: the number of the last one of the page before."""
        name = None if kind is None else kind.value
        rows = await self._connection.fetch(QUERIES.page, limit, before, account, name)
        return [_entry(row) for row in rows]

    async def _known(self, sent: Sequence[NewEntry], contents: Sequence[bytes]) -> dict[str, Entry]:
        """Those that are booked. EntryIdReused if one was booked with other content."""
        rows = await self._connection.fetch(QUERIES.known, [one.id for one in sent])
        booked = {row["id"]: bytes(row["content"]) for row in rows}
        reused = [
            EntryProblem(index, "id", "came with other content before; take a new id for new usage")
            for index, (one, content) in enumerate(zip(sent, contents, strict=True))
            if booked.get(one.id, content) != content
        ]
        if reused:
            raise EntryIdReused(reused)
        return {row["id"]: _entry(row) for row in rows}

    async def _check(
        self, sent: Sequence[NewEntry], contents: Sequence[bytes], fresh: Sequence[int], rules: Rules
    ) -> list[_Checked]:
        found = await self._find([sent[index] for index in fresh])
        ids = [one.id for one in sent]
        checked = []
        for index in fresh:
            if ids.index(sent[index].id) != index:
                found.problems.append(EntryProblem(index, "id", "is given twice"))
            if (one := _check(sent[index], contents[index], index, found, rules)) is not None:
                checked.append(one)
        if found.problems:
            raise EntriesRefused(found.problems)
        return checked

    async def _find(self, sent: Sequence[NewEntry]) -> _Found:
        accounts = await self._connection.fetch(QUERIES.accounts_named, [one.account for one in sent])
        keys = await self._connection.fetch(QUERIES.keys_named, [one.key for one in sent if one.key])
        return _Found(
            {row["public_id"]: _holder(row) for row in accounts}, {row["public_id"]: row for row in keys}
        )

    async def _add(self, checked: Sequence[_Checked], kind: Kind) -> set[str]:
        """Ids that were added. One that somebody else adds at this moment is waited for, and left out."""
        rows = await self._connection.fetch(
            QUERIES.add,
            [one.entry.id for one in checked],
            kind.value,
            [one.happened_at for one in checked],
            [one.holder.number for one in checked],
            [one.key_id for one in checked],
            [one.mode.value for one in checked],
            [one.entry.meter for one in checked],
            [one.entry.quantity for one in checked],
            [one.entry.reason for one in checked],
            [one.content for one in checked],
        )
        return {row["public_id"] for row in rows}

    async def _add_to_sums(self, new: Sequence[_Checked], kind: Kind) -> None:
        try:
            await add_totals(self._connection, _hours(new, kind))
        except asyncpg.NumericValueOutOfRangeError as error:
            problem = EntryProblem(0, "quantity", "would carry a sum beyond what can be booked")
            raise EntriesRefused([problem]) from error

    async def _check_what_is_left(
        self, sent: Sequence[NewEntry], new: Sequence[_Checked], rules: Rules
    ) -> None:
        """Nothing is taken back that was not booked, within the billing period."""
        for one in new:
            if one.entry.quantity > 0:
                continue
            span = rules.month(one.holder, one.happened_at)
            what = (one.holder.number, one.mode.value, one.entry.meter)
            left = await self._connection.fetchval(QUERIES.units_between, *what, *span)
            if left < 0:
                booked = left - one.entry.quantity
                message = f"takes back more than the {booked} that are booked in that billing period"
                raise EntriesRefused([EntryProblem(sent.index(one.entry), "quantity", message)])


def _check(one: NewEntry, content: bytes, index: int, found: _Found, rules: Rules) -> _Checked | None:
    """The entry if it may be booked; otherwise what is wrong with it goes to the problems."""
    happened_at = one.at or rules.now
    holder, key = found.holders.get(one.account), found.keys.get(one.key or "")
    wrong: list[tuple[str, str]] = []
    if holder is None:
        wrong.append(("account", "there is no such account"))
    if one.meter not in rules.meters:
        wrong.append(("meter", "there is no such meter: neither built in nor declared in the policies"))
    if one.key is not None and (key is None or holder is None or key["account_id"] != holder.number):
        wrong.append(("key", "the account has no such key"))
    elif key is not None and one.mode not in (None, Mode(key["mode"])):
        wrong.append(("mode", f"is not that of the key, {key['mode']}"))
    if not 0 < abs(one.quantity) <= MAX_UNITS:
        wrong.append(("quantity", f"must be a whole number other than 0, {MAX_UNITS} at most"))
    if happened_at > rules.now + AHEAD:
        wrong.append(("at", "is in the future"))
    elif happened_at < rules.now - rules.window:
        wrong.append(("at", f"is more than {rules.window.days} days ago"))
    found.problems += [EntryProblem(index, field, message) for field, message in wrong]
    if wrong or holder is None:
        return None
    mode = one.mode or (Mode(key["mode"]) if key is not None else Mode.LIVE)
    return _Checked(one, content, holder, None if key is None else key["id"], mode, happened_at)


def _holder(row: asyncpg.Record) -> Holder:
    return Holder(row["id"], row["tier"], calendar(row["anchor"], row["time_zone"]))


def _content(one: NewEntry, kind: Kind) -> bytes:
    """What an id stands for."""
    at = None if one.at is None else one.at.astimezone(UTC).isoformat()
    mode = None if one.mode is None else one.mode.value
    told = [kind.value, one.account, one.key, mode, one.meter, one.quantity, at, one.reason]
    return hashlib.sha256(json.dumps(told).encode()).digest()


def _hours(new: Sequence[_Checked], kind: Kind) -> list[TotalRow]:
    """What to add to `usage_hourly`, sorted by key."""
    cells: dict[tuple[datetime, int, int, str, str, str, str], list[int]] = {}
    for one in new:
        hour = one.happened_at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        names = ("", one.mode.value, kind.value, one.entry.meter)
        cell = cells.setdefault((hour, one.holder.number, one.key_id or 0, *names), [0, 0])
        cell[0] += 1
        cell[1] += one.entry.quantity
    return [(*cell, events, quantity) for cell, (events, quantity) in sorted(cells.items())]


def _entry(row: asyncpg.Record) -> Entry:
    return Entry(
        row["number"],
        row["id"],
        Kind(row["kind"]),
        row["happened_at"],
        row["booked_at"],
        row["account"],
        row["key"],
        Mode(row["mode"]),
        row["meter"],
        row["quantity"],
        row["reason"],
        row["author"],
    )
