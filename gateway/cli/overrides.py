"""`tollway account override ...`"""

from __future__ import annotations

import click

from gateway.accounts.idle_overrides import check_there_is, warnings
from gateway.accounts.overrides import Overrides, StoredOverride, limit_override, quota_override
from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_json, print_table
from gateway.cli.snapshot import policies_in_use
from gateway.cli.suggestions import complete_limits
from gateway.controlplane.overrides_api import overrides_document
from gateway.model.policies import Tier
from gateway.settings import Settings
from gateway.storage.postgres import Pool

Told = tuple[list[StoredOverride], Tier | None]


@click.group()
def override() -> None:
    """Special deals: other limits or quotas for one account, caps for one key."""


@override.command("set")
@click.argument("id")
@click.argument("name", shell_complete=complete_limits)
@click.option("--rate", help="Of a limit, like 600/minute; with --burst.")
@click.option("--burst", type=int, help="Of a limit: the most calls at once.")
@click.option("--amount", type=int, help="Of a quota: units per period.")
@click.option("--key", help="Only this key of the account: a cap within the account's limits.")
@json_option
def set_(
    id: str,  # noqa: A002 - the argument's name on the command line
    name: str,
    rate: str | None,
    burst: int | None,
    amount: int | None,
    key: str | None,
    as_json: bool,
) -> None:
    """Other figures for the limit or quota NAME of an account. Gateways know within a second."""
    if amount is not None and rate is None and burst is None and key is None:
        wanted = quota_override(name, amount)
    elif rate is not None and burst is not None and amount is None:
        wanted = limit_override(name, rate, burst, of_key=key is not None)
    else:
        raise click.UsageError(
            "Give --rate and --burst for a limit, or --amount alone for an account's quota."
        )

    async def work(pool: Pool, settings: Settings) -> Told:
        store = _store(pool, settings)
        check_there_is(wanted, policies_in_use(settings))
        await store.set(id, wanted, key)
        return await _all(pool, settings, id)

    _show(with_database(work), as_json)


@override.command("list")
@click.argument("id")
@click.option("--key", help="Only those of this key.")
@json_option
def list_(id: str, key: str | None, as_json: bool) -> None:  # noqa: A002 - as it is shown
    """List the overrides of an account and its keys."""

    async def work(pool: Pool, settings: Settings) -> Told:
        found, tier = await _all(pool, settings, id)
        return [one for one in found if key in (None, one.key)], tier

    _show(with_database(work), as_json)


@override.command()
@click.argument("id")
@click.argument("name")
@click.option("--key", help="The override of this key.")
@json_option
def clear(id: str, name: str, key: str | None, as_json: bool) -> None:  # noqa: A002 - as above
    """Go back to what the tier says. Gateways know within a second."""

    async def work(pool: Pool, settings: Settings) -> Told:
        await _store(pool, settings).clear(id, name, key)
        return await _all(pool, settings, id)

    _show(with_database(work), as_json)


def _store(pool: Pool, settings: Settings) -> Overrides:
    return Overrides(pool, Accounts(pool, settings.key_prefix))


async def _all(pool: Pool, settings: Settings, account: str) -> Told:
    found = await _store(pool, settings).list(account)
    tier = (await Accounts(pool, settings.key_prefix).get_account(account)).tier
    return found, policies_in_use(settings).tiers.get(tier)


def _show(told: Told, as_json: bool) -> None:
    found, tier = told
    if as_json:
        print_json(overrides_document(found, tier))
        return
    for warning in warnings(found, tier):
        click.echo(warning, err=True)
    heads = ("NAME", "KEY", "RATE", "BURST", "AMOUNT", "SINCE (UTC)")
    rows = [(one.name, one.key, one.rate, one.burst, one.amount, one.created_at) for one in found]
    print_table(heads, rows)
