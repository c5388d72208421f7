"""`tollway reconcile`."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime

import click

from gateway.admission.open_counters import open_counters
from gateway.cli.database import with_stores
from gateway.cli.output import json_option, print_json, print_table
from gateway.cli.progress import steps
from gateway.errors import StartupError, StoreUnavailable
from gateway.ledger.errors import LedgerUnavailable
from gateway.ledger.quotas import QuotaLedger
from gateway.model.policies import PolicySet
from gateway.policy.load import load_folder
from gateway.reconciliation.reconciler import QUIET_S, Finding, Reconciler
from gateway.reconciliation.standing import Standing
from gateway.settings import Settings
from gateway.storage.postgres import Pool

REDIS_WITHIN_S = 30.0


@click.command()
@click.option("--repair", is_flag=True, help="Set counters right.")
@json_option
@click.pass_context
def reconcile(context: click.Context, repair: bool, as_json: bool) -> None:
    """Compare quota counters with the ledger.

    Of the present period of each quota and the one before. A counter behind the ledger is wrong; one ahead of
    it may have calls under way, so that takes a second look, 15 seconds later. Exit code 1: something is
    wrong and was not repaired.
    """

    async def work(pool: Pool, redis_url: str, settings: Settings) -> list[Finding]:
        counting = await open_counters(redis_url, timeout_s=REDIS_WITHIN_S)
        try:
            policies = _policies(settings)
            reconciler = Reconciler(QuotaLedger(pool), counting.counters, lambda: policies)
            return await _looks(reconciler, repair=repair, quiet=as_json)
        except (StoreUnavailable, LedgerUnavailable) as error:
            raise StartupError(f"Counters and ledger can not be compared: {error}.") from error
        finally:
            await counting.close()

    findings = with_stores(work)
    if as_json:
        print_json({"data": [_document(one) for one in findings]})
    else:
        _show(findings)
    wrong = [one for one in findings if one.standing is not Standing.UNDER_WAY and not one.repaired]
    context.exit(1 if wrong else 0)


async def _looks(reconciler: Reconciler, *, repair: bool, quiet: bool) -> list[Finding]:
    first = await reconciler.look(repair=repair)
    if all(one.standing is not Standing.UNDER_WAY for one in first):
        return first
    click.echo(f"Some counters are ahead of the ledger: looking again in {QUIET_S:.0f} s.", err=True)
    waits = math.ceil(QUIET_S + 0.1)
    with steps("Waiting", waits, quiet=quiet) as tell:
        for waited in range(1, waits + 1):
            await asyncio.sleep((QUIET_S + 0.1) / waits)
            tell(waited)
    second = await reconciler.look(repair=repair)
    return [one for one in first if one.repaired] + second


def _policies(settings: Settings) -> PolicySet | None:
    policies = load_folder(settings.policies).policies if settings.policies.is_dir() else None
    if policies is None:
        click.echo(
            f"Counters that are gone are not noticed: {settings.policies} has no policies in order.",
            err=True,
        )
    return policies


def _show(findings: list[Finding]) -> None:
    if not findings:
        click.echo("Every quota counter agrees with the ledger.")
        return
    heads = ("ACCOUNT", "MODE", "METER", "PER", "PERIOD (UTC)", "COUNTED", "BOOKED", "STANDING", "REPAIRED")
    print_table(heads, [_cells(one) for one in findings])


def _cells(one: Finding) -> tuple[object, ...]:
    period = one.period
    start = datetime.fromtimestamp(period.span.start_s, UTC)
    what = (one.account, period.mode.value, period.meter, period.per.text, start, one.counted, one.booked)
    return (*what, one.standing.value.replace("_", " "), "yes" if one.repaired else "no")


def _document(one: Finding) -> dict[str, object]:
    period = one.period
    return {
        "account": one.account,
        "mode": period.mode.value,
        "meter": period.meter,
        "per": period.per.text,
        "period_start": datetime.fromtimestamp(period.span.start_s, UTC).isoformat().replace("+00:00", "Z"),
        "counted": one.counted,
        "booked": one.booked,
        "standing": one.standing.value,
        "repaired": one.repaired,
    }
