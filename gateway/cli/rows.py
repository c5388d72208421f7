"""`tollway rows`: how rows of calls are laid out in the database."""

from __future__ import annotations

import click

from gateway.cli.database import with_database
from gateway.cli.output import json_option, print_facts, print_json
from gateway.cli.progress import ongoing
from gateway.ledger import moving
from gateway.ledger.layout import Layout, Standing, standing
from gateway.ledger.timescale import obstacle
from gateway.settings import Settings
from gateway.storage.postgres import Pool

MIB = 1 << 20
CHUNK_DAYS = 7


@click.group()
def rows() -> None:
    """How rows of calls are laid out: by month, or in a TimescaleDB hypertable."""


@rows.command()
@json_option
def show(as_json: bool) -> None:
    """Show how rows are laid out, and whether TimescaleDB is there."""

    async def work(pool: Pool, _: Settings) -> Standing:
        async with pool.acquire() as connection:
            return await standing(connection)

    found = with_database(work)
    why_not = obstacle(found.timescale)
    if as_json:
        print_json(_document(found, why_not))
        return
    print_facts(
        {
            "Layout": found.layout.value,
            "Parts": found.parts,
            "Oldest row (UTC)": found.oldest_at,
            "Newest row (UTC)": found.newest_at,
            "MiB": found.size_bytes // MIB,
            "TimescaleDB": found.timescale.version,
            "Usable": why_not or "yes",
        }
    )


@rows.command("to-hypertable")
@click.option(
    "--chunk-days",
    type=click.IntRange(1, 366),
    default=CHUNK_DAYS,
    show_default=True,
    help="Days of rows in a chunk.",
)
@json_option
def to_hypertable(chunk_days: int, as_json: bool) -> None:
    """Lay rows out in a TimescaleDB hypertable.

    Moves all of them in one transaction: until it is done, and if it fails, all is as before. Calls go on and
    rows can be read meanwhile; what is called is booked afterwards.
    """

    async def work(pool: Pool, _: Settings) -> int | None:
        with ongoing("Moving rows", quiet=as_json) as tell:
            async with pool.acquire() as connection:
                return await moving.to_hypertable(connection, chunk_days, tell)

    _told(Layout.HYPERTABLE, with_database(work), as_json=as_json)


@rows.command("to-months")
@json_option
def to_months(as_json: bool) -> None:
    """Lay rows out in partitions by month: the way back.

    In one transaction as well. The extension stays in the database.
    """

    async def work(pool: Pool, _: Settings) -> int | None:
        with ongoing("Moving rows", quiet=as_json) as tell:
            async with pool.acquire() as connection:
                return await moving.to_months(connection, tell)

    _told(Layout.MONTHS, with_database(work), as_json=as_json)


def _told(layout: Layout, moved: int | None, *, as_json: bool) -> None:
    place = {Layout.MONTHS: "partitions by month", Layout.HYPERTABLE: "a hypertable"}[layout]
    if as_json:
        print_json({"layout": layout.value, "changed": moved is not None, "moved": moved or 0})
    elif moved is None:
        click.echo(f"Rows are in {place} already.")
    else:
        click.echo(f"{moved:,} rows are in {place} now.")


def _document(found: Standing, why_not: str | None) -> dict[str, object]:
    times = {"oldest_at": found.oldest_at, "newest_at": found.newest_at}
    return {
        "layout": found.layout.value,
        "parts": found.parts,
        "size_bytes": found.size_bytes,
        **{name: at and at.isoformat().replace("+00:00", "Z") for name, at in times.items()},
        "timescaledb": {
            "offered": found.timescale.offered,
            "installed": found.timescale.installed,
            "usable": why_not is None,
            "why_not": why_not,
        },
    }
