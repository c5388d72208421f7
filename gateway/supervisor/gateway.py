"""`tollway run`: everything started in order, kept alive, and stopped in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import asyncpg

from gateway.accounts.store import Accounts
from gateway.app.clocks import clock_of
from gateway.app.control import serve_control
from gateway.app.process import EXIT_CONFIG, Process, Serve, State, run_process
from gateway.app.recorder import serve_recorder
from gateway.app.wiring import JOURNALS, Wiring, accepted_policies, metrics_dir
from gateway.app.worker import check_certificate, serve_worker
from gateway.clock import Clock
from gateway.demo import DemoKeys, prepare_demo, render_demo, serve_demo_upstream
from gateway.errors import StartupError
from gateway.model.policies import PolicySet
from gateway.settings import Address, Settings
from gateway.storage.postgres import connect_pool, refusal
from gateway.supervisor.children import Children
from gateway.supervisor.own_ports import own_ports_objection
from gateway.supervisor.ports import check_free, reserve
from gateway.supervisor.stores import Stores
from gateway.supervisor.terminal import Terminal
from gateway.supervisor.watcher import PolicyWatcher
from gateway.telemetry.catalogue import slot
from gateway.telemetry.logs import set_up_logs
from gateway.telemetry.slots import Slots, read_slots

log = logging.getLogger("tollway.supervisor")

HANDLED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
READY_WITHIN_S = 30.0
TICK_S = 1.0
GRACE_S = 5.0
"""What a process gets beyond the drain timeout to flush and end."""

DEMO_UPSTREAM = Address("127.0.0.1", 9000)  # where the example policies expect it


def run(settings: Settings, *, demo: bool) -> int:
    """Run the gateway until SIGTERM or Ctrl-C; its exit status. StartupError when it can not start."""
    set_up_logs(settings.log_format, settings.log_level, "supervisor")
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    terminal = Terminal.now()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a socket per caller: as many as we may have
    clock = clock_of("supervisor", settings)
    with contextlib.ExitStack() as opened:
        try:
            _prepare_folder(settings.data_dir, opened)
            slots = Slots.open(metrics_dir(settings.data_dir) / "supervisor.slots")
            check_certificate(settings)
            if demo:
                check_free(f"The demo upstream's port {DEMO_UPSTREAM}", DEMO_UPSTREAM, "End what uses it.")
            settings, held = reserve(settings)
            for holder in held:
                opened.enter_context(holder)
            accepted = accepted_policies(settings.data_dir)
            watcher = PolicyWatcher(settings.policies, accepted, slots, own_ports_objection(settings))
            policies = watcher.accept_first()
            stores = Stores(settings)
            opened.callback(stores.stop)
            stores.start()
        except OSError as error:
            raise _unusable(settings.data_dir, error) from error
        keys = asyncio.run(_demo_keys(settings, stores.database_url)) if demo else None
        alive, alive_in_parent = os.pipe()
        wiring = Wiring(settings, stores.database_url, stores.redis_url, _admin_token(settings), alive)
        children = Children(slots, [alive_in_parent])
        gateway = _Gateway(wiring, children, watcher, stores, slots, clock)
        opened.callback(gateway.stop)
        gateway.start(demo=demo)
        _tell_ready(wiring, keys, policies)
        gateway.keep_running(terminal)
        log.info("draining")
    log.info("stopped")
    return 0


class _Gateway:
    """The running processes and what they stand on."""

    def __init__(
        self,
        wiring: Wiring,
        children: Children,
        watcher: PolicyWatcher,
        stores: Stores,
        slots: Slots,
        clock: Clock,
    ) -> None:
        self._wiring = wiring
        self._children = children
        self._watcher = watcher
        self._stores = stores
        self._slots = slots
        self._clock = clock

    def start(self, *, demo: bool) -> None:
        """Fork every process and wait until all are ready. StartupError names one that is not."""
        for name, serve in self._processes(demo=demo):
            self._children.add(name, partial(run_process, name, self._wiring, serve))
        waited_s = 0.0
        while not all(self._is_ready(child.name) for child in self._children.all):
            ended = self._children.reap()
            if ended:
                told = " (see its line above)" if ended[0].status == EXIT_CONFIG else ""
                raise StartupError(f"{ended[0].name} ended with status {ended[0].status}{told}.")
            if waited_s > READY_WITHIN_S:
                raise StartupError(f"The gateway was not ready within {READY_WITHIN_S:.0f} s. See the log.")
            if _stop_asked(0.02):
                raise StartupError("Stopped before the gateway was ready.")
            waited_s += 0.02
        self._slots.set("state", State.READY)

    def _processes(self, *, demo: bool) -> Iterator[tuple[str, Serve]]:
        if demo:
            yield "demo-upstream", _serve_demo
        yield "recorder", serve_recorder
        yield "control", serve_control
        for number in range(1, self._wiring.settings.workers + 1):
            yield f"worker-{number}", serve_worker

    def _is_ready(self, name: str) -> bool:
        try:
            return read_slots(self._wiring.metrics_dir / f"{name}.slots")[slot("state")] == State.READY
        except (OSError, ValueError):
            return False

    def keep_running(self, terminal: Terminal) -> None:
        """Tend everything until asked to stop, or until the terminal that holds us is closed."""
        while True:
            wait_s = self._children.next_restart_s()
            info = signal.sigtimedwait(HANDLED, TICK_S if wait_s is None else min(wait_s, TICK_S))
            number = info.si_signo if info is not None else 0
            if number in (signal.SIGTERM, signal.SIGINT):
                return
            if number == signal.SIGHUP and terminal.is_closed():
                log.info("the terminal was closed")
                return
            if self._watcher.reload() if number == signal.SIGHUP else self._watcher.poll(time.monotonic()):
                self._children.signal(signal.SIGHUP)
            for child in self._children.reap():
                self._children.restart_later(child)
            self._children.restart_due()
            self._tend_stores()
            self._slots.set("heartbeat_us", self._clock.now_us())
            self._slots.set("alive_us", self._clock.monotonic_us())

    def _tend_stores(self) -> None:
        try:
            self._stores.tend()
        except StartupError as error:
            log.error("%s", error)  # noqa: TRY400  one clear line; tried again at the next tick

    def stop(self) -> None:
        """Workers first, then what they lean on; the recorder last, so that it books everything."""
        drain_s = self._wiring.settings.drain_timeout_s
        self._slots.set("state", State.DRAINING)
        self._children.stop(lambda name: name.startswith("worker-"), drain_s + GRACE_S)
        self._children.stop(lambda name: name != "recorder", GRACE_S)
        self._children.stop(lambda _: True, 2 * GRACE_S)
        self._slots.set("state", State.STOPPED)


def _unusable(data_dir: Path, error: OSError) -> StartupError:
    where = f" ({error.filename})" if error.filename and Path(error.filename) != data_dir else ""
    return StartupError(
        f"The data folder {data_dir.absolute()} can not be used: {error.strerror}{where}. "
        "Mend that, or set TOLLWAY_DATA_DIR to another folder."
    )


def _prepare_folder(data_dir: Path, opened: contextlib.ExitStack) -> None:
    """Make the data folder ours alone. StartupError when another gateway uses it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = opened.enter_context((data_dir / "lock").open("a"))
    try:
        # Not flock: a forked process would share it, and outlive us with it.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as taken:
        raise StartupError(
            f"Another gateway runs on {data_dir}. Stop it, or set TOLLWAY_DATA_DIR to another folder."
        ) from taken
    shutil.rmtree(metrics_dir(data_dir), ignore_errors=True)
    for private in (accepted_policies(data_dir).parent, data_dir / JOURNALS):  # who called what, when
        private.mkdir(mode=0o700, parents=True, exist_ok=True)


def _admin_token(settings: Settings) -> str:
    """The configured token, or one of our own that only the owner of the data folder can read."""
    if settings.admin_token is not None:
        return settings.admin_token
    path = _token_file(settings)
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
        draft.replace(path)
    return path.read_text().strip()


def _token_file(settings: Settings) -> Path:
    return settings.data_dir / "admin-token"


async def _demo_keys(settings: Settings, database_url: str) -> DemoKeys:
    pool = await connect_pool(database_url, max_size=1)
    try:
        return await prepare_demo(Accounts(pool, settings.key_prefix), settings.data_dir)
    except asyncpg.PostgresError as error:
        raise StartupError(refusal(error)) from error
    finally:
        await pool.close()


async def _serve_demo(process: Process) -> None:
    serving = process.tasks.spawn(
        serve_demo_upstream(DEMO_UPSTREAM.host, DEMO_UPSTREAM.port, process.stop),
        name="demo.upstream",
        awaited=True,
    )
    process.state(State.READY)
    await serving


def _stop_asked(within_s: float) -> bool:
    info = signal.sigtimedwait(HANDLED, within_s)
    return info is not None and info.si_signo in (signal.SIGTERM, signal.SIGINT)


def _tell_ready(wiring: Wiring, keys: DemoKeys | None, policies: PolicySet) -> None:
    settings = wiring.settings
    log.info(
        "ready: calls on %s, operators on %s, customers on %s, %d workers",
        settings.listen,
        settings.control,
        settings.portal,
        settings.workers,
    )
    if keys is not None:
        for key in (keys.free, keys.paid):
            if key.tier not in policies.tiers:
                log.warning(
                    "the policies have no tier %s, so the demo key on it gets 503; make an account with "
                    "`tollway account create`",
                    key.tier,
                )
        told = render_demo(
            keys,
            gateway_url=settings.public_url,
            control_url=settings.control.url,
            token_file=_token_file(settings) if settings.admin_token is None else None,
        )
        print(told, file=sys.stderr)  # noqa: T201  for the person at the terminal
