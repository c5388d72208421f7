"""`tollway run`."""

from __future__ import annotations

import os

import click

from gateway.settings import read_settings
from gateway.supervisor import run as run_gateway


@click.command()
@click.option("--policies", metavar="DIR", help="Folder of the policy files.  [./policies]")
@click.option("--listen", metavar="HOST:PORT", help="Where customers' calls arrive.  [127.0.0.1:8080]")
@click.option("--control", metavar="HOST:PORT", help="Admin API, metrics, health.  [127.0.0.1:8090]")
@click.option("--portal", metavar="HOST:PORT", help="People's API and pages.  [127.0.0.1:8091]")
@click.option("--workers", metavar="N", help="Processes that serve calls.  [one per core]")
@click.option("--demo", is_flag=True, help="Also start a demo upstream and make two demo accounts with keys.")
@click.pass_context
def run(context: click.Context, /, demo: bool, **flags: str | None) -> None:
    """Start the gateway.

    Without TOLLWAY_DATABASE_URL and TOLLWAY_REDIS_URL it starts a private PostgreSQL and Redis of its own.
    SIGTERM and Ctrl-C drain and stop, SIGHUP reloads the policies.
    """
    context.exit(run_gateway(read_settings(os.environ, flags), demo=demo))
