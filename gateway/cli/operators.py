"""`tollway token ...` and `tollway audit`"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import click

from gateway.cli.database import with_database
from gateway.cli.lists import newest_first, paged, show_page, state_option
from gateway.cli.output import json_option, print_facts, print_json
from gateway.cli.times import Instant
from gateway.controlplane import wording
from gateway.operators.audit import AuditLog, AuditQuestion, Change
from gateway.operators.scopes import SCOPES
from gateway.operators.tokens import AdminToken, AdminTokens
from gateway.settings import Settings
from gateway.storage.postgres import Pool


@click.group()
def token() -> None:
    """Create, list, show, revoke tokens of the admin API."""


@token.command()
@click.option("--name", required=True, help="For people; any text.")
@click.option(
    "--scope",
    "scopes",
    required=True,
    multiple=True,
    type=click.Choice(sorted(SCOPES)),
    help="What it may do; give it several times.",
)
@click.option("--days", type=click.IntRange(1, 3650), help="How long it works; without: until it is revoked.")
@json_option
def create(name: str, scopes: tuple[str, ...], days: int | None, as_json: bool) -> None:
    """Create a token and print its secret, this once."""
    expires_in_s = None if days is None else days * 86_400

    async def work(pool: Pool, _: Settings) -> tuple[AdminToken, str]:
        return await AdminTokens(pool).create(name, scopes, expires_in_s)

    made, secret = with_database(work)
    if as_json:
        print_json({**wording.token(made), "secret": secret})
        return
    print_facts({"secret": secret, "id": made.public_id, "scopes": ", ".join(made.scopes)})
    click.echo("This is the only time the secret is shown.", err=True)


@token.command("list")
@state_option
@paged(after="token")
def list_(state: str | None, limit: int, after: str | None, as_json: bool) -> None:
    """List tokens, oldest first, ended ones too."""

    async def work(pool: Pool, _: Settings) -> list[AdminToken]:
        return await AdminTokens(pool).list(after=after, limit=limit, state=state)

    found = with_database(work)
    heads = ("ID", "NAME", "ENDS WITH", "SCOPES", "STATE", "LAST USED (UTC)")
    show_page(
        [wording.token(one) for one in found],
        found[-1].public_id if len(found) == limit else None,
        lambda: (heads, [_cells(one) for one in found]),
        as_json=as_json,
    )


@token.command("show")
@click.argument("id")
@json_option
def show_(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Show one token, without its secret."""

    async def work(pool: Pool, _: Settings) -> AdminToken:
        return await AdminTokens(pool).get(id)

    _show(with_database(work), as_json)


@token.command()
@click.argument("id")
@json_option
def revoke(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """End a token for good."""

    async def work(pool: Pool, _: Settings) -> AdminToken:
        return await AdminTokens(pool).revoke(id)

    _show(with_database(work), as_json)


@click.command()
@click.option("--target", metavar="ID", help="Only changes of this record: acct_..., key_..., tok_...")
@click.option("--actor", help="Only changes by: token:tok_..., bootstrap, cli:<user>, ...")
@click.option("--action", help="Only changes of this kind: account.created, key.changed, ...")
@click.option("--from", "start", type=Instant(), metavar="TIME", help="Only from here.")
@click.option("--to", "end", type=Instant(), metavar="TIME", help="Only until here, exclusive.")
@newest_first(50)
def audit(limit: int, as_json: bool, **asked: Any) -> None:
    """What was changed, by whom, newest first."""
    question = AuditQuestion(limit=limit, **asked)

    async def work(pool: Pool, _: Settings) -> list[Change]:
        return await AuditLog(pool).page(question)

    found = with_database(work)
    heads = ("N", "AT (UTC)", "ACTOR", "ACTION", "TARGET", "CHANGED")
    show_page(
        [wording.change(one) for one in found],
        found[-1].id if len(found) == limit else None,
        lambda: (
            heads,
            [(str(one.id), one.at, one.actor, one.action, one.target, _difference(one)) for one in found],
        ),
        as_json=as_json,
        option="--before",
    )


def _show(one: AdminToken, as_json: bool) -> None:
    told = wording.token(one)
    if as_json:
        print_json(told)
    else:
        print_facts({**told, "state": _state(one)})


def _cells(one: AdminToken) -> tuple[object, ...]:
    return one.public_id, one.name, one.last_four, one.scopes, _state(one), one.last_used_at


def _state(one: AdminToken) -> str:
    if one.revoked_at is not None:
        return "revoked"
    return "expired" if one.expires_at is not None and one.expires_at <= datetime.now(UTC) else "works"


def _difference(one: Change) -> str:
    """What changed, like `tier: "free" -> "team"`; nothing for records that came or went."""
    if one.before is None or one.after is None:
        return ""
    return ", ".join(
        f"{name}: {json.dumps(one.before.get(name))} -> {json.dumps(value)}"
        for name, value in one.after.items()
        if one.before.get(name) != value
    )
