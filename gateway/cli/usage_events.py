"""`tollway usage --events`: single calls, newest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.output import print_json, print_table, tell_more
from gateway.cli.progress import steps
from gateway.controlplane.csv_answers import csv_text
from gateway.controlplane.spans import zone_of
from gateway.controlplane.usage_api import EVENT_COLUMNS, event_document
from gateway.errors import Invalid
from gateway.ledger.errors import InvalidCursor
from gateway.ledger.usage import MAX_EVENTS, EventFilter, EventRow, Usage
from gateway.settings import Settings
from gateway.storage.postgres import Pool

MOST_EVENTS = 1_000_000
HEADS = ("STARTED (UTC)", "METHOD", "ROUTE", "STATUS", "OUTCOME", "MS", "IN", "OUT", "MESSAGES", "REQUEST")


def show_events(asked: Mapping[str, Any], *, as_csv: bool, as_json: bool) -> None:
    """The newest calls that fit, as a table, CSV or JSON."""
    if any(asked[name] for name in ("by", "meter", "mode", "group_by", "no_corrections")):
        raise click.UsageError(
            "--events lists single calls; it goes with neither --by, --meter, --mode, --group-by nor "
            "--no-corrections."
        )
    rows = _read(asked, quiet=as_json)
    following = rows[-1].cursor if len(rows) == asked["events"] else None
    if as_json:
        print_json({"data": [event_document(row) for row in rows], "next": following})
    elif as_csv:
        click.echo(csv_text(EVENT_COLUMNS, [event_document(row) for row in rows]), nl=False)
    else:
        _show(rows, everybody=asked["everybody"])
        tell_more("--before", following)


def _read(asked: Mapping[str, Any], *, quiet: bool) -> list[EventRow]:
    account, wanted = asked["account"], asked["events"]

    async def work(pool: Pool, settings: Settings) -> list[EventRow]:
        own_zone = "UTC"
        if account is not None:
            own_zone = (await Accounts(pool, settings.key_prefix).get_account(account)).time_zone
        only = _filter(asked, own_zone)
        rows: list[EventRow] = []
        before = asked["before"]
        with steps("Reading calls", wanted, quiet=quiet or wanted <= MAX_EVENTS) as tell:
            while len(rows) < wanted:
                size = min(MAX_EVENTS, wanted - len(rows))
                page = await _page(Usage(pool), asked, size, before, only)
                rows += page
                tell(len(rows))
                if len(page) < size:
                    break
                before = page[-1].cursor
        return rows

    return with_database(work)


async def _page(
    usage: Usage, asked: Mapping[str, Any], size: int, before: str | None, only: EventFilter
) -> list[EventRow]:
    try:
        return await usage.events(
            asked["account"], size, before, refused_by=asked["refused_by"], shadow=asked["shadow"], only=only
        )
    except InvalidCursor as error:
        raise Invalid("before", str(error)) from error


def _filter(asked: Mapping[str, Any], own_zone: str) -> EventFilter:
    zone = zone_of(asked["time_zone"] or own_zone)

    def placed(at: datetime | None) -> datetime | None:
        return at if at is None or at.tzinfo is not None else at.replace(tzinfo=zone).astimezone(UTC)

    names = {name: asked[name] for name in ("key", "route", "outcome")}
    return EventFilter(start=placed(asked["start"]), end=placed(asked["end"]), **names)


def _show(rows: Sequence[EventRow], *, everybody: bool) -> None:
    heads = ("ACCOUNT", *HEADS) if everybody else HEADS
    print_table(heads, [((row.account,) if everybody else ()) + _cells(row) for row in rows])


def _cells(row: EventRow) -> tuple[object, ...]:
    took_ms = round(row.duration_us / 1000)
    what = (row.started_at, row.method, row.route, str(row.status or "-"), row.outcome)
    messages = row.ingress_messages + row.egress_messages
    return (*what, took_ms, row.ingress_bytes, row.egress_bytes, messages, row.request_id)
