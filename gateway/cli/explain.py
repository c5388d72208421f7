"""`tollway explain`"""

from __future__ import annotations

from uuid import UUID

import click
from pydantic import ValidationError

from gateway.admission.trust import EMBEDDED
from gateway.cli.database import with_database, with_stores
from gateway.cli.output import json_option, print_facts, print_json, print_table
from gateway.cli.snapshot import policies_in_use
from gateway.clock import SystemClock
from gateway.controlplane.explanations import ChargeDocument, Explanation, PastExplanation, Question
from gateway.explain.explainer import Explainer, Frame, looking
from gateway.explain.past import look_back
from gateway.routing.table import RoutingTable
from gateway.settings import Settings
from gateway.storage.postgres import Pool


@click.command()
@click.argument("path", required=False)
@click.option(
    "--request", "request_id", metavar="ID", help="A call that was made, by its Tollway-Request-Id."
)
@click.option("--method", default="GET", show_default=True, help="GET, POST, ...")
@click.option("--account", metavar="ID", help="Who calls, acct_...; neither: somebody who shows nothing.")
@click.option("--key", metavar="ID", help="With which key, key_...; never the secret.")
@click.option("--host", default="localhost", show_default=True, help="The Host header.")
@click.option(
    "--header", "headers", multiple=True, metavar="NAME:VALUE", help="Another header; several times."
)
@click.option("--client-ip", default="127.0.0.1", show_default=True, help="Where the call comes from.")
@json_option
def explain(
    path: str | None,
    request_id: str | None,
    *,
    method: str,
    account: str | None,
    key: str | None,
    host: str,
    headers: tuple[str, ...],
    client_ip: str,
    as_json: bool,
) -> None:
    """What would happen to a call now, and why.

    With --request: what was decided about a call that was made.
    Decided as the workers do, with the policies, switches and counters of now. Nothing is charged or sent.
    """
    if request_id is not None:
        _look_back(request_id, as_json)
        return
    try:
        question = Question(
            account=account,
            key=key,
            method=method.upper(),
            path=path or "",
            host=host,
            headers=dict(_pair(header) for header in headers),
            client_ip=client_ip,
        )
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise click.UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None

    async def work(pool: Pool, redis_url: str, settings: Settings) -> Explanation:
        table = RoutingTable(policies_in_use(settings), portal_url=settings.portal_base_url)
        frame, clock = Frame(settings.key_prefix, settings.max_body_bytes), SystemClock()
        server = EMBEDDED if settings.redis_url is None else None
        async with looking(redis_url, clock, server) as (store, tasks):
            return await Explainer(pool, store, lambda: table, clock, tasks, frame).explain(question)

    told = with_stores(work)
    if as_json:
        print_json(told)
    else:
        _print(told)


def _look_back(text: str, as_json: bool) -> None:
    try:
        request_id = UUID(text)
    except ValueError:
        raise click.UsageError("--request takes the Tollway-Request-Id of an answer.") from None

    async def work(pool: Pool, _: Settings) -> PastExplanation:
        return await look_back(pool, request_id)

    told = with_database(work)
    if as_json:
        print_json(told)
        return
    click.echo(f"{told['why']}\n")
    call = told["call"]
    shown = ("started_at", "account", "key", "mode", "tier", "route", "method", "outcome", "status", "code")
    facts = {name: value for name, value in call.items() if name in shown}
    print_facts({**facts, "duration ms": call["duration_us"] // 1000})
    for one in told["policies"]:
        since = f"since {one['applied_at']} ({one['how']}, {one['actor']})"
        click.echo(f"\nPolicies {one['digest'][:12]} on {one['gateway']} {since}")


def _pair(header: str) -> tuple[str, str]:
    name, colon, value = header.partition(":")
    if not colon:
        raise click.UsageError("Write a header as NAME:VALUE.")
    return name.strip(), value.strip()


def _print(told: Explanation) -> None:
    status = "" if told["status"] is None else f" {told['status']} {told['code'] or ''}".rstrip()
    click.echo(f"{told['verdict'].upper()}{status}: {told['why']}\n")
    request, route, caller = told["request"], told["route"], told["caller"]
    facts: dict[str, object] = {
        "request": f"{request['method']} {request['host']}{request['path']} from {request['client_ip']}",
        "route": None if route is None else f"{route['name']} ({route['path']}) to {route['upstream']}",
    }
    if route is not None and route["requires"]:
        facts["requires"] = ", ".join(route["requires"])
    if route is not None and route["scopes"]:
        facts["scopes"] = ", ".join(route["scopes"])
    if caller is not None:
        who = caller["key"] or caller["account"] or "nobody in particular"
        of = f" of {caller['account']}" if caller["key"] else ""
        facts["caller"] = f"{who}{of}, {caller['mode']}, tier {caller['tier']}"
        facts["features"] = ", ".join(caller["features"])
    facts["policies"] = told["policies"][:12]
    facts |= {f"answer {name}": value for name, value in told["headers"].items()}
    print_facts(facts)
    if told["charges"]:
        click.echo()
        heads = (
            "CHARGE",
            "KIND",
            "COST",
            "LEFT",
            "OF",
            "STARTS AGAIN (UTC)",
            "ENFORCED",
            "REFUSES",
            "COUNTER",
        )
        print_table(heads, [_row(one) for one in told["charges"]])
    for one in told["passed_over"]:
        click.echo(f"\nNot route {one['name']} ({one['path']}): it {one['why']}.")
    for switch in told["switches"]:
        click.echo(f"\nSwitched {switch['state']} by {switch['changed_by']}: {switch['reason']}")
    for note in told["notes"]:
        click.echo(f"\n{note}")


def _row(one: ChargeDocument) -> tuple[object, ...]:
    enforced = "yes" if one["enforced"] else f"no, by {one['shadow_because']}"
    refuses = f"yes, {one['retry_after_s']} s" if one["would_refuse"] else "no"
    name = f"{one['name']} (override)" if one["override"] else one["name"]
    left = one["left"] if one["left"] is not None else "unknown"
    ends = one["period_end"]
    return name, one["kind"], one["cost"], left, one["size"], ends, enforced, refuses, one["counter"]
