"""`POST /admin/v1/usage` and what belongs to it: usage that is no call, and corrections."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.admission.posted import billing_month, count_posted
from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, read_body, read_query
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.problems import Problem, invalid
from gateway.controlplane.spans import Instant
from gateway.ledger.entries import (
    MAX_UNITS,
    Booked,
    Entries,
    EntriesRefused,
    Entry,
    EntryIdReused,
    Kind,
    NewEntry,
    Rules,
)
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode
from gateway.policy.meters import BUILT_IN_METERS

MAX_EVENTS = 1000
"""Of one batch; their texts stay below the bound of a body."""
CORRECTION_WINDOW = timedelta(days=400)
"""How far back a correction may reach: a year, and the month in which its bill is disputed."""

EventId = Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
Units = Annotated[int, Field(strict=True, ge=1, le=MAX_UNITS)]
Difference = Annotated[int, Field(strict=True, ge=-MAX_UNITS, le=MAX_UNITS)]
_LINE = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
Reason = Annotated[
    str,
    Field(min_length=1, max_length=500, pattern=rf"^{_LINE}*[^\s\x00-\x1f\x7f-\x9f]{_LINE}*$"),
]


class NewEvent(Sent):
    """Usage that is no call. `id` is the sender's: sent again, it books nothing. `at` is now unless given."""

    id: EventId
    account: Name
    meter: Name
    quantity: Units
    at: Instant | None = None
    key: Name | None = None
    mode: Literal["live", "test"] | None = None


class NewEvents(Sent):
    """Usage that is booked together, or not at all."""

    events: Annotated[list[NewEvent], Field(min_length=1, max_length=MAX_EVENTS)]


class NewCorrection(Sent):
    """What is to be added to what was booked, or taken back from it, and why."""

    id: EventId
    account: Name
    meter: Name
    quantity: Difference
    reason: Reason
    at: Instant | None = None
    key: Name | None = None
    mode: Literal["live", "test"] | None = None


class EntriesQuestion(Sent):
    """Whose entries, the last booked first; `before` is the `next` of the page before."""

    account: str | None = None
    kind: Literal["posted", "correction"] | None = None
    before: Annotated[int | None, Field(ge=1, le=(1 << 63) - 1)] = None
    limit: Annotated[int, Field(ge=1, le=MAX_EVENTS)] = 100


class EntryDocument(TypedDict):
    """An entry as it was booked."""

    id: str
    kind: str
    account: str | None
    key: str | None
    mode: str
    meter: str
    quantity: int
    at: str | None
    booked_at: str | None
    reason: str | None
    author: str


class EntryList(TypedDict):
    """Entries in the order in which they were sent."""

    data: list[EntryDocument]


class EntryPage(EntryList):
    """A page of entries."""

    next: int | None


class EntriesApi:
    """What upstreams post, and what operators correct."""

    def __init__(self, with_: Collaborators) -> None:
        self._with = with_

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        write, one = "usage:write", EntryDocument
        return [
            Endpoint("POST", "/usage", self.post_usage, write, one, status=201, body=NewEvent),
            Endpoint("POST", "/usage/batch", self.post_batch, write, EntryList, status=201, body=NewEvents),
            Endpoint(
                "POST",
                "/usage/corrections",
                self.correct_usage,
                "corrections:write",  # who may post usage may not take some back
                one,
                status=201,
                body=NewCorrection,
            ),
            Endpoint(
                "GET",
                "/usage/entries",
                self.list_entries,
                "usage:read",
                EntryPage,
                query=EntriesQuestion,
                refuses=(404,),
            ),
        ]

    async def post_usage(self, request: web.Request) -> web.Response:
        """Book usage that is no call. The same again gets the same answer and books nothing."""
        sent = await read_body(request, NewEvent)
        booked = await self._book(request, [new_entry(sent)], Kind.POSTED, [""])
        return answer(entry_document(booked.entries[0]), status=201)

    async def post_batch(self, request: web.Request) -> web.Response:
        """Book up to 1000 events together. All of them are booked, or none is."""
        sent = await read_body(request, NewEvents)
        paths = [f"events.{index}." for index in range(len(sent.events))]
        booked = await self._book(request, [new_entry(one) for one in sent.events], Kind.POSTED, paths)
        return answer({"data": [entry_document(one) for one in booked.entries]}, status=201)

    async def correct_usage(self, request: web.Request) -> web.Response:
        """Add to what was booked, or take back from it, as an entry of its own. Nothing is ever edited."""
        sent = await read_body(request, NewCorrection)
        booked = await self._book(request, [new_entry(sent, sent.reason)], Kind.CORRECTION, [""])
        return answer(entry_document(booked.entries[0]), status=201)

    async def list_entries(self, request: web.Request) -> web.Response:
        """Posted usage and corrections, the last booked first."""
        asked = read_query(request, EntriesQuestion)
        if asked.account is not None:
            await self._with.accounts.get_account(asked.account)
        kind = None if asked.kind is None else Kind(asked.kind)
        async with self._with.pool.acquire() as connection:
            page = await Entries(connection).page(
                asked.limit, before=asked.before, account=asked.account, kind=kind
            )
        following = page[-1].number if len(page) == asked.limit else None
        return answer({"data": [entry_document(one) for one in page], "next": following})

    async def _book(self, request: web.Request, sent: list[NewEntry], kind: Kind, paths: list[str]) -> Booked:
        policies, connection = self._with.policies(), request[CONNECTION]
        window = self._with.usage_window if kind is Kind.POSTED else CORRECTION_WINDOW
        now = datetime.fromtimestamp(self._with.clock.now_us() / 1_000_000, UTC)
        try:
            booked = await Entries(connection).book(sent, kind, rules(policies, now, window))
        except EntryIdReused as error:
            raise _reused(error, paths) from error
        except EntriesRefused as error:
            raise invalid((paths[one.index] + one.field, one.message) for one in error.problems) from error
        if self._with.counters is not None:
            await count_posted(self._with.counters, policies.tiers, booked.new)
        return booked


def rules(policies: PolicySet, now: datetime, window: timedelta) -> Rules:
    """What may be booked under these policies."""
    return Rules(frozenset((*BUILT_IN_METERS, *policies.meters)), now, window, billing_month)


def entry_document(one: Entry) -> EntryDocument:
    """An entry as the API and the command line show it."""
    return {
        "id": one.id,
        "kind": one.kind.value,
        "account": one.account,
        "key": one.key,
        "mode": one.mode.value,
        "meter": one.meter,
        "quantity": one.quantity,
        "at": wording.instant(one.happened_at),
        "booked_at": wording.instant(one.booked_at),
        "reason": one.reason,
        "author": one.author,
    }


def new_entry(sent: NewEvent | NewCorrection, reason: str | None = None) -> NewEntry:
    """What was sent, for the ledger."""
    return NewEntry(
        id=sent.id,
        account=sent.account,
        meter=sent.meter,
        quantity=sent.quantity,
        at=sent.at,
        key=sent.key,
        mode=None if sent.mode is None else Mode(sent.mode),
        reason=reason,
    )


def _reused(error: EntryIdReused, paths: list[str]) -> Problem:
    listed = [{"field": paths[one.index] + one.field, "message": one.message} for one in error.problems]
    detail = "An id came with other content before. Nothing was booked."
    return Problem(409, "usage_id_reused", detail, extensions={"errors": listed})
