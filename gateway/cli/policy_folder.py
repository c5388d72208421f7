"""`tollway policies ...`: which are in use, which were, and others in their place."""

from __future__ import annotations

import time
from pathlib import Path

import click

from gateway.app.wiring import accepted_policies, metrics_dir
from gateway.cli.database import command_settings, with_database
from gateway.cli.lists import newest_first, show_page
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.cli.policies import check, print_problems
from gateway.cli.snapshot import policies_in_use
from gateway.clock import SystemClock
from gateway.controlplane import wording
from gateway.controlplane.policies_api import IN_USE_WITHIN_S, AppliedDocument, history_entry
from gateway.controlplane.processes import read_all
from gateway.controlplane.snapshot_api import RouteDocument, policies_document
from gateway.errors import Conflict, Invalid
from gateway.model.policies import PolicySet
from gateway.operators.policy_history import Applied, PolicyHistory
from gateway.policy.folder import PolicyFolder, is_name
from gateway.policy.problems import Problems
from gateway.policy.sources import Sources, SourcesUnreadable, read_folder
from gateway.settings import Settings
from gateway.storage.postgres import Pool, transaction
from gateway.supervisor.own_ports import own_ports_objection

LOOK_EVERY_S = 0.1


@click.group()
def policies() -> None:
    """Show, check, replace policies, and list which were in use."""


policies.add_command(check)


@policies.command()
@json_option
def show(as_json: bool) -> None:
    """Show tiers and routes of the policies in use.

    They are those that the gateway on this data folder accepted; if none ever ran there, those of the folder.
    """
    settings = command_settings()
    told = policies_document(policies_in_use(settings), PolicyFolder(settings.policies).digest())
    if as_json:
        print_json(told)
        return
    state = "as in use" if told["digest"] == told["folder_digest"] else "changed since: see tollway check"
    print_facts(
        {
            "digest": told["digest"],
            "folder": f"{settings.policies}, {state}",
            "admission": told["admission_mode"],
            "when Redis is lost": told["on_store_loss"],
        }
    )
    click.echo()
    _show_tiers(policies_in_use(settings))
    click.echo()
    heads = ("ROUTE", "PATH", "METHODS", "UPSTREAM", "REQUIRES", "SCOPES")
    print_table(heads, [_route_cells(one) for one in told["routes"]])


def _route_cells(one: RouteDocument) -> tuple[object, ...]:
    upstream = one["upstream"] or ", ".join(f"{side['upstream']} {side['weight']}" for side in one["split"])
    return one["name"], one["path"], one["methods"] or "any", upstream, one["requires"], one["scopes"]


def _show_tiers(found: PolicySet) -> None:
    heads = ("TIER", "PRICE", "LIMITS", "QUOTAS", "AT ONCE", "FEATURES")
    rows = [
        (
            one.name,
            None if one.price is None else wording.price_text(one.price),
            "; ".join(f"{limit.name}: {wording.limit_text(limit)}" for limit in one.limits),
            "; ".join(f"{quota.name}: {wording.quota_text(quota)}" for quota in one.quotas),
            "; ".join(f"{limit.name}: {wording.concurrency_text(limit)}" for limit in one.concurrency),
            sorted(one.features),
        )
        for one in found.tiers.values()
    ]
    print_table(heads, rows)


@policies.command()
@click.option("--gateway", metavar="NAME", help="Only what this gateway took into use.")
@newest_first()
def history(gateway: str | None, limit: int, before: int | None, as_json: bool) -> None:
    """List which policies gateways took into use, newest first."""

    async def work(pool: Pool, _: Settings) -> list[Applied]:
        return await PolicyHistory(pool).page(before, limit, gateway)

    found = with_database(work)
    heads = ("N", "AT (UTC)", "GATEWAY", "DIGEST", "HOW", "BY")
    show_page(
        [history_entry(one) for one in found],
        found[-1].id if len(found) == limit else None,
        lambda: (
            heads,
            [
                (str(one.id), one.applied_at, one.gateway, one.digest[:12], one.how, one.actor)
                for one in found
            ],
        ),
        as_json=as_json,
        option="--before",
    )


@policies.command()
@click.argument("dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--if-digest", metavar="DIGEST", help="Only if the folder is still the one with this digest.")
@json_option
@click.pass_context
def apply(context: click.Context, /, dir: Path, if_digest: str | None, as_json: bool) -> None:  # noqa: A002 - as it is shown
    """Put the policies in DIR in the place of those that the gateway reads.

    They are checked in full before, and problems leave everything as it is. A gateway that runs takes them
    into use within seconds, and this waits for it.
    """
    settings = command_settings()
    folder = PolicyFolder(settings.policies, own_ports_objection(settings))
    files = _files(dir, settings)
    loaded = folder.check(files)
    if loaded.policies is None:
        print_problems(loaded, dir, as_json)
        context.exit(1)
    before, digest = folder.digest(), loaded.policies.digest
    if if_digest is not None and if_digest != before:
        raise Conflict(f"{settings.policies} has changed since: its digest is {before}.")

    async def work(pool: Pool, _: Settings) -> None:
        async with transaction(pool) as connection:
            await PolicyHistory(connection).audit(before, digest, sorted(files))
            folder.replace(files)

    if digest != before:
        with_database(work)
    is_running = _runs(settings)
    told: AppliedDocument = {"digest": digest, "in_use": is_running and _is_used(settings, digest)}
    if as_json:
        print_json(told)
        return
    click.echo(f"{settings.policies}: {'unchanged' if digest == before else 'replaced'}, digest {digest}")
    if told["in_use"]:
        click.echo("The gateway uses them.")
    elif is_running:
        click.echo("The gateway does not use them yet: see its log, and `tollway policies show`.", err=True)
    else:
        click.echo("No gateway runs on this data folder; the next one that starts uses them.", err=True)


def _files(source: Path, settings: Settings) -> dict[str, str]:
    if source.resolve() == settings.policies.resolve():
        raise Invalid("dir", "is the folder that the gateway reads: it takes changes there by itself")
    problems = Problems()
    sources = read_folder(source, problems)
    if problems:
        raise Invalid("dir", "; ".join(map(str, problems.sorted())))
    if wrong := [name for name, _ in sources.files if not is_name(name)]:
        raise Invalid("dir", f"has a file that no policy file can be called like: {wrong[0]!r}")
    return {name: content.decode("utf-8", "surrogateescape") for name, content in sources.files}


def _runs(settings: Settings) -> bool:
    supervisor = read_all(metrics_dir(settings.data_dir)).get("supervisor")
    return supervisor is not None and supervisor.lacks(SystemClock().monotonic_us()) is None


def _is_used(settings: Settings, digest: str) -> bool:
    """Wait until the gateway has accepted them."""
    for _ in range(round(IN_USE_WITHIN_S / LOOK_EVERY_S)):
        try:
            if Sources.read(accepted_policies(settings.data_dir)).digest == digest:
                return True
        except SourcesUnreadable:
            pass
        time.sleep(LOOK_EVERY_S)
    return False
