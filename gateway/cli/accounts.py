"""`tollway account ...`"""

from __future__ import annotations

from datetime import date

import click

from gateway.accounts.checks import STATUSES
from gateway.accounts.records import Account, AccountChanges
from gateway.accounts.store import Accounts
from gateway.admission.moved import count_moved
from gateway.admission.open_counters import open_counters
from gateway.cli.database import with_database, with_stores
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.cli.overrides import override
from gateway.controlplane import wording
from gateway.errors import TollwayError
from gateway.policy.load import load_folder
from gateway.settings import Settings
from gateway.storage.postgres import Pool, transaction


class UnknownTier(TollwayError):
    """The policies have no such tier."""


NO_ANCHOR = "none"


class AnchorType(click.ParamType[date | str]):
    """A date, or `none`."""

    name = "date"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> date | str:
        """The date, or `NO_ANCHOR`."""
        if value == NO_ANCHOR:
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail("must be a date like 2026-01-31, or none", param, ctx)


@click.group()
def account() -> None:
    """Create, list, change accounts."""


account.add_command(override)


@account.command()
@click.option("--name", required=True, help="For people; any text.")
@click.option("--tier", required=True, help="A tier of the policies.")
@click.option("--external-id", help="What you call this account elsewhere; unique.")
@json_option
def create(name: str, tier: str, external_id: str | None, as_json: bool) -> None:
    """Create an account."""

    async def work(pool: Pool, settings: Settings) -> Account:
        expect_tier(settings, tier)
        store = Accounts(pool, settings.key_prefix)
        return await store.create_account(name, tier, external_id=external_id)

    show(with_database(work), as_json)


@account.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
@click.option("--after", metavar="ID", help="Go on behind this account.")
@json_option
def list_(limit: int, after: str | None, as_json: bool) -> None:
    """List accounts, oldest first."""

    async def work(pool: Pool, settings: Settings) -> list[Account]:
        return await Accounts(pool, settings.key_prefix).list_accounts(after=after, limit=limit)

    found = with_database(work)
    more = found[-1].public_id if len(found) == limit else None
    if as_json:
        print_json({"data": [wording.account(one) for one in found], "next": more})
        return
    heads = ("ID", "NAME", "TIER", "STATUS", "CREATED (UTC)")
    print_table(heads, [(one.public_id, one.name, one.tier, one.status, one.created_at) for one in found])
    if more:
        click.echo(f"There may be more: --after {more}", err=True)


@account.command("set-tier")
@click.argument("id")
@click.argument("tier")
@json_option
def set_tier(id: str, tier: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Move an account to another tier. Gateways know within a second."""

    show(_move(id, AccountChanges(tier=tier)), as_json)


@account.command("set")
@click.argument("id")
@click.option("--name", help="For people; any text.")
@click.option("--status", type=click.Choice(STATUSES), help="Accounts that are active or past due may call.")
@click.option(
    "--billing-anchor",
    type=AnchorType(),
    help="The day that periods are counted from, like 2026-01-31; none: as calendars do.",
)
@click.option("--time-zone", help="Like Europe/Berlin.")
@click.option("--internal/--not-internal", default=None, help="Of your own: never billed.")
@click.option(
    "--metadata", multiple=True, metavar="NAME=VALUE", help="NAME= alone deletes it; several times."
)
@json_option
def set_(
    id: str,  # noqa: A002 - the argument's name on the command line
    name: str | None,
    status: str | None,
    billing_anchor: date | str | None,
    time_zone: str | None,
    internal: bool | None,
    metadata: tuple[str, ...],
    as_json: bool,
) -> None:
    """Change what is given; the rest stays."""
    if wrong := [pair for pair in metadata if "=" not in pair]:
        raise click.UsageError(f"--metadata {wrong[0]}: give NAME=VALUE.")
    pairs = {one.partition("=")[0]: one.partition("=")[2] or None for one in metadata}
    changes = AccountChanges(
        name=name,
        status=status,
        billing_anchor=billing_anchor if isinstance(billing_anchor, date) else None,
        drop_billing_anchor=billing_anchor == NO_ANCHOR,
        time_zone=time_zone,
        internal=internal,
        metadata=pairs or None,
    )

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
        pairs = ", ".join(f"{name}={value}" for name, value in told["metadata"].items())
        print_facts({**told, "metadata": pairs})
