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
from gateway.cli.ledger_lists import entries, quota_events
from gateway.cli.output import json_option, print_json, print_table
from gateway.cli.progress import steps
from gateway.cli.suggestions import complete_bounds, complete_meters, complete_routes
from gateway.cli.times import LocalTime
from gateway.cli.usage_events import MOST_EVENTS, show_events
from gateway.controlplane.csv_answers import csv_text
from gateway.controlplane.problems import Problem
from gateway.controlplane.spans import Bounds, Span
from gateway.controlplane.usage_api import SUM_COLUMNS, PagedSpan, sum_documents, usage_document
from gateway.ledger.buckets import Bucket
from gateway.ledger.entries import Kind
from gateway.ledger.usage import DIMENSIONS, Sums, Usage, UsageRow
from gateway.model.principal import Mode
from gateway.settings import Settings
from gateway.storage.postgres import Pool

CALLS = "api_calls"  # every call is in this meter's row
NO_CALLS = {kind.value for kind in Kind}
BUCKETS: tuple[Bucket, ...] = get_args(Bucket)
AS_SHOWN = {"hour": "%Y-%m-%d %H:00", "day": "%Y-%m-%d", "month": "%Y-%m"}
OF_EVENTS_REFUSED = "With --events: only calls that this limit refused."
OF_EVENTS_SHADOW = "With --events: only calls that it would have refused."
ABOUT_SUMS = (
    "Calls appear a second or so after they end. Sums count full hours: an hour that --from "
    "or --to cuts is in them whole."
)


@click.group(invoke_without_command=True, epilog=ABOUT_SUMS)
@click.option("--account", metavar="ID", help="Whose usage, acct_...  [required, or --all]")
@click.option("--all", "everybody", is_flag=True, help="Everybody's usage.")
@click.option("--from", "start", type=LocalTime(), metavar="TIME", help="From here.  [this month's first]")
@click.option("--to", "end", type=LocalTime(), metavar="TIME", help="Until here, exclusive.  [now]")
@click.option("--by", type=click.Choice(BUCKETS), help="One line for each hour, day or month.")
@click.option("--time-zone", metavar="ZONE", help="Of times, days and months.  [the account's]")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), help="Only of keys in this mode.")
@click.option("--meter", metavar="NAME", shell_complete=complete_meters, help="Only this meter.")
@click.option("--route", metavar="NAME", shell_complete=complete_routes, help="Only this route.")
@click.option("--key", metavar="ID", help="Only this key.")
@click.option("--outcome", metavar="NAME", help="Only calls that ended so: served, rate_limited, ...")
@click.option("--group-by", metavar="NAMES", help=f"Tell sums apart by these: {','.join(DIMENSIONS)}.")
@click.option("--no-corrections", is_flag=True, help="As it was booked before corrections.")
@click.option(
    "--events", type=click.IntRange(1, MOST_EVENTS), metavar="N", help="The N newest calls instead."
)
@click.option("--refused-by", metavar="NAME", shell_complete=complete_bounds, help=OF_EVENTS_REFUSED)
@click.option("--shadow", metavar="NAME", shell_complete=complete_bounds, help=OF_EVENTS_SHADOW)
@click.option("--before", metavar="CURSOR", help="With --events: go on behind this call.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@json_option
@click.pass_context
def usage(context: click.Context, /, as_csv: bool, as_json: bool, **asked: Any) -> None:
    """What an account used; post and correct usage."""
    if context.invoked_subcommand is not None:
        return
    if asked["account"] is None and not asked["everybody"]:
        raise click.UsageError("Missing option '--account'. Everybody's usage: --all.")
    if asked["account"] is not None and asked["everybody"]:
        raise click.UsageError("Choose one of --account and --all.")
    if as_csv and as_json:
        raise click.UsageError("Choose one of --csv and --json.")
    if asked["events"] is not None:
        show_events(asked, as_csv=as_csv, as_json=as_json)
        return
    if any(asked[name] is not None for name in ("refused_by", "shadow", "before")):
        raise click.UsageError("--refused-by, --shadow and --before are about single calls: add --events N.")
    sums, rows = _read_sums(asked, quiet=as_json)
    if as_json:
        print_json(usage_document(sums, rows))
    elif as_csv:
        click.echo(csv_text(SUM_COLUMNS, sum_documents(rows)), nl=False)
    elif asked["group_by"] is not None:
        _show_groups(rows, sums)
    else:
        _show_sums(rows, sums)


usage.add_command(post)
usage.add_command(correct)
usage.add_command(entries)
usage.add_command(quota_events)


def _read_sums(asked: Mapping[str, Any], *, quiet: bool) -> tuple[Sums, list[UsageRow]]:
    question = _question(asked)
    _within(question, "UTC")  # what is wrong in any zone is told before anybody is looked up
    account, mode = asked["account"], None if asked["mode"] is None else Mode(asked["mode"])

    async def work(pool: Pool, settings: Settings) -> tuple[Sums, list[UsageRow]]:
        own_zone = "UTC"
        if account is not None:
            own_zone = (await Accounts(pool, settings.key_prefix).get_account(account)).time_zone
        sums = question.sums(account, _within(question, own_zone), mode)
        rows: list[UsageRow] = []
        following: str | None = None
        with steps("Reading sums", None, quiet=quiet) as tell:
            while True:
                page, following = await Usage(pool).page(sums, after=following)
                rows += page
                tell(len(rows))
                if following is None:
                    return sums, rows

    return with_database(work)


def _question(asked: Mapping[str, Any]) -> PagedSpan:
    names = {"start": "from", "end": "to", "by": "bucket"}
    same = ("time_zone", "meter", "route", "key", "outcome", "group_by")
    given = {names.get(name, name): asked[name] for name in (*names, *same) if asked[name] is not None}
    try:
        return PagedSpan.model_validate(
            {**given, "corrections": "exclude" if asked["no_corrections"] else "include"}
        )
    except ValidationError as error:
        wrong = (f"{one['loc'][0]}: {one['msg'].removeprefix('Value error, ')}" for one in error.errors())
        raise click.UsageError("; ".join(wrong)) from error


def _within(span: Span, own_zone: str) -> Bounds:
    try:
        return span.within(time.time_ns() // 1000, own_zone)
    except Problem as problem:
        errors: Any = problem.extensions["errors"]
        raise click.UsageError("; ".join(f"{one['field']} {one['message']}" for one in errors)) from problem


def _show_sums(rows: Sequence[UsageRow], sums: Sums) -> None:
    by = sums.bucket
    if not rows:
        click.echo("No calls in this time.")
        return
    calls: Counter[tuple[str, ...]] = Counter()
    units: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        bucket = _bucket(row, sums)
        if row.meter == CALLS and row.outcome not in NO_CALLS:
            calls[(*bucket, row.route or "", _mode(row), row.outcome or "")] += row.events
        units[(*bucket, row.meter, _mode(row))] += row.quantity
    head = (by.upper(),) if by else ()
    if calls:
        rows_of_calls = [(*what, count) for what, count in calls.items()]
        print_table((*head, "ROUTE", "MODE", "OUTCOME", "CALLS"), rows_of_calls)
        click.echo()
    print_table((*head, "METER", "MODE", "UNITS"), [(*what, count) for what, count in units.items()])


def _show_groups(rows: Sequence[UsageRow], sums: Sums) -> None:
    if not rows:
        click.echo("No calls in this time.")
        return
    by = [one for one in DIMENSIONS if one in sums.by]
    head = (sums.bucket.upper(),) if sums.bucket else ()
    heads = (*head, *(one.upper() for one in by), "METER", "UNITS", "CALLS")
    cells = []
    for row in rows:
        told = {"account": row.account, "key": row.key, "route": row.route, "outcome": row.outcome}
        told["mode"] = _mode(row)
        what = (*_bucket(row, sums), *(told[one] for one in by))
        cells.append((*what, row.meter, row.quantity, row.events))
    print_table(heads, cells)


def _bucket(row: UsageRow, sums: Sums) -> tuple[str, ...]:
    if sums.bucket is None or row.bucket_start is None:
        return ()
    return (row.bucket_start.astimezone(sums.zone).strftime(AS_SHOWN[sums.bucket]),)


def _mode(row: UsageRow) -> str:
    return "" if row.mode is None else row.mode.value
