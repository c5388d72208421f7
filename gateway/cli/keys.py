"""`tollway key ...`"""

from __future__ import annotations

from datetime import UTC, datetime

import click

from gateway.accounts.store import Accounts, ApiKey
from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.controlplane import wording
from gateway.model.principal import Mode
from gateway.settings import Settings
from gateway.storage.postgres import Pool

OVERLAP_MAX_S = 365 * 86400


@click.group()
def key() -> None:
    """Create, list, rotate, revoke API keys."""


@key.command()
@click.option("--account", required=True, metavar="ID", help="Whose key, acct_...")
@click.option("--name", default="", help="For people; any text.")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in Mode]),
    default=Mode.LIVE.value,
    show_default=True,
    help="Calls with test keys are limited alike but never billed.",
)
@json_option
def create(account: str, name: str, mode: str, as_json: bool) -> None:
    """Create a key and print its secret, this once."""

    async def work(pool: Pool, settings: Settings) -> tuple[ApiKey, str]:
        return await Accounts(pool, settings.key_prefix).create_key(account, name, Mode(mode))

    _show_secret(*with_database(work), as_json=as_json)


@key.command("list")
@click.option("--account", required=True, metavar="ID", help="Whose keys, acct_...")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
@click.option("--after", metavar="ID", help="Go on behind this key.")
@json_option
def list_(account: str, limit: int, after: str | None, as_json: bool) -> None:
    """List an account's keys, oldest first, ended ones too."""

    async def work(pool: Pool, settings: Settings) -> list[ApiKey]:
        return await Accounts(pool, settings.key_prefix).list_keys(account, after=after, limit=limit)

    found = with_database(work)
    more = found[-1].public_id if len(found) == limit else None
    if as_json:
        print_json({"data": [wording.key(one) for one in found], "next": more})
        return
    rows = [
        (one.public_id, f"{one.visible}...{one.last_four}", one.name, _state(one), one.created_at)
        for one in found
    ]
    print_table(("ID", "KEY", "NAME", "STATE", "CREATED (UTC)"), rows)
    if more:
        click.echo(f"There may be more: --after {more}", err=True)


@key.command()
@click.argument("id")
@json_option
def revoke(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """End a key for good. Gateways know within a second."""

    async def work(pool: Pool, settings: Settings) -> ApiKey:
        return await Accounts(pool, settings.key_prefix).revoke_key(id)

    told = wording.key(with_database(work))
    if as_json:
        print_json(told)
    else:
        print_facts(told)


@key.command()
@click.argument("id")
@click.option(
    "--overlap-s",
    type=click.IntRange(0, OVERLAP_MAX_S),
    default=86400,
    show_default=True,
    help="Seconds that the old key goes on working.",
)
@json_option
def rotate(id: str, overlap_s: int, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Create a key's successor and print its secret, this once."""

    async def work(pool: Pool, settings: Settings) -> tuple[ApiKey, str]:
        return await Accounts(pool, settings.key_prefix).rotate_key(id, overlap_s)

    _show_secret(*with_database(work), as_json=as_json)


def _show_secret(made: ApiKey, secret: str, *, as_json: bool) -> None:
    told = {**wording.key(made), "secret": secret}
    if as_json:
        print_json(told)
    else:
        print_facts(told)
        click.echo("Keep the secret now: it is stored nowhere and is not shown again.", err=True)


def _state(one: ApiKey) -> str:
    if one.revoked_at is not None:
        return "revoked"
    if one.expires_at is None:
        return "works"
    return "expired" if one.expires_at <= datetime.now(UTC) else f"ends {one.expires_at:%Y-%m-%d %H:%M}"
