"""`tollway key ...`"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TextIO

import click

from gateway.accounts.records import ApiKey, KeyLimits
from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.controlplane import wording
from gateway.model.principal import Mode
from gateway.settings import Settings
from gateway.storage.postgres import Pool, transaction

OVERLAP_MAX_S = 365 * 86400


@click.group()
def key() -> None:
    """Create, import, list, rotate, revoke API keys."""


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
@click.option("--days", type=click.IntRange(1, 3650), help="How long it works; without: until it is revoked.")
@click.option("--route", "routes", multiple=True, metavar="NAME", help="Only for this route; several times.")
@click.option("--method", "methods", multiple=True, help="Only for this method; several times.")
@click.option("--network", "networks", multiple=True, metavar="CIDR", help="Only from there; several times.")
@click.option("--scope", "scopes", multiple=True, help="With this scope; several times; without: all scopes.")
@json_option
def create(
    *,
    account: str,
    name: str,
    mode: str,
    days: int | None,
    routes: tuple[str, ...],
    methods: tuple[str, ...],
    networks: tuple[str, ...],
    scopes: tuple[str, ...],
    as_json: bool,
) -> None:
    """Create a key and print its secret, this once."""
    limits = KeyLimits(
        expires_in_s=None if days is None else days * 86400,
        only_routes=routes,
        only_methods=tuple(method.upper() for method in methods),
        only_networks=networks,
        scopes=scopes or None,
    )

    async def work(pool: Pool, settings: Settings) -> tuple[ApiKey, str]:
        return await Accounts(pool, settings.key_prefix).create_key(account, name, Mode(mode), limits)

    _show_secret(*with_database(work), as_json=as_json)


@key.command("import")
@click.option("--account", required=True, metavar="ID", help="Whose key, acct_...")
@click.option("--sha256", "digests", multiple=True, metavar="HEX", help="SHA-256 of a secret; several times.")
@click.option("--file", type=click.File(), help="One SHA-256 a line; `#` begins a comment. `-`: stdin.")
@click.option("--name", default="", help="For people; any text.")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), default=Mode.LIVE.value)
@json_option
def import_(
    account: str,
    digests: tuple[str, ...],
    file: TextIO | None,
    name: str,
    mode: str,
    as_json: bool,
) -> None:
    """Import keys made elsewhere, by their SHA-256: all of them or none."""
    wanted = [_digest(text, f"--sha256 {number}") for number, text in enumerate(digests, 1)]
    for number, line in enumerate(file or (), 1):
        if text := line.partition("#")[0].strip():
            wanted.append(_digest(text, f"line {number}"))
    if not wanted:
        raise click.UsageError("Give --sha256 or --file with at least one SHA-256.")

    async def work(pool: Pool, settings: Settings) -> list[ApiKey]:
        async with transaction(pool) as connection:
            accounts = Accounts(connection, settings.key_prefix)
            return [await accounts.import_digest(account, one, name, Mode(mode)) for one in wanted]

    imported = with_database(work)
    if as_json:
        print_json({"data": [wording.key(one) for one in imported]})
    else:
        print_table(("ID", "STATE"), [(one.public_id, _state(one)) for one in imported])
        click.echo("Gateways accept them while TOLLWAY_FOREIGN_KEYS is `yes`.", err=True)


def _digest(text: str, where: str) -> bytes:
    """32 bytes; the message never repeats the text, which may be a secret after all."""
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise click.UsageError(f"{where} is not a SHA-256 of 64 hexadecimal digits.")
    return digest


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
        (one.public_id, _shown(one), one.name, _state(one), one.last_used_at, one.created_at) for one in found
    ]
    print_table(("ID", "KEY", "NAME", "STATE", "LAST USED (UTC)", "CREATED (UTC)"), rows)
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


def _shown(one: ApiKey) -> str:
    return f"{one.visible}...{one.last_four}" if one.visible is not None else "imported"


def _state(one: ApiKey) -> str:
    if one.revoked_at is not None:
        return "revoked"
    if one.expires_at is None:
        return "works"
    return "expired" if one.expires_at <= datetime.now(UTC) else f"ends {one.expires_at:%Y-%m-%d %H:%M}"
