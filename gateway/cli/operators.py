"""`tollway token ...` and `tollway audit`"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import click

from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.controlplane import wording
from gateway.operators.audit import AuditLog, AuditQuestion, Change
from gateway.operators.scopes import SCOPES
from gateway.operators.tokens import AdminToken, AdminTokens
from gateway.settings import Settings
from gateway.storage.postgres import Pool


@click.group()
def token() -> None:
    """Create, list, revoke tokens of the admin API."""


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
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True, help="How many.")
@click.option("--after", metavar="ID", help="Go on behind this token.")
@json_option
def list_(limit: int, after: str | None, as_json: bool) -> None:
    """List tokens, oldest first, ended ones too."""

    async def work(pool: Pool, _: Settings) -> list[AdminToken]:
        return await AdminTokens(pool).list(after=after, limit=limit)

    found = with_database(work)
    more = found[-1].public_id if len(found) == limit else None
    if as_json:
        print_json({"data": [wording.token(one) for one in found], "next": more})
        return
    print_table(
        ("ID", "NAME", "ENDS WITH", "SCOPES", "STATE", "LAST USED (UTC)"),
        [
            (one.public_id, one.name, one.last_four, ", ".join(one.scopes), _state(one), one.last_used_at)
            for one in found
        ],
    )
    if more:
        click.echo(f"There may be more: --after {more}", err=True)


@token.command()
@click.argument("id")
@json_option
def revoke(id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """End a token for good."""

    async def work(pool: Pool, _: Settings) -> AdminToken:
        return await AdminTokens(pool).revoke(id)

    told = wording.token(with_database(work))
    if as_json:
        print_json(told)
    else:
        print_facts({**told, "scopes": ", ".join(told["scopes"])})


@click.command()
@click.option("--target", metavar="ID", help="Only changes of this record: acct_..., key_..., tok_...")
@click.option("--actor", help="Only changes by: token:tok_..., bootstrap, cli:<user>, ...")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="How many.")
@click.option("--before", type=click.IntRange(1), metavar="N", help="Go on behind this entry.")
@json_option
def audit(target: str | None, actor: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """What was changed, by whom, newest first."""
    asked = AuditQuestion(target=target, actor=actor, limit=limit, before=before)

    async def work(pool: Pool, _: Settings) -> list[Change]:
        return await AuditLog(pool).page(asked)

    found = with_database(work)
    more = found[-1].id if len(found) == limit else None
    if as_json:
        print_json({"data": [wording.change(one) for one in found], "next": more})
        return
    heads = ("N", "AT (UTC)", "ACTOR", "ACTION", "TARGET", "CHANGED")
    print_table(
        heads,
        [(str(one.id), one.at, one.actor, one.action, one.target, _difference(one)) for one in found],
    )
    if more:
        click.echo(f"There may be more: --before {more}", err=True)


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
