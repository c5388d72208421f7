"""`tollway key ...`"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TextIO, TypeVar

import click

from gateway.accounts.keys import digest
from gateway.accounts.reach import check_reach
from gateway.accounts.records import ApiKey, KeyChanges, KeyLimits
from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.key_tables import hash_, load
from gateway.cli.lists import paged, show_page, state_option
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.cli.progress import progress
from gateway.cli.snapshot import policies_in_use
from gateway.cli.suggestions import complete_routes, complete_scopes
from gateway.controlplane import wording
from gateway.model.principal import Mode
from gateway.settings import Settings
from gateway.storage.postgres import Pool, transaction

DAY_S = 86_400
OVERLAP_MAX_S = 365 * DAY_S
HEADS = ("ID", "KEY", "NAME", "STATE", "MODE", "LAST USED (UTC)", "CREATED (UTC)")
F = TypeVar("F", bound=Callable[..., object])


_scope = partial(click.option, "--scope", "scopes", multiple=True, shell_complete=complete_scopes)
_network = partial(click.option, "--network", "networks", multiple=True, metavar="CIDR")
_not_network = partial(click.option, "--not-network", "not_networks", multiple=True, metavar="CIDR")
_method = partial(click.option, "--method", "methods", multiple=True)
_route = partial(
    click.option, "--route", "routes", multiple=True, metavar="NAME", shell_complete=complete_routes
)


def _made_of(function: F) -> F:
    """What a key is made of, as options."""
    modes = click.Choice([mode.value for mode in Mode])
    about_mode = "Calls with test keys are limited alike but never billed."
    about_days = "How long it works; without: until it is revoked."
    for option in (
        json_option,
        _scope(help="With this scope; several times; without: all scopes."),
        _not_network(help="Not from there, even if --network has it; several times."),
        _network(help="Only from there; several times."),
        _method(help="Only for this method; several times."),
        _route(help="Only for this route; several times."),
        click.option("--days", type=click.IntRange(1, 3650), help=about_days),
        click.option("--mode", type=modes, default=Mode.LIVE.value, show_default=True, help=about_mode),
        click.option("--name", default="", help="For people; any text."),
        click.option("--account", required=True, metavar="ID", help="Whose key, acct_..."),
    ):
        function = option(function)
    return function


@click.group()
def key() -> None:
    """Create, import, list, show, change, rotate, revoke API keys."""


key.add_command(load)
key.add_command(hash_)


@key.command()
@_made_of
def create(account: str, name: str, mode: str, as_json: bool, **given: Any) -> None:
    """Create a key and print its secret, this once."""
    limits = _limits(given)

    async def work(pool: Pool, settings: Settings) -> tuple[ApiKey, str]:
        _check_reach(limits, settings)
        return await Accounts(pool, settings.key_prefix).create_key(account, name, Mode(mode), limits)

    _show_secret(*with_database(work), as_json=as_json)


@key.command("import")
@click.option("--sha256", "digests", multiple=True, metavar="HEX", help="SHA-256 of a secret; several times.")
@click.option("--file", type=click.File(), help="One SHA-256 a line; `#` begins a comment. `-`: stdin.")
@click.option("--secrets", is_flag=True, help="Keys themselves on stdin, one a line: hashed, not kept.")
@_made_of
def import_(
    digests: tuple[str, ...],
    file: TextIO | None,
    secrets: bool,
    account: str,
    name: str,
    mode: str,
    as_json: bool,
    **given: Any,
) -> None:
    """Import keys made elsewhere, by their SHA-256: all of them or none. `load` takes whole tables."""
    limits = _limits(given)
    wanted = [_digest(text, f"--sha256 {number}") for number, text in enumerate(digests, 1)]
    for number, line in enumerate(file or (), 1):
        if text := line.partition("#")[0].strip():
            wanted.append(_digest(text, f"line {number}"))
    if secrets:
        wanted += [digest(line.strip().encode()) for line in sys.stdin if line.strip()]
    if not wanted:
        raise click.UsageError("Give --sha256 or --file with at least one SHA-256, or --secrets.")

    async def work(pool: Pool, settings: Settings) -> list[ApiKey]:
        _check_reach(limits, settings)
        async with transaction(pool) as connection:
            accounts = Accounts(connection, settings.key_prefix)
            with progress("Importing keys", wanted, quiet=as_json) as each:
                return [await accounts.import_digest(account, one, name, Mode(mode), limits) for one in each]

    imported = with_database(work)
    if as_json:
        print_json({"data": [wording.key(one) for one in imported]})
    else:
        print_table(("ID", "STATE"), [(one.public_id, _state(one)) for one in imported])
        click.echo("Gateways accept them while TOLLWAY_FOREIGN_KEYS is `yes`.", err=True)


def _digest(text: str, where: str) -> bytes:
    """32 bytes; the message never repeats the text, which may be a secret after all."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise click.UsageError(f"{where} is not a SHA-256 of 64 hexadecimal digits.")
    return found


@key.command("list")
@click.option("--account", required=True, metavar="ID", help="Whose keys, acct_...")
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), help="Only keys in this mode.")
@state_option
@paged(after="key")
def list_(
    account: str, mode: str | None, state: str | None, limit: int, after: str | None, as_json: bool
) -> None:
    """List an account's keys, oldest first, ended ones too."""

    async def work(pool: Pool, settings: Settings) -> list[ApiKey]:
        store, wanted = Accounts(pool, settings.key_prefix), None if mode is None else Mode(mode)
        return await store.list_keys(account, after=after, limit=limit, mode=wanted, state=state)

    found = with_database(work)
    show_page(
        [wording.key(one) for one in found],
        found[-1].public_id if len(found) == limit else None,
        lambda: (HEADS, [_cells(one) for one in found]),
        as_json=as_json,
    )


@key.command("show")
@click.argument("id")
@json_option
def show_(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Show one key, without its secret."""

    async def work(pool: Pool, settings: Settings) -> ApiKey:
        return await Accounts(pool, settings.key_prefix).get_key(id)

    _show(with_database(work), as_json)


_OPPOSITES = {
    "--never-expires": ("never_expires", "--days", "days"),
    "--any-route": ("any_route", "--route", "routes"),
    "--any-method": ("any_method", "--method", "methods"),
    "--any-network": ("any_network", "--network", "networks"),
    "--no-not-network": ("no_not_network", "--not-network", "not_networks"),
    "--all-scopes": ("all_scopes", "--scope", "scopes"),
}


def _changed_by(function: F) -> F:
    """What may change of a key, as options."""
    for option in (
        json_option,
        click.option("--all-scopes", is_flag=True, help="With all scopes."),
        _scope(help="With these scopes alone."),
        click.option("--no-not-network", is_flag=True, help="No network is left out."),
        _not_network(help="Not from there, even if --network has it."),
        click.option("--any-network", is_flag=True, help="From anywhere but --not-network."),
        _network(help="Only from there."),
        click.option("--any-method", is_flag=True, help="For all methods."),
        _method(help="Only for these methods."),
        click.option("--any-route", is_flag=True, help="For all routes."),
        _route(help="Only for these routes."),
        click.option("--never-expires", is_flag=True, help="It works until it is revoked."),
        click.option("--days", type=click.IntRange(1, 3650), help="How long it works from now on."),
        click.option("--name", help="For people; any text."),
    ):
        function = option(function)
    return function


@key.command("set")
@click.argument("id")
@_changed_by
def set_(id: str, name: str | None, as_json: bool, **given: Any) -> None:  # noqa: A002 - as it is shown
    """Change what is given; the rest stays. Gateways know within a second."""
    changes = _changes(name, given)

    async def work(pool: Pool, settings: Settings) -> ApiKey:
        _check_reach(changes.limits, settings)
        return await Accounts(pool, settings.key_prefix).change_key(id, changes)

    _show(with_database(work), as_json)


def _changes(name: str | None, given: Mapping[str, Any]) -> KeyChanges:
    for flag, (taken_away, option, narrowed) in _OPPOSITES.items():
        if given[taken_away] and given[narrowed]:
            raise click.UsageError(f"{flag} says the opposite of {option}.")
    limits = _limits(given)
    changes = KeyChanges(
        name=name,
        expires_in_s=limits.expires_in_s,
        drop_expiry=given["never_expires"],
        only_routes=_replaced(limits.only_routes, empty=given["any_route"]),
        only_methods=_replaced(limits.only_methods, empty=given["any_method"]),
        only_networks=_replaced(limits.only_networks, empty=given["any_network"]),
        not_networks=_replaced(limits.not_networks, empty=given["no_not_network"]),
        scopes=limits.scopes,
        all_scopes=given["all_scopes"],
    )
    if changes == KeyChanges():
        raise click.UsageError("Say what to change: --name, --days, --route, ...")
    return changes


def _replaced(values: tuple[str, ...], *, empty: bool) -> tuple[str, ...] | None:
    return () if empty else values or None


@key.command()
@click.argument("id")
@json_option
def revoke(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """End a key for good. Gateways know within a second."""

    async def work(pool: Pool, settings: Settings) -> ApiKey:
        return await Accounts(pool, settings.key_prefix).revoke_key(id)

    _show(with_database(work), as_json)


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


def _limits(given: Mapping[str, Any]) -> KeyLimits:
    days = given["days"]
    return KeyLimits(
        expires_in_s=None if days is None else days * DAY_S,
        only_routes=given["routes"],
        only_methods=tuple(method.upper() for method in given["methods"]),
        only_networks=given["networks"],
        not_networks=given["not_networks"],
        scopes=given["scopes"] or None,
    )


def _check_reach(limits: KeyLimits, settings: Settings) -> None:
    """Names of routes and scopes need policies to be checked by; other keys do without."""
    if limits.only_routes or limits.scopes:
        check_reach(limits, policies_in_use(settings))


def _show(one: ApiKey, as_json: bool) -> None:
    told = wording.key(one)
    if as_json:
        print_json(told)
    else:
        print_facts({**told, "state": _state(one)})


def _show_secret(made: ApiKey, secret: str, *, as_json: bool) -> None:
    told = {**wording.key(made), "secret": secret}
    if as_json:
        print_json(told)
    else:
        print_facts(told)
        click.echo("Keep the secret now: it is stored nowhere and is not shown again.", err=True)


def _cells(one: ApiKey) -> tuple[object, ...]:
    what = one.public_id, _shown(one), one.name, _state(one), one.mode.value
    return (*what, one.last_used_at, one.created_at)


def _shown(one: ApiKey) -> str:
    return f"{one.visible}...{one.last_four}" if one.visible is not None else "imported"


def _state(one: ApiKey) -> str:
    if one.revoked_at is not None:
        return "revoked"
    if one.expires_at is None:
        return "works"
    return "expired" if one.expires_at <= datetime.now(UTC) else f"ends {one.expires_at:%Y-%m-%d %H:%M}"
