"""`tollway account period`."""

from __future__ import annotations

from typing import Any

import click

from gateway.accounts.store import Accounts
from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.cli.snapshot import policies_in_use
from gateway.cli.times import Instant
from gateway.clock import SystemClock
from gateway.controlplane.collaborators import Collaborators
from gateway.controlplane.period_api import HISTORY_MAX, BillingDocument, PeriodApi, PeriodQuestion
from gateway.ledger.usage import Usage
from gateway.model.principal import Mode
from gateway.settings import Settings
from gateway.storage.postgres import Pool


@click.command()
@click.argument("id")
@click.option(
    "--at", type=Instant(), metavar="TIME", help="As if it were then, by the ledger of today.  [now]"
)
@click.option(
    "--history", type=click.IntRange(0, HISTORY_MAX), default=3, show_default=True, help="How many before it."
)
@click.option("--mode", type=click.Choice([mode.value for mode in Mode]), default="live", show_default=True)
@json_option
def period(id: str, mode: str, as_json: bool, **asked: Any) -> None:  # noqa: A002 - as it is shown
    """Show an account's billing period: quotas, what is used of them, periods before."""
    question = PeriodQuestion.model_validate(asked)

    async def work(pool: Pool, settings: Settings) -> BillingDocument:
        policies, accounts = policies_in_use(settings), Accounts(pool, settings.key_prefix)
        found = await accounts.get_account(id)
        with_ = Collaborators(
            pool=pool, accounts=accounts, usage=Usage(pool), policies=lambda: policies, clock=SystemClock()
        )
        return await PeriodApi(with_).billing(found, Mode(mode), question)

    told = with_database(work)
    if as_json:
        print_json(told)
    else:
        _show(told)


def _show(told: BillingDocument) -> None:
    names = ("account", "tier", "mode", "billing_anchor", "time_zone", "at")
    print_facts({name: value for name, value in told.items() if name in names})
    click.echo()
    heads = ("QUOTA", "METER", "PER", "USED", "OF", "BEYOND", "AT THE END", "STARTS AGAIN (UTC)")
    shown = ("name", "meter", "per", "used", "amount", "beyond", "projected", "resets_at")
    print_table(heads, [[dict(one)[name] for name in shown] for one in told["quotas"]])
    click.echo()
    periods = [
        (one["start"], one["end"], meter["meter"], meter["quantity"], meter["posted"], meter["corrections"])
        for one in (told["current"], *told["history"])
        for meter in one["meters"]
    ]
    print_table(("FROM (UTC)", "UNTIL (UTC)", "METER", "UNITS", "POSTED", "CORRECTIONS"), periods)
