"""`tollway account ...`"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any, TypeVar

import click

from gateway.accounts.checks import STATUSES
from gateway.accounts.records import Account, AccountChanges, AccountDetails
from gateway.accounts.store import Accounts
from gateway.admission.moved import count_moved
from gateway.admission.open_counters import open_counters
from gateway.cli.database import with_database, with_stores
from gateway.cli.lists import paged, show_page
from gateway.cli.output import json_option, print_facts, print_json
from gateway.cli.overrides import override
from gateway.cli.period import period
from gateway.cli.suggestions import complete_tiers
from gateway.cli.times import NO_DAY, Day
from gateway.controlplane import wording
from gateway.errors import TollwayError
from gateway.policy.load import load_folder
from gateway.settings import Settings
from gateway.storage.postgres import Pool, transaction


class UnknownTier(TollwayError):
    """The policies have no such tier."""


F = TypeVar("F", bound=Callable[..., object])


def _details(function: F) -> F:
    """What accounts have beside name and tier, as options."""
    about_anchor = "The day that periods are counted from, like 2026-01-31; none: as calendars do."
    about_metadata = "NAME= alone deletes it; several times."
    about_status = "Accounts that are active or past due may call."
    for option in (
        json_option,
        click.option("--metadata", multiple=True, metavar="NAME=VALUE", help=about_metadata),
        click.option("--internal/--not-internal", default=None, help="Of your own: never billed."),
        click.option("--time-zone", help="Like Europe/Berlin."),
        click.option("--billing-anchor", type=Day(), help=about_anchor),
        click.option("--status", type=click.Choice(STATUSES), help=about_status),
    ):
        function = option(function)
    return function


@click.group()
def account() -> None:
    """Create, list, show, change accounts."""


account.add_command(override)
account.add_command(period)


@account.command()
@click.option("--name", required=True, help="For people; any text.")
@click.option("--tier", required=True, shell_complete=complete_tiers, help="A tier of the policies.")
@click.option("--external-id", help="What you call this account elsewhere; unique.")
@_details
def create(name: str, tier: str, external_id: str | None, as_json: bool, **given: Any) -> None:
    """Create an account."""
    anchor, pairs = given["billing_anchor"], _pairs(given["metadata"])
    details = AccountDetails(
        status=given["status"] or AccountDetails().status,
        billing_anchor=anchor if isinstance(anchor, date) else None,
        time_zone=given["time_zone"] or AccountDetails().time_zone,
        internal=bool(given["internal"]),
        metadata={name: value for name, value in pairs.items() if value is not None},
    )

    async def work(pool: Pool, settings: Settings) -> Account:
        expect_tier(settings, tier)
        store = Accounts(pool, settings.key_prefix)
        return await store.create_account(name, tier, external_id=external_id, details=details)

    show(with_database(work), as_json)


@account.command("list")
@click.option("--tier", shell_complete=complete_tiers, help="Only accounts of this tier.")
@click.option("--status", type=click.Choice(STATUSES), help="Only accounts in this status.")
@paged(after="account")
def list_(tier: str | None, status: str | None, limit: int, after: str | None, as_json: bool) -> None:
    """List accounts, oldest first."""

    async def work(pool: Pool, settings: Settings) -> list[Account]:
        store = Accounts(pool, settings.key_prefix)
        return await store.list_accounts(after=after, limit=limit, tier=tier, status=status)

    found = with_database(work)
    heads = ("ID", "NAME", "TIER", "STATUS", "CREATED (UTC)")
    show_page(
        [wording.account(one) for one in found],
        found[-1].public_id if len(found) == limit else None,
        lambda: (heads, [(one.public_id, one.name, one.tier, one.status, one.created_at) for one in found]),
        as_json=as_json,
    )


@account.command("show")
@click.argument("id", required=False)
@click.option("--external-id", help="Instead of ID: what you call the account elsewhere.")
@json_option
def show_(id: str | None, external_id: str | None, as_json: bool) -> None:  # noqa: A002 - as it is shown
    """Show one account."""
    if (id is None) is (external_id is None):
        raise click.UsageError("Give the account's ID, or --external-id.")

    async def work(pool: Pool, settings: Settings) -> Account:
        store = Accounts(pool, settings.key_prefix)
        return await (store.get_account(id) if id is not None else store.find_account(str(external_id)))

    show(with_database(work), as_json)


@account.command("set-tier")
@click.argument("id")
@click.argument("tier", shell_complete=complete_tiers)
@json_option
def set_tier(id: str, tier: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Move an account to another tier. Gateways know within a second."""

    show(_move(id, AccountChanges(tier=tier)), as_json)


@account.command("set")
@click.argument("id")
@click.option("--name", help="For people; any text.")
@_details
def set_(
    id: str,  # noqa: A002 - the argument's name on the command line
    name: str | None,
    billing_anchor: date | str | None,
    time_zone: str | None,
    metadata: tuple[str, ...],
    as_json: bool,
    **given: Any,
) -> None:
    """Change what is given; the rest stays."""
    changes = AccountChanges(
        name=name,
        billing_anchor=billing_anchor if isinstance(billing_anchor, date) else None,
        drop_billing_anchor=billing_anchor == NO_DAY,
        time_zone=time_zone,
        metadata=_pairs(metadata) or None,
        **given,
    )
    if changes == AccountChanges():
        raise click.UsageError("Say what to change: --name, --status, --metadata, ...")
    if billing_anchor is not None or time_zone is not None:
        show(_move(id, changes), as_json)
        return

    async def work(pool: Pool, settings: Settings) -> Account:
        return await Accounts(pool, settings.key_prefix).change_account(id, changes)

    show(with_database(work), as_json)


def _move(public_id: str, changes: AccountChanges) -> Account:
    """Change an account to other quotas or periods; their counters have what was used before anybody asks."""

    async def work(pool: Pool, redis_url: str, settings: Settings) -> Account:
        policies = load_folder(settings.policies).policies if settings.policies.is_dir() else None
        if changes.tier is not None:
            expect_tier(settings, changes.tier)
        counting = await open_counters(redis_url)
        try:
            async with transaction(pool) as connection:
                accounts = Accounts(connection, settings.key_prefix)
                before = await accounts.lock_account(public_id)
                changed = await accounts.change_account(public_id, changes)
                if policies is not None:
                    await count_moved(counting.counters, connection, policies, before, changed)
        finally:
            await counting.close()
        return changed

    return with_stores(work)


@account.command()
@click.argument("id")
@json_option
def suspend(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Refuse an account's calls until it is active again."""
    _set_status(id, "suspended", as_json)


@account.command()
@click.argument("id")
@json_option
def activate(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Let a suspended account call again."""
    _set_status(id, "active", as_json)


def _set_status(public_id: str, status: str, as_json: bool) -> None:
    async def work(pool: Pool, settings: Settings) -> Account:
        return await Accounts(pool, settings.key_prefix).set_status(public_id, status)

    show(with_database(work), as_json)


def _pairs(metadata: tuple[str, ...]) -> dict[str, str | None]:
    """NAME=VALUE by name; NAME= is None."""
    if wrong := [pair for pair in metadata if "=" not in pair]:
        raise click.UsageError(f"--metadata {wrong[0]}: give NAME=VALUE.")
    return {one.partition("=")[0]: one.partition("=")[2] or None for one in metadata}


def expect_tier(settings: Settings, tier: str) -> None:
    """UnknownTier if there are policies to look into and they have no such tier."""
    policies = load_folder(settings.policies).policies if settings.policies.is_dir() else None
    if policies is None:
        click.echo(
            f"Not checked whether there is a tier {tier}: {settings.policies} has no policies in order.",
            err=True,
        )
    elif tier not in policies.tiers:
        raise UnknownTier(f"There is no tier {tier} in {settings.policies}: {', '.join(policies.tiers)}.")


def show(one: Account, as_json: bool) -> None:
    """The account, for people or scripts."""
    told = wording.account(one)
    if as_json:
        print_json(told)
    else:
        print_facts(told)
