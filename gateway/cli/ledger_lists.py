"""`tollway usage entries` and `tollway usage quota-events`."""

from __future__ import annotations

import click

from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.lists import newest_first, show_page
from gateway.controlplane.entries_api import entry_document
from gateway.controlplane.quota_events_api import quota_event_document
from gateway.ledger.entries import Entries, Entry, Kind
from gateway.ledger.quota_events import QuotaEvent, QuotaEvents
from gateway.model.principal import Mode
from gateway.settings import Settings
from gateway.storage.postgres import Pool


@click.command()
@click.option("--account", metavar="ID", help="Only of this account, acct_...")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="Only of this kind.")
@newest_first()
def entries(account: str | None, kind: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """List posted usage and corrections, the last booked first."""

    async def work(pool: Pool, settings: Settings) -> list[Entry]:
        if account is not None:
            await Accounts(pool, settings.key_prefix).get_account(account)
        async with pool.acquire() as connection:
            wanted = None if kind is None else Kind(kind)
            return await Entries(connection).page(limit, before=before, account=account, kind=wanted)

    found = with_database(work)
    heads = ("N", "BOOKED (UTC)", "ID", "KIND", "ACCOUNT", "METER", "UNITS", "AT (UTC)", "AUTHOR", "REASON")
    show_page(
        [entry_document(one) for one in found],
        found[-1].number if len(found) == limit else None,
        lambda: (heads, [_entry_cells(one) for one in found]),
        as_json=as_json,
        option="--before",
    )


@click.command("quota-events")
@click.option("--account", metavar="ID", help="Only of this account, acct_...")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), help="Only of keys in this mode.")
@newest_first()
def quota_events(
    account: str | None, mode: str | None, limit: int, before: int | None, as_json: bool
) -> None:
    """List thresholds of quotas that accounts reached, newest first."""

    async def work(pool: Pool, settings: Settings) -> list[QuotaEvent]:
        if account is not None:
            await Accounts(pool, settings.key_prefix).get_account(account)
        return await QuotaEvents(pool).page(limit, before, account, None if mode is None else Mode(mode))

    found = with_database(work)
    heads = ("N", "AT (UTC)", "ACCOUNT", "MODE", "QUOTA", "REACHED", "USED", "OF", "PERIOD (UTC)")
    show_page(
        [quota_event_document(one) for one in found],
        found[-1].id if len(found) == limit else None,
        lambda: (heads, [_event_cells(one) for one in found]),
        as_json=as_json,
        option="--before",
    )


def _entry_cells(one: Entry) -> tuple[object, ...]:
    what = str(one.number), one.booked_at, one.id, one.kind.value, one.account, one.meter
    return (*what, one.quantity, one.happened_at, one.author, one.reason)


def _event_cells(one: QuotaEvent) -> tuple[object, ...]:
    what = str(one.id), one.at, one.account, one.mode.value, one.quota, f"{one.threshold} %"
    return (*what, one.used, one.amount, one.period_start)
