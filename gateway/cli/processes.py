"""`tollway workers` and `tollway upstreams`: the gateway on this data folder, as it sees itself."""

from __future__ import annotations

from pathlib import Path

import click

from gateway.app.wiring import metrics_dir
from gateway.cli.database import command_settings
from gateway.cli.output import json_option, print_json, print_table
from gateway.clock import SystemClock
from gateway.controlplane.processes import read_all
from gateway.controlplane.snapshot_api import ProcessDocument, process_documents, target_documents
from gateway.errors import StartupError

MIB = 1 << 20


@click.command()
@click.option("--state", help="Only processes in this state: ready, starting, draining, ...")
@json_option
@click.pass_context
def workers(context: click.Context, /, state: str | None, as_json: bool) -> None:
    """The processes of the gateway on this data folder.

    Exit code 1: one of them lacks something.
    """
    found = [
        one
        for one in process_documents(_folder(), SystemClock().monotonic_us())
        if state is None or one["state"] == state
    ]
    if as_json:
        print_json({"data": found})
    else:
        heads = ("NAME", "STATE", "LACKS", "PID", "POLICIES", "CONNECTIONS", "MIB", "SWITCHES", "OVERLOADED")
        print_table(heads, [_process_cells(one) for one in found])
    context.exit(1 if any(one["lacks"] for one in found) else 0)


@click.command()
@click.option("--upstream", metavar="NAME", help="Only targets of this upstream.")
@click.option("--worker", metavar="NAME", help="Only as this worker sees them.")
@click.option("--down", is_flag=True, help="Only targets that are not up.")
@json_option
def upstreams(upstream: str | None, worker: str | None, down: bool, as_json: bool) -> None:
    """Every target of every upstream, as workers see it.

    They are those of the gateway on this data folder.
    """
    found = [
        one
        for one in target_documents(_folder())
        if upstream in (None, one["upstream"])
        and worker in (None, one["worker"])
        and not (down and one["up"])
    ]
    if as_json:
        print_json({"data": found})
        return
    heads = ("UPSTREAM", "TARGET", "WORKER", "UP", "FAILED CALLS", "FAILED CHECKS", "CONNECTIONS", "IN USE")
    names = ("upstream", "target", "worker", "up", "failed_calls", "failed_checks", "connections", "in_use")
    print_table(heads, [[dict(one)[name] for name in names] for one in found])


def _folder() -> Path:
    settings = command_settings()
    folder = metrics_dir(settings.data_dir)
    if "supervisor" not in read_all(folder):
        raise StartupError(
            f"No gateway runs on the data folder {settings.data_dir.absolute()}. "
            "Set TOLLWAY_DATA_DIR to that of a gateway on this machine."
        )
    return folder


def _process_cells(one: ProcessDocument) -> tuple[object, ...]:
    pid, policies = one["pid"], one["policies"]
    return (
        one["name"],
        one["state"],
        one["lacks"],
        None if pid is None else str(pid),
        None if policies is None else policies[:12],
        one["connections"],
        one["memory_bytes"] // MIB,
        one["switches"],
        one["overloaded"],
    )
