"""The frame of every process: logs, signals, heartbeat, an end."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import uvloop

from gateway.app.clocks import clock_of
from gateway.app.wiring import Wiring
from gateway.errors import StartupError
from gateway.tasks import Tasks
from gateway.telemetry.catalogue import State
from gateway.telemetry.logs import set_up_logs
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.process")

EXIT_CONFIG = 78
"""Exit status of a process that can not start as configured (sysexits.h, EX_CONFIG)."""

HEARTBEAT_S = 1.0
COMM_PREFIX = "tw:"
"""The kernel shows fifteen characters."""


class Process:
    """What a process is handed: its name, its slots, its tasks, and when to stop."""

    def __init__(self, name: str, wiring: Wiring) -> None:
        self.name = name
        self.wiring = wiring
        self.slots = Slots.open(wiring.metrics_dir / f"{name}.slots")
        self.clock = clock_of(name, wiring.settings)
        self.tasks = Tasks()
        self.stop = asyncio.Event()
        self.is_orphan = False  # the supervisor died
        self.on_reload: Callable[[], None] = lambda: None

    def state(self, state: State) -> None:
        """Tell the other processes how far this one is."""
        self.slots.set("state", state)
        self.beat()

    def beat(self) -> None:
        """Give a sign of life."""
        self.slots.set("heartbeat_us", self.clock.now_us())
        self.slots.set("alive_us", self.clock.monotonic_us())


Serve = Callable[[Process], Awaitable[None]]


def run_process(name: str, wiring: Wiring, serve: Serve) -> int:
    """Run `serve` until SIGTERM or the supervisor's death; the exit status."""
    set_up_logs(wiring.settings.log_format, wiring.settings.log_level, name)
    _show_name(name)
    try:
        uvloop.run(_run(name, wiring, serve))
    except StartupError as error:
        log.error("%s", error)  # noqa: TRY400  one clear line, no traceback
        return EXIT_CONFIG
    return 0


def _show_name(name: str) -> None:
    """In `ps -o comm` and `top`. Linux only; elsewhere all of a gateway's processes look alike."""
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text(f"{COMM_PREFIX}{name}", encoding="ascii")


def calm_collector() -> None:
    """What is there by now stays; calls leave no cycles behind, so young collections find nothing to do."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


async def _run(name: str, wiring: Wiring, serve: Serve) -> None:
    try:
        process = Process(name, wiring)
    except OSError as error:
        raise StartupError(
            f"{wiring.metrics_dir} can not be written: {error.strerror}. Mend that; it is tried again."
        ) from error
    process.state(State.STARTING)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_report)
    loop.add_signal_handler(signal.SIGTERM, process.stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: process.on_reload())
    loop.add_reader(wiring.parent_pipe, _orphaned, process)
    process.tasks.spawn(_beat(process), name="process.heartbeat")
    calm_collector()
    try:
        await serve(process)
    finally:
        await process.tasks.close()
        process.state(State.STOPPED)


def _report(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A lost connection may leave something behind that nobody waits for: that is no defect of ours."""
    if isinstance(context.get("exception"), asyncpg.PostgresConnectionError):
        log.debug("a lost connection to Postgres had something under way")
    else:
        loop.default_exception_handler(context)


def _orphaned(process: Process) -> None:
    asyncio.get_running_loop().remove_reader(process.wiring.parent_pipe)
    log.warning("the supervisor is gone: draining and stopping")
    process.is_orphan = True
    process.stop.set()


async def _beat(process: Process) -> None:
    while True:
        process.beat()
        await asyncio.sleep(HEARTBEAT_S)
