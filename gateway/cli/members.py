"""`tollway member ...`"""

from __future__ import annotations

import click

from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.controlplane import people_wording
from gateway.people.inviting import Inviting
from gateway.people.memberships import Memberships
from gateway.people.outbox import Outbox
from gateway.people.records import Invitation, Membership
from gateway.people.roles import OWNER, ROLES
from gateway.people.vault import Vault
from gateway.settings import Settings
from gateway.storage.postgres import Pool, transaction

account_option = click.option(
    "--account", required=True, metavar="ID", help="Whose members, acct_... (see tollway account list)."
)


@click.group()
def member() -> None:
    """Invite, list, change, remove members of accounts."""


@member.command()
@account_option
@click.option("--email", required=True, help="Where the invitation is sent to.")
@click.option("--role", type=click.Choice(ROLES), default=OWNER, show_default=True, help="What they may do.")
@json_option
def invite(account: str, email: str, role: str, as_json: bool) -> None:
    """Invite somebody. A running gateway sends the mail; its link works for a week."""

    async def work(pool: Pool, settings: Settings) -> Invitation:
        vault = Vault(pool, settings.portal_secret)
        await vault.signing_key()  # before the transaction takes the only connection: it may have to be made
        inviting = Inviting(Outbox(vault), settings.portal_base_url)
        owner = await Accounts(pool, settings.key_prefix).get_account(account)
        async with transaction(pool) as connection:
            return await inviting.invite(connection, owner.public_id, email, role)

    told = people_wording.invitation(with_database(work))
    if as_json:
        print_json(told)
    else:
        print_facts(told)


@member.command("list")
@account_option
@click.option("--role", type=click.Choice(ROLES), help="Only those in this role.")
@json_option
def list_(account: str, role: str | None, as_json: bool) -> None:
    """List the members of an account and the invitations that can still be accepted."""

    async def work(pool: Pool, settings: Settings) -> tuple[list[Membership], list[Invitation]]:
        owner = await Accounts(pool, settings.key_prefix).get_account(account)
        members, of = Memberships(pool), owner.public_id
        return (
            [one for one in await members.of_account(of) if role in (None, one.role)],
            [one for one in await members.invitations(of) if role in (None, one.role)],
        )

    members, invited = with_database(work)
    if as_json:
        told = [people_wording.member(one) for one in members]
        print_json({"data": told, "invitations": [people_wording.invitation(one) for one in invited]})
        return
    rows: list[tuple[object, ...]] = [(one.public_id, one.email, one.role, one.created_at) for one in members]
    rows += [(one.public_id, one.email, f"{one.role}, invited", one.created_at) for one in invited]
    print_table(("ID", "MAIL ADDRESS", "ROLE", "SINCE (UTC)"), rows)


@member.command()
@account_option
@click.argument("id")
@json_option
def show(account: str, id: str, as_json: bool) -> None:  # noqa: A002 - as it is shown
    """Show a member or an invitation."""

    async def work(pool: Pool, _: Settings) -> Membership | Invitation:
        members = Memberships(pool)
        if id.startswith("invitation_"):
            return await members.get_invitation(id, account)
        return await members.get(id, account)

    _show(with_database(work), as_json)


@member.command("role")
@account_option
@click.argument("id")
@click.argument("role", type=click.Choice(ROLES))
@json_option
def role_(account: str, id: str, role: str, as_json: bool) -> None:  # noqa: A002 - as it is shown
    """Give a member another role. An account with members keeps at least one owner."""

    async def work(pool: Pool, _: Settings) -> Membership:
        async with transaction(pool) as connection:
            members = Memberships(connection)
            return await members.set_role(await members.get(id, account), role)

    _show(with_database(work), as_json)


@member.command()
@account_option
@click.argument("id")
@json_option
def remove(account: str, id: str, as_json: bool) -> None:  # noqa: A002 - the argument's name on the command line
    """Remove a member, at once, or withdraw an invitation."""

    async def work(pool: Pool, _: Settings) -> Membership | Invitation:
        async with transaction(pool) as connection:
            members = Memberships(connection)
            if id.startswith("invitation_"):
                invited = await members.get_invitation(id, account)
                await members.drop_invitation(invited)
                return invited
            found = await members.get(id, account)
            await members.remove(found)
            return found

    _show(with_database(work), as_json)


def _show(one: Membership | Invitation, as_json: bool) -> None:
    told = people_wording.member(one) if isinstance(one, Membership) else people_wording.invitation(one)
    if as_json:
        print_json(told)
    else:
        print_facts(told)
