"""`tollway usage post` and `tollway usage correct`."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import click

from gateway.admission.open_counters import open_counters
from gateway.admission.posted import count_posted
from gateway.cli.database import with_stores
from gateway.cli.output import json_option, print_json
from gateway.cli.times import Instant
from gateway.controlplane.entries_api import CORRECTION_WINDOW, entry_document, rules
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
        click.option("--quantity", required=True, type=int, metavar="N", help="So many units."),
        click.option("--meter", required=True, metavar="NAME", help="Units of this meter."),
        click.option("--account", required=True, metavar="ID", help="Whose usage, acct_..."),
    ):
        function = option(function)
    return function


@click.command()
@_entry_options
def post(as_json: bool, **given: Any) -> None:
    """Book usage that is no call: work that happened outside of a request.

    Give an --id when you might run it twice: the second time nothing is booked.
    """
    if given["quantity"] < 1:
        raise click.UsageError(
            "--quantity must be at least 1. To take something back: tollway usage correct."
        )
    _show(_book(_wanted(given), Kind.POSTED), as_json)


@click.command()
@_entry_options
@click.option("--reason", required=True, metavar="TEXT", help="Why, for the customer and the audit log.")
def correct(as_json: bool, **given: Any) -> None:
    """Add to what was booked, or with a negative --quantity take back from it.

    A correction is an entry of its own; nothing is edited. No more can be taken back than was booked in the
    billing period that --at is in.
    """
    reason = given["reason"]
    if not reason.strip() or len(reason) > 500 or not reason.isprintable():
        raise click.UsageError("--reason must have 1 to 500 printable characters.")
    _show(_book(_wanted(given), Kind.CORRECTION), as_json)


def _wanted(given: Mapping[str, Any]) -> NewEntry:
    own_id = given["id"] or f"cli-{secrets.token_hex(12)}"
    if not (own_id.isascii() and own_id.isprintable() and " " not in own_id and len(own_id) <= 200):
        raise click.UsageError("--id must have 1 to 200 visible ASCII characters.")
    mode = None if given["mode"] is None else Mode(given["mode"])
    return NewEntry(**{**given, "id": own_id, "mode": mode})


def _book(wanted: NewEntry, kind: Kind) -> Entry:
    async def work(pool: Pool, redis_url: str, settings: Settings) -> Entry:
        policies = _policies(settings)
        days = timedelta(days=settings.usage_window_days)
        window = days if kind is Kind.POSTED else CORRECTION_WINDOW
        counting = await open_counters(redis_url, timeout_s=REDIS_WITHIN_S)
        try:
            async with pool.acquire() as connection, connection.transaction():
                allowed = rules(policies, datetime.now(UTC), window)
                booked = await Entries(connection).book([wanted], kind, allowed)
                await count_posted(counting.counters, policies.tiers, booked.new)
        except EntriesRefused as error:
            raise StartupError(str(error)) from error
        finally:
            await counting.close()
        return booked.entries[0]

    return with_stores(work)


def _policies(settings: Settings) -> PolicySet:
    policies = load_folder(settings.policies).policies if settings.policies.is_dir() else None
    if policies is None:
        raise StartupError(
            f"{settings.policies} has no policies in order, and they say which meters there are. "
            "Set TOLLWAY_POLICIES, or see what `tollway check` says."
        )
    return policies


def _show(entry: Entry, as_json: bool) -> None:
    if as_json:
        print_json(dict(entry_document(entry)))
        return
    at = entry.happened_at.strftime("%Y-%m-%d %H:%M")
    click.echo(f"{entry.id}: {entry.quantity:+,} {entry.meter} of {entry.account} at {at} UTC")
