"""`/admin/v1/usage`, and the documents of usage that the portal shows as well."""

from __future__ import annotations

from typing import Annotated, Literal

from aiohttp import web
from pydantic import BeforeValidator, Field
from typing_extensions import TypedDict

from gateway.accounts.store import Accounts
from gateway.clock import Clock
from gateway.controlplane import wording
from gateway.controlplane.bodies import Sent, answer, read_query
from gateway.controlplane.csv_answers import csv_answer, wants_csv
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.problems import invalid
from gateway.controlplane.spans import Bounds, Instant, Span, zone_name
from gateway.ledger.errors import InvalidCursor
from gateway.ledger.usage import (
    DIMENSIONS,
    MAX_EVENTS,
    MAX_SUMS,
    EventFilter,
    EventRow,
    Sums,
    Usage,
    UsageRow,
)
from gateway.model.principal import Mode

DIMENSIONS_PATTERN = "^(account|key|route|mode|outcome|meter)(,(account|key|route|mode|outcome|meter))*$"


def _dimensions(value: object) -> str:
    """Names with commas between, each one of `DIMENSIONS`."""
    names = str(value).split(",")
    if not set(names) <= {*DIMENSIONS, "meter"}:
        raise ValueError(f"must be some of {', '.join(DIMENSIONS)} and meter, with commas between")
    return ",".join(names)


Name = Annotated[str, Field(max_length=255, pattern=r"^[!-~]*$")]
Format = Literal["json", "csv"]


class PagedSpan(Span):
    """A page of sums; `after` is the `next` of the page before.

    `group_by` is what rows are told apart by: rows of a meter are never added to those of another.
    """

    after: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_SUMS)] = 1000
    group_by: Annotated[str, BeforeValidator(_dimensions), Field(pattern=DIMENSIONS_PATTERN)] | None = None
    key: Name | None = None
    route: Name | None = None
    meter: Name | None = None
    outcome: Name | None = None
    corrections: Literal["include", "exclude"] = "include"
    format: Format | None = None

    def sums(self, account: str | None, bounds: Bounds, mode: Mode | None) -> Sums:
        """The question to the ledger."""
        start, end, zone = bounds
        asked = set((self.group_by or ",".join(DIMENSIONS)).split(","))
        return Sums(
            account,
            start,
            end,
            self.bucket,
            mode,
            zone,
            tuple(one for one in DIMENSIONS if one in asked),
            self.key,
            self.route,
            self.outcome,
            self.meter,
            corrected=self.corrections == "include",
        )


class UsageQuestion(PagedSpan):
    """Whose usage, when, and of which keys."""

    account: str | None = None
    mode: Literal["live", "test"] | None = None


LimitName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]


class EventsQuestion(Sent):
    """Whose calls, newest first; `before` is the `next` of the page before.

    `refused_by`: only those that this limit refused; `shadow`: only those that it would have refused.
    """

    account: str | None = None
    refused_by: LimitName | None = None
    shadow: LimitName | None = None
    before: str | None = None
    limit: Annotated[int, Field(ge=1, le=MAX_EVENTS)] = 100
    start: Annotated[Instant | None, Field(alias="from")] = None
    end: Annotated[Instant | None, Field(alias="to")] = None
    key: Name | None = None
    route: Name | None = None
    outcome: Name | None = None
    format: Format | None = None


class SumDocument(TypedDict):
    """Units of one meter within one bucket."""

    bucket_start: str | None
    account: str | None
    key: str | None
    route: str | None
    mode: str | None
    outcome: str | None
    meter: str
    quantity: int
    events: int


class EventDocument(TypedDict):
    """One call as it was booked."""

    request_id: str
    started_at: str | None
    account: str | None
    key: str | None
    mode: str
    tier: str
    route: str
    upstream: str
    method: str
    outcome: str
    status: int
    ingress_bytes: int
    egress_bytes: int
    ingress_messages: int
    egress_messages: int
    duration_us: int
    first_byte_us: int
    charges: dict[str, int]
    code: str | None
    refused_by: list[str]
    shadows: list[str]


SUM_COLUMNS = tuple(SumDocument.__annotations__)
EVENT_COLUMNS = tuple(EventDocument.__annotations__)

UsagePage = TypedDict(
    "UsagePage",
    {
        "from": "str | None",
        "to": "str | None",
        "bucket": "str | None",
        "time_zone": "str",
        "data": list[SumDocument],
        "next": "str | None",
    },
)
"""A page of sums with the question they answer."""


class EventList(TypedDict):
    """A page of calls."""

    data: list[EventDocument]
    next: str | None


class UsageApi:
    """What operators ask the ledger."""

    def __init__(self, usage: Usage, accounts: Accounts, clock: Clock) -> None:
        self._usage, self._accounts, self._clock = usage, accounts, clock

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint(
                "GET",
                "/usage",
                self.get_usage,
                "usage:read",
                UsagePage,
                query=UsageQuestion,
                refuses=(404,),
                csv=True,
            ),
            Endpoint(
                "GET",
                "/usage/events",
                self.list_events,
                "usage:read",
                EventList,
                query=EventsQuestion,
                refuses=(404,),
                csv=True,
            ),
        ]

    async def get_usage(self, request: web.Request) -> web.Response:
        """Sums of a span of time, of one account or of all."""
        asked, own_zone = read_query(request, UsageQuestion), "UTC"
        if asked.account is not None:
            own_zone = (await self._accounts.get_account(asked.account)).time_zone
        mode = None if asked.mode is None else Mode(asked.mode)
        sums = asked.sums(asked.account, asked.within(self._clock.now_us(), own_zone), mode)
        return await usage_answer(request, self._usage, asked, sums)

    async def list_events(self, request: web.Request) -> web.Response:
        """Single calls, newest first."""
        asked = read_query(request, EventsQuestion)
        if asked.account is not None:
            await self._accounts.get_account(asked.account)
        only = EventFilter(
            start=asked.start, end=asked.end, key=asked.key, route=asked.route, outcome=asked.outcome
        )
        try:
            rows = await self._usage.events(
                asked.account,
                asked.limit,
                asked.before,
                refused_by=asked.refused_by,
                shadow=asked.shadow,
                only=only,
            )
        except InvalidCursor as error:
            raise invalid([("before", str(error))]) from error
        following = rows[-1].cursor if len(rows) == asked.limit else None
        data = [event_document(row) for row in rows]
        if wants_csv(request, asked.format):
            return csv_answer(EVENT_COLUMNS, data, _linked(request, "before", following))
        return answer({"data": data, "next": following})


async def usage_answer(request: web.Request, usage: Usage, asked: PagedSpan, sums: Sums) -> web.Response:
    """One page of sums with the question they answer, and where they go on. Raises Problem."""
    try:
        rows, following = await usage.page(sums, asked.limit, asked.after)
    except InvalidCursor as error:
        raise invalid([("after", str(error))]) from error
    if wants_csv(request, asked.format):
        link = _linked(request, "after", following)
        return csv_answer(SUM_COLUMNS, [_sum(row) for row in rows], link)
    return answer({**usage_document(sums, rows), "next": following})


def sum_documents(rows: list[UsageRow]) -> list[SumDocument]:
    """Sums as the API shows them."""
    return [_sum(row) for row in rows]


def usage_document(sums: Sums, rows: list[UsageRow]) -> wording.Document:
    """Sums with the question they answer."""
    return {
        "from": wording.instant(sums.start),
        "to": wording.instant(sums.end),
        "bucket": sums.bucket,
        "time_zone": zone_name(sums.zone),
        "data": [_sum(row) for row in rows],
    }


def _linked(request: web.Request, name: str, following: str | None) -> str | None:
    """The address of the next page."""
    return None if following is None else str(request.rel_url.update_query({name: following}))


def _sum(row: UsageRow) -> SumDocument:
    return {
        "bucket_start": wording.instant(row.bucket_start),
        "account": row.account,
        "key": row.key,
        "route": row.route,
        "mode": None if row.mode is None else row.mode.value,
        "outcome": row.outcome,
        "meter": row.meter,
        "quantity": row.quantity,
        "events": row.events,
    }


def event_document(row: EventRow) -> EventDocument:
    """One call as it was booked."""
    return {
        "request_id": str(row.request_id),
        "started_at": wording.instant(row.started_at),
        "account": row.account,
        "key": row.key,
        "mode": row.mode.value,
        "tier": row.tier,
        "route": row.route,
        "upstream": row.upstream,
        "method": row.method,
        "outcome": row.outcome,
        "status": row.status,
        "ingress_bytes": row.ingress_bytes,
        "egress_bytes": row.egress_bytes,
        "ingress_messages": row.ingress_messages,
        "egress_messages": row.egress_messages,
        "duration_us": row.duration_us,
        "first_byte_us": row.first_byte_us,
        "charges": dict(row.charges),
        "code": row.code,
        "refused_by": list(row.refused_by),
        "shadows": list(row.shadows),
    }
