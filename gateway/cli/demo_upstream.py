"""`tollway demo-upstream`."""

from __future__ import annotations

import asyncio
import signal

import click

from gateway.demo import serve_demo_upstream
from gateway.settings import Address


@click.command("demo-upstream")
@click.option("--listen", metavar="HOST:PORT", default="127.0.0.1:9000", show_default=True)
def demo_upstream(listen: str) -> None:
    """Start a small upstream to play with.

    A projects API, an echo, slow answers, an event stream; it knows nothing of keys and tiers.
    """
    try:
        address = Address.parse(listen)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--listen") from error
    click.echo(f"Demo upstream on {address.url}/api/v1/projects. Ctrl-C stops it.", err=True)
    asyncio.run(_serve(address))


async def _serve(address: Address) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve_demo_upstream(address.host, address.port, stop)
