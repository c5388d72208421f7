"""`tollway prove-metering`."""

from __future__ import annotations

import secrets

import click

from gateway.cli.output import json_option, print_json, print_table
from gateway.cli.progress import steps, tell
from gateway.proof.prove import Plan, Verdict, prove

SEEDS = 1_000_000


@click.command("prove-metering")
@click.option(
    "--minutes", type=click.FloatRange(0.05, 10_000), default=5.0, show_default=True, help="How long."
)
@click.option("--seed", type=click.IntRange(0), help="What decides what happens when.  [a new one]")
@click.option(
    "--hypertable",
    is_flag=True,
    help="Lay rows out in a TimescaleDB hypertable midway; the embedded PostgreSQL must have it.",
)
@click.option("--keep", is_flag=True, help="Keep the folder with all logs, journals and data.")
@json_option
@click.pass_context
def prove_metering(
    context: click.Context, minutes: float, seed: int | None, hypertable: bool, keep: bool, as_json: bool
) -> None:
    """Hurt a gateway of its own and compare what was booked.

    Starts an upstream that writes down what it sees, PostgreSQL, Redis and a gateway in a temporary folder.
    While callers call, it kills and stops their processes and steps their clocks, at random from the seed.
    Then it compares what the upstream saw, what callers were told, rows, sums and counters. Exit code 0: all
    of it agrees.
    """
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    with steps("Hurting it", round(minutes * 60), quiet=as_json) as passed:
        plan = Plan(minutes * 60, seed, hypertable)
        verdict = prove(plan, keep=keep, tell=tell, passed=passed)
    if as_json:
        print_json(_document(verdict, keep=keep))
    else:
        _show(verdict, keep=keep)
    context.exit(0 if verdict.holds else 1)


def _show(verdict: Verdict, *, keep: bool) -> None:
    rows = [(check.what, check.expected, check.found, _word(check.holds)) for check in verdict.checks]
    print_table(("WHAT", "EXPECTED", "FOUND", "VERDICT"), rows)
    for check in verdict.checks:
        for line in check.wrong[:5]:
            click.echo(f"  {check.what}: {line}")
        if len(check.wrong) > 5:
            click.echo(f"  {check.what}: and {len(check.wrong) - 5:,} more")
    click.echo(f"Calls: {_counted(verdict.calls)}")
    click.echo(f"Faults: {_counted(verdict.faults)}")
    if keep:
        click.echo(f"Folder: {verdict.folder}")
    broken = sum(not check.holds for check in verdict.checks)
    said = "all agrees" if verdict.holds else f"{broken} of {len(verdict.checks)} checks failed"
    done = f"{verdict.calls.total():,} calls, {verdict.faults.total()} faults in {verdict.seconds:.0f} s"
    click.echo(f"{_word(verdict.holds).upper()}: {done}, {said} (--seed {verdict.seed})")


def _document(verdict: Verdict, *, keep: bool) -> dict[str, object]:
    return {
        "ok": verdict.holds,
        "seed": verdict.seed,
        "seconds": round(verdict.seconds, 1),
        "checks": [
            {
                "what": check.what,
                "expected": check.expected,
                "found": check.found,
                "ok": check.holds,
                "wrong": check.wrong,
            }
            for check in verdict.checks
        ],
        "calls": dict(verdict.calls),
        "faults": dict(verdict.faults),
        "folder": str(verdict.folder) if keep else None,
    }


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in sorted(counts.items(), key=lambda one: -one[1]))


def _word(holds: bool) -> str:
    return "ok" if holds else "broken"
