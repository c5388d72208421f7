"""`tollway usage post` and `tollway usage correct`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TextIO, TypeVar

import click
from pydantic import ValidationError

from gateway.admission.open_counters import open_counters
from gateway.admission.posted import count_posted
from gateway.cli.database import with_stores
from gateway.cli.output import json_option, print_json
from gateway.cli.suggestions import complete_meters
from gateway.cli.times import Instant
from gateway.controlplane.entries_api import (
    CORRECTION_WINDOW,
    NewEvent,
    entry_document,
    new_entry,
    rules,
)
from gateway.errors import StartupError
from gateway.ledger.entries import Entries, EntriesRefused, Entry, Kind, NewEntry
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode
from gateway.policy.load import load_folder
from gateway.settings import Settings
from gateway.storage.postgres import Pool

REDIS_WITHIN_S = 5.0
F = TypeVar("F", bound=Callable[..., object])


def _entry_options(function: F) -> F:
    """What both commands take."""
    for option in (
        json_option,
        click.option(
            "--mode", type=click.Choice([mode.value for mode in Mode]), help="Else the key's, or live."
        ),
        click.option("--key", metavar="ID", help="Which key of the account used it."),
        click.option("--at", type=Instant(), metavar="TIME", help="When it happened.  [now]"),
        click.option("--id", metavar="ID", help="The same ID again books nothing.  [a new one]"),
        click.option("--quantity", type=int, metavar="N", help="So many units.  [required]"),
        click.option(
            "--meter",
            metavar="NAME",
            shell_complete=complete_meters,
            help="Units of this meter.  [required]",
        ),
        click.option("--account", metavar="ID", help="Whose usage, acct_...  [required]"),
    ):
        function = option(function)
    return function


@click.command()
@click.option(
    "--file", type=click.File(), help="Instead: one JSON object a line, as the API takes. `-`: stdin."
)
@_entry_options
def post(file: TextIO | None, as_json: bool, **given: Any) -> None:
    """Book usage that is no call: work that happened outside of a request.

    Give an --id when you might run it twice: the second time nothing is booked. Of a --file all lines are
    booked together, or none is.
    """
    if file is not None:
        if wrong := [f"--{name}" for name, value in given.items() if value is not None]:
            raise click.UsageError(f"--file has all of it; it does not go with {', '.join(wrong)}.")
        _show_all(_book([_of_line(line, number) for number, line in _lines(file)], Kind.POSTED), as_json)
        return
    _expect(given)
    if given["quantity"] < 1:
        raise click.UsageError(
            "--quantity must be at least 1. To take something back: tollway usage correct."
        )
    _show(_book([_wanted(given)], Kind.POSTED)[0], as_json)


@click.command()
@_entry_options
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the customer and the audit log.")
def correct(as_json: bool, **given: Any) -> None:
    """Add to what was booked, or with a negative --quantity take back from it.

    A correction is an entry of its own; nothing is edited. No more can be taken back than was booked in the
    billing period that --at is in.
    """
    _expect(given)
    reason = given["reason"]
    if not reason.strip() or len(reason) > 500 or not reason.isprintable():
        raise click.UsageError("--reason must have 1 to 500 printable characters.")
    _show(_book([_wanted(given)], Kind.CORRECTION)[0], as_json)


def _expect(given: Mapping[str, Any]) -> None:
    for name in ("account", "meter", "quantity"):
        if given[name] is None:
            raise click.UsageError(f"Missing option '--{name}'.")


def _lines(file: TextIO) -> list[tuple[int, str]]:
    found = [(number, line) for number, line in enumerate(file, 1) if line.strip()]
    if not found:
        raise click.UsageError("--file has no line.")
    return found


def _of_line(line: str, number: int) -> NewEntry:
    try:
        return new_entry(NewEvent.model_validate_json(line))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "it"
        raise StartupError(f"line {number}: {where}: {first['msg']}. Nothing was booked.") from None


def _wanted(given: Mapping[str, Any]) -> NewEntry:
    own_id = given["id"] or f"cli-{secrets.token_hex(12)}"
    if not (own_id.isascii() and own_id.isprintable() and " " not in own_id and len(own_id) <= 200):
        raise click.UsageError("--id must have 1 to 200 visible ASCII characters.")
    mode = None if given["mode"] is None else Mode(given["mode"])
    return NewEntry(**{**given, "id": own_id, "mode": mode})


def _book(wanted: list[NewEntry], kind: Kind) -> list[Entry]:
    async def work(pool: Pool, redis_url: str, settings: Settings) -> list[Entry]:
        policies = _policies(settings)
        days = timedelta(days=settings.usage_window_days)
        window = days if kind is Kind.POSTED else CORRECTION_WINDOW
        counting = await open_counters(redis_url, timeout_s=REDIS_WITHIN_S)
        try:
            async with pool.acquire() as connection, connection.transaction():
                allowed = rules(policies, datetime.now(UTC), window)
                booked = await Entries(connection).book(wanted, kind, allowed)
                await count_posted(counting.counters, policies.tiers, booked.new)
        except EntriesRefused as error:
            if len(wanted) == 1:
                raise StartupError(str(error)) from error
            told = [f"entry {one.index + 1}: {one.field}: {one.message}" for one in error.problems]
            raise StartupError("\n".join([*told, "Nothing was booked."])) from error
        finally:
            await counting.close()
        return list(booked.entries)

    return with_stores(work)


def _policies(settings: Settings) -> PolicySet:
    policies = load_folder(settings.policies).policies if settings.policies.is_dir() else None
    if policies is None:
        raise StartupError(
            f"{settings.policies} has no policies in order, and they say which meters there are. "
            "Set TOLLWAY_POLICIES, or see what `tollway check` says."
        )
    return policies


def _show_all(booked: list[Entry], as_json: bool) -> None:
    if as_json:
        print_json({"data": [entry_document(one) for one in booked]})
        return
    for one in booked:
        _show(one, as_json=False)


def _show(entry: Entry, as_json: bool) -> None:
    if as_json:
        print_json(dict(entry_document(entry)))
        return
    at = entry.happened_at.strftime("%Y-%m-%d %H:%M")
    click.echo(f"{entry.id}: {entry.quantity:+,} {entry.meter} of {entry.account} at {at} UTC")
