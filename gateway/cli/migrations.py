"""`tollway migrate`."""

from __future__ import annotations

import asyncio

import click

from gateway.cli.database import command_settings, database_url
from gateway.cli.progress import ongoing
from gateway.storage import migrate as migrations


@click.command()
def migrate() -> None:
    """Bring the database to this version.

    Safe to repeat and to run while the previous version still serves. `tollway run` does it by itself.
    """
    settings = command_settings()
    with database_url(settings) as url, ongoing("Migrating") as tell:
        applied = asyncio.run(migrations.migrate(url, tell=tell))
    for name in applied:
        click.echo(f"applied {name}")
    if not applied:
        click.echo("The database is up to date.")
