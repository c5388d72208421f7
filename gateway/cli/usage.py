"""`tollway usage`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import click
from pydantic import ValidationError

from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.entries import correct, post
from gateway.cli.output import json_option, print_json, print_table
from gateway.cli.times import LocalTime
from gateway.controlplane.csv_answers import csv_text
from gateway.controlplane.problems import Problem
from gateway.controlplane.spans import Bounds, Span
from gateway.controlplane.usage_api import (
    EVENT_COLUMNS,
    SUM_COLUMNS,
    event_document,
    sum_documents,
    usage_document,
)
from gateway.ledger.buckets import Bucket
from gateway.ledger.entries import Kind
from gateway.ledger.usage import MAX_EVENTS, EventFilter, EventRow, Sums, Usage, UsageRow
from gateway.settings import Settings
from gateway.storage.postgres import Pool

CALLS = "api_calls"  # every call is in this meter's row
NO_CALLS = {kind.value for kind in Kind}
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
AS_SHOWN = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
ABOUT_SUMS = (
    "Calls appear a second or so after they end. Sums count full hours: an hour that --from "
    "or --to cuts is in them whole."
)


@click.group(invoke_without_command=True, epilog=ABOUT_SUMS)
@click.option("--account", metavar="ID", help="Whose usage, acct_...  [required]")
@click.option("--from", "start", type=LocalTime(), metavar="TIME", help="From here.  [this month's first]")
@click.option("--to", "end", type=LocalTime(), metavar="TIME", help="Until here, exclusive.  [now]")
@click.option("--by", type=click.Choice(BUCKETS), help="One line for each hour, day or month.")
@click.option("--time-zone", metavar="ZONE", help="Of times, days and months.  [the account's]")
@click.option("--meter", metavar="NAME", help="Only this meter.")
@click.option("--route", metavar="NAME", help="Only this route.")
@click.option("--key", metavar="ID", help="Only this key.")
@click.option("--events", type=click.IntRange(1, MAX_EVENTS), metavar="N", help="The N newest calls instead.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@click.pass_context
def usage(
    context: click.Context,
    /,
    account: str | None,
    events: int | None,
    as_csv: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """What an account used; post and correct usage."""
    if context.invoked_subcommand is not None:
        return
    if account is None:
        raise click.UsageError("Missing option '--account'.")
    if as_csv and as_json:
        raise click.UsageError("Choose one of --csv and --json.")
    if events is not None:
        if any(asked[name] for name in ("start", "end", "by", "time_zone", "meter")):
            raise click.UsageError(
                "--events lists the newest calls; it goes with neither --from, --to, --by, --time-zone nor "
                "--meter."
            )
        only = EventFilter(key=asked["key"], route=asked["route"])
        _show_events(_read_events(account, events, only), as_csv=as_csv, as_json=as_json)
        return
    sums, rows = _read_sums(account, asked)
    if as_json:
        print_json(usage_document(sums, rows))
    elif as_csv:
        click.echo(csv_text(SUM_COLUMNS, sum_documents(rows)), nl=False)
    else:
        _show_sums(rows, sums)


usage.add_command(post)
usage.add_command(correct)


def _read_sums(account: str, asked: Mapping[str, Any]) -> tuple[Sums, list[UsageRow]]:
    names = {"start": "from", "end": "to", "by": "bucket", "time_zone": "time_zone"}
    try:
        span = Span.model_validate({name: asked[given] for given, name in names.items() if asked[given]})
    except ValidationError as error:
        raise click.UsageError(
            "; ".join(f"{one['loc'][0]}: {one['msg']}" for one in error.errors())
        ) from error

    _within(span, "UTC")  # what is wrong in any zone is told before anybody is looked up

    async def work(pool: Pool, settings: Settings) -> tuple[Sums, list[UsageRow]]:
        found = await Accounts(pool, settings.key_prefix).get_account(account)
        start, end, zone = _within(span, found.time_zone)
        only = {name: asked[name] for name in ("key", "route", "meter")}
        sums = Sums(account, start, end, asked["by"], zone=zone, **only)
        return sums, await Usage(pool).all(sums)

    return with_database(work)


def _within(span: Span, own_zone: str) -> Bounds:
    try:
        return span.within(time.time_ns() // 1000, own_zone)
    except Problem as problem:
        errors: Any = problem.extensions["errors"]
        raise click.UsageError("; ".join(f"{one['field']} {one['message']}" for one in errors)) from problem


def _read_events(account: str, limit: int, only: EventFilter) -> list[EventRow]:
    async def work(pool: Pool, settings: Settings) -> list[EventRow]:
        await Accounts(pool, settings.key_prefix).get_account(account)
        return await Usage(pool).events(account, limit, only=only)

    return with_database(work)


def _show_sums(rows: Sequence[UsageRow], sums: Sums) -> None:
    by = sums.bucket
    if not rows:
        click.echo("No calls in this time.")
        return
    calls: Counter[tuple[str, ...]] = Counter()
    units: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        bucket = (
            (row.bucket_start.astimezone(sums.zone).strftime(AS_SHOWN[by]),)
            if by and row.bucket_start
            else ()
        )
        if row.meter == CALLS and row.outcome not in NO_CALLS:
            calls[(*bucket, row.route or "", _mode(row), row.outcome or "")] += row.events
        units[(*bucket, row.meter, _mode(row))] += row.quantity
    head = (by.upper(),) if by else ()
    print_table(
        (*head, "ROUTE", "MODE", "OUTCOME", "CALLS"), [(*what, count) for what, count in calls.items()]
    )
    click.echo()
    print_table((*head, "METER", "MODE", "UNITS"), [(*what, count) for what, count in units.items()])


def _mode(row: UsageRow) -> str:
    return "" if row.mode is None else row.mode.value


def _show_events(rows: Sequence[EventRow], *, as_csv: bool, as_json: bool) -> None:
    if as_json:
        print_json({"data": [event_document(row) for row in rows]})
        return
    if as_csv:
        click.echo(csv_text(EVENT_COLUMNS, [event_document(row) for row in rows]), nl=False)
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
