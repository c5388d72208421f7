"""`tollway enforcement ...`"""

from __future__ import annotations

import click

from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_json, print_table
from gateway.cli.snapshot import policies_in_use
from gateway.cli.suggestions import complete_bounds, complete_routes, complete_tiers
from gateway.controlplane.enforcement_api import enforcement_document
from gateway.model.enforcement import Enforcing, Switch
from gateway.operators.enforcement import LONGEST_S, StoredSwitch, Switches
from gateway.settings import Settings
from gateway.storage.postgres import Pool


@click.group()
def enforcement() -> None:
    """Loosen limits at once in an emergency, and enforce them again."""


@enforcement.command()
@json_option
def show(as_json: bool) -> None:
    """Show whether limits are enforced as the policies say."""

    async def work(pool: Pool, _: Settings) -> list[StoredSwitch]:
        return await Switches(pool).in_force(0)

    _show(with_database(work), as_json)


@enforcement.command("set")
@click.argument("state", metavar="STATE", type=click.Choice([state.value for state in Enforcing]))
@click.option("--reason", required=True, help="Why; for the audit log, the logs and whoever comes next.")
@click.option(
    "--minutes",
    type=click.IntRange(1, LONGEST_S // 60),
    help="For how long; without: until it is set again.",
)
@click.option("--limit", shell_complete=complete_bounds, help="Only this limit, quota or concurrency limit.")
@click.option("--tier", shell_complete=complete_tiers, help="Only this tier.")
@click.option("--route", shell_complete=complete_routes, help="Only calls on this route.")
@json_option
def set_(
    state: str,
    reason: str,
    minutes: int | None,
    limit: str | None,
    tier: str | None,
    route: str | None,
    as_json: bool,
) -> None:
    """Set how much of limits is left: all gateways follow within a second.

    STATE is enforce (as the policies say), shadow (count and refuse nobody) or off (do not even ask Redis).
    Keys, features and addresses are checked as ever.
    """
    switch = Switch(Enforcing(state), limit, tier, route, reason)

    async def work(pool: Pool, settings: Settings) -> list[StoredSwitch]:
        switches = Switches(pool)
        await switches.check_scope(switch, policies_in_use(settings))
        await switches.set(switch, None if minutes is None else minutes * 60)
        return await switches.in_force(0)

    _show(with_database(work), as_json)


def _show(found: list[StoredSwitch], as_json: bool) -> None:
    if as_json:
        print_json(enforcement_document(found))
        return
    if not found:
        click.echo("Limits are enforced as the policies say.")
        return
    print_table(
        ("STATE", "SCOPE", "UNTIL (UTC)", "BY", "REASON"),
        [
            (one.switch.state.value, one.switch.scope, one.expires_at, one.changed_by, one.switch.reason)
            for one in found
        ],
    )
