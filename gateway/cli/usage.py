"""`tollway usage`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import get_args

import click

from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.entries import correct, post
from gateway.cli.output import json_option, print_json, print_table
from gateway.cli.times import Instant
from gateway.controlplane.usage_api import Span, event_document, usage_document
from gateway.ledger.entries import Kind
from gateway.ledger.usage import MAX_EVENTS, Bucket, EventRow, Usage, UsageRow
from gateway.settings import Settings
from gateway.storage.postgres import Pool

CALLS = "api_calls"  # every call is in this meter's row
NO_CALLS = {kind.value for kind in Kind}
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
AS_SHOWN = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
ABOUT_SUMS = (
    "Calls appear a second or so after they end. Times are UTC; sums count full hours: an hour that --from "
    "or --to cuts is in them whole."
)


@click.group(invoke_without_command=True, epilog=ABOUT_SUMS)
@click.option("--account", metavar="ID", help="Whose usage, acct_...  [required]")
@click.option("--from", "start", type=Instant(), metavar="TIME", help="From here.  [this month's first]")
@click.option("--to", "end", type=Instant(), metavar="TIME", help="Until here, exclusive.  [now]")
@click.option("--by", type=click.Choice(BUCKETS), help="One line for each hour, day or month (UTC).")
@click.option("--events", type=click.IntRange(1, MAX_EVENTS), metavar="N", help="The N newest calls instead.")
@json_option
@click.pass_context
def usage(
    context: click.Context,
    account: str | None,
    start: datetime | None,
    end: datetime | None,
    by: Bucket | None,
    events: int | None,
    as_json: bool,
) -> None:
    """What an account used; post and correct usage."""
    if context.invoked_subcommand is not None:
        return
    if account is None:
        raise click.UsageError("Missing option '--account'.")
    if events is not None:
        if start or end or by:
            raise click.UsageError(
                "--events lists the newest calls; it goes with neither --from, --to nor --by."
            )
        _show_events(_read_events(account, events), as_json=as_json)
        return
    now = datetime.now(UTC)
    start = start or now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    end = end or now
    if start >= end:
        raise click.UsageError(f"--from {start:%Y-%m-%dT%H:%MZ} is not before --to {end:%Y-%m-%dT%H:%MZ}.")
    rows = _read_sums(account, start, end, by)
    if as_json:
        print_json(usage_document(Span(bucket=by), start, end, rows))
    else:
        _show_sums(rows, by)


usage.add_command(post)
usage.add_command(correct)


def _read_sums(account: str, start: datetime, end: datetime, by: Bucket | None) -> list[UsageRow]:
    async def work(pool: Pool, settings: Settings) -> list[UsageRow]:
        await Accounts(pool, settings.key_prefix).get_account(account)
        return await Usage(pool).summary(account, start, end, by)

    return with_database(work)


def _read_events(account: str, limit: int) -> list[EventRow]:
    async def work(pool: Pool, settings: Settings) -> list[EventRow]:
        await Accounts(pool, settings.key_prefix).get_account(account)
        return await Usage(pool).events(account, limit)

    return with_database(work)


def _show_sums(rows: Sequence[UsageRow], by: Bucket | None) -> None:
    if not rows:
        click.echo("No calls in this time.")
        return
    calls: Counter[tuple[str, ...]] = Counter()
    units: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        bucket = (row.bucket_start.strftime(AS_SHOWN[by]),) if by and row.bucket_start else ()
        if row.meter == CALLS and row.outcome not in NO_CALLS:
            calls[(*bucket, row.route, row.mode.value, row.outcome)] += row.events
        units[(*bucket, row.meter, row.mode.value)] += row.quantity
    head = (by.upper(),) if by else ()
    print_table(
        (*head, "ROUTE", "MODE", "OUTCOME", "CALLS"), [(*what, count) for what, count in calls.items()]
    )
    click.echo()
    print_table((*head, "METER", "MODE", "UNITS"), [(*what, count) for what, count in units.items()])


def _show_events(rows: Sequence[EventRow], *, as_json: bool) -> None:
    if as_json:
        print_json({"data": [event_document(row) for row in rows]})
        return
    heads = (
        "STARTED (UTC)",
        "METHOD",
        "ROUTE",
        "STATUS",
        "OUTCOME",
        "MS",
        "IN",
        "OUT",
        "MESSAGES",
        "REQUEST",
    )
    print_table(heads, [_event_cells(row) for row in rows])


def _event_cells(row: EventRow) -> tuple[object, ...]:
    took_ms = round(row.duration_us / 1000)
    what = (row.started_at, row.method, row.route, str(row.status or "-"), row.outcome)
    messages = row.ingress_messages + row.egress_messages
    return (*what, took_ms, row.ingress_bytes, row.egress_bytes, messages, row.request_id)
