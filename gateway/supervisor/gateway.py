"""`tollway run`: everything started in order, kept alive, and stopped in the reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import signal
import sys
import time
from functools import partial

import asyncpg

from gateway.accounts.store import Accounts
from gateway.app.board import Board, Phase
from gateway.app.clocks import clock_of
from gateway.app.control import check_operators_certificate, serve_control
from gateway.app.process import EXIT_CONFIG, Process, Serve, run_process
from gateway.app.recorder import serve_recorder
from gateway.app.wiring import Wiring, accepted_policies, board_file, metrics_dir
from gateway.app.worker import check_certificate, serve_worker
from gateway.clock import Clock
from gateway.demo import DemoKeys, prepare_demo, render_demo, serve_demo_upstream
from gateway.errors import StartupError
from gateway.model.policies import PolicySet
from gateway.settings import Address, Settings
from gateway.storage.postgres import connect_pool, refusal
from gateway.supervisor.children import Child, Children
from gateway.supervisor.descriptors import allow_as_many_as_we_may
from gateway.supervisor.folder import admin_token, prepare_folder, token_file, unusable
from gateway.supervisor.libraries import check_compiled, check_libraries
from gateway.supervisor.own_ports import own_ports_objection
from gateway.supervisor.ports import check_free, reserve
from gateway.supervisor.rolling import Roll
from gateway.supervisor.stores import Stores
from gateway.supervisor.terminal import Terminal
from gateway.supervisor.watcher import PolicyWatcher
from gateway.telemetry.catalogue import HEARTBEAT_MAX_US, State, slot, worker_names
from gateway.telemetry.logs import set_up_logs
from gateway.telemetry.slots import Slots, read_slots

log = logging.getLogger("tollway.supervisor")

HANDLED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGCHLD}
READY_WITHIN_S = 30.0
TICK_S = 1.0
ROLL_TICK_S = 0.05
FULL_MAX_US = 60_000_000
FULL_EARLY_S = 600.0
GRACE_S = 5.0
"""What a process gets beyond the drain timeout to flush and end."""

DEMO_UPSTREAM = Address("127.0.0.1", 9000)  # where the example policies expect it


def run(settings: Settings, *, demo: bool) -> int:
    """Run the gateway until SIGTERM or Ctrl-C; its exit status. StartupError when it can not start."""
    set_up_logs(settings.log_format, settings.log_level, "supervisor")
    signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    check_libraries()
    check_compiled()
    terminal = Terminal.now()
    allow_as_many_as_we_may(settings.max_connections)
    clock = clock_of("supervisor", settings)
    with contextlib.ExitStack() as opened:
        try:
            prepare_folder(settings.data_dir, opened)
            slots = Slots.open(metrics_dir(settings.data_dir) / "supervisor.slots")
            check_certificate(settings)
            check_operators_certificate(settings)
            if demo:
                check_free(f"The demo upstream's port {DEMO_UPSTREAM}", DEMO_UPSTREAM, "End what uses it.")
            ports = reserve(settings)
            settings = ports.settings
            for holder in (*ports.held, *itertools.chain(*ports.posts)):
                opened.enter_context(holder)
            board = Board.create(board_file(settings.data_dir), settings.workers)
            accepted = accepted_policies(settings.data_dir)
            objection = own_ports_objection(settings)
            watcher = PolicyWatcher(settings.policies, accepted, slots, objection)
            policies = watcher.accept_first()
            stores = Stores(settings)
            opened.callback(stores.stop)
            stores.start(policies)
        except OSError as error:
            raise unusable(settings.data_dir, error) from error
        keys = asyncio.run(_demo_keys(settings, stores.database_url)) if demo else None
        alive, alive_in_parent = os.pipe()
        urls = stores.database_url, stores.redis_url
        wiring = Wiring(settings, *urls, admin_token(settings), alive, ports.posts, board, objection)
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
        self._roll = Roll(
            children,
            self._succeed,
            self._retire,
            self._is_ready,
            slots,
            ready_within_s=READY_WITHIN_S,
            drain_within_s=wiring.settings.drain_timeout_s + GRACE_S,
        )

    def start(self, *, demo: bool) -> None:
        """Fork every process and wait until all are ready. StartupError names one that is not."""
        if demo:
            self._add("demo-upstream", _serve_demo)
        self._add("recorder", serve_recorder)
        self._add("control", serve_control)
        for post in range(self._wiring.settings.workers):
            self._add_worker(worker_names(post + 1)[0], post)
        waited_s = 0.0
        while not all(self._is_ready(child) for child in self._children.all):
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

    def _add(self, name: str, serve: Serve) -> None:
        def work() -> int:
            for listening in itertools.chain(*self._wiring.posts):
                listening.close()  # a queue that nobody accepts from must not outlive those who do
            return run_process(name, self._wiring, serve)

        self._children.add(name, work)

    def _add_worker(self, name: str, post: int) -> Child:
        serve = partial(serve_worker, post=post)
        return self._children.add(name, partial(run_process, name, self._wiring, serve), post)

    def _succeed(self, old: Child) -> Child:
        """Start the process that replaces a worker."""
        assert old.post is not None, "only workers are replaced"
        first, second = worker_names(old.post + 1)
        return self._add_worker(second if old.name == first else first, old.post)

    def _is_ready(self, child: Child) -> bool:
        cells = self._cells(child.name)
        return cells is not None and cells[slot("state")] == State.READY

    def keep_running(self, terminal: Terminal) -> None:
        """Tend everything until asked to stop, or until the terminal that holds us is closed."""
        while True:
            number = self._tend(TICK_S)
            if number in (signal.SIGTERM, signal.SIGINT):
                return
            if number == signal.SIGHUP and terminal.is_closed():
                log.info("the terminal was closed")
                return
            if number == signal.SIGUSR2:
                self._roll.ask(self._workers())
            if self._watcher.reload() if number == signal.SIGHUP else self._watcher.poll(time.monotonic()):
                self._children.signal(signal.SIGHUP)

    def _tend(self, wait_s: float) -> int:
        """Wait for a signal, at most that long, and see to the processes; the signal's number or 0."""
        due_s = self._children.next_restart_s()
        hurry_s = ROLL_TICK_S if self._roll.is_on else wait_s
        info = signal.sigtimedwait(HANDLED, min(wait_s, hurry_s, wait_s if due_s is None else due_s))
        for child in self._children.reap():
            self._ended(child)
        self._children.restart_due()
        self._roll.step(time.monotonic())
        self._look_at_workers()
        self._tend_stores()
        self._slots.set("heartbeat_us", self._clock.now_us())
        self._slots.set("alive_us", self._clock.monotonic_us())
        return info.si_signo if info is not None else 0

    def _ended(self, child: Child) -> None:
        self._mark(child, State.STOPPED)
        if not self._roll.ended(child):
            self._children.restart_later(child)

    def _retire(self, child: Child) -> None:
        """Nobody waits for this process any more."""
        self._children.remove(child)
        self._mark(child, State.RETIRED)

    def _mark(self, child: Child, state: State) -> None:
        """Say for a process that is gone what it could not; nobody else writes there."""
        with contextlib.suppress(OSError):
            Slots.open(self._wiring.metrics_dir / f"{child.name}.slots").set("state", state)

    def _look_at_workers(self) -> None:
        """Others take the connections of one that gives no sign of life; one that is full is replaced."""
        now_us = self._clock.monotonic_us()
        attended = set()
        for child in self._workers():
            cells = self._cells(child.name)
            if child.pid and cells is not None and cells[slot("state")] == State.READY:
                if now_us - cells[slot("alive_us")] < HEARTBEAT_MAX_US:
                    attended.add(child.post)
                if cells[slot("overloaded", "memory")] and not self._roll.is_on:
                    self._replace_if_full(child, now_us - cells[slot("overloaded_since_us")])
        for post in range(self._wiring.settings.workers):
            self._wiring.board.set_attended(post, attended=post in attended)

    def _replace_if_full(self, child: Child, full_us: int) -> None:
        """Memory that does not come back for a minute is lost, unless a new worker would soon be as full."""
        old_enough = time.monotonic() - child.started_at_s >= FULL_EARLY_S
        if old_enough and full_us >= FULL_MAX_US:
            log.warning("%s is replaced: its memory stays at the bound", child.name)
            self._roll.ask([child])

    def _workers(self) -> list[Child]:
        return [child for child in self._children.all if child.post is not None]

    def _cells(self, name: str) -> list[int] | None:
        """What a process counts; None while it does not."""
        try:
            return read_slots(self._wiring.metrics_dir / f"{name}.slots")
        except (OSError, ValueError):
            return None

    def _tend_stores(self) -> None:
        try:
            self._stores.tend()
        except StartupError as error:
            log.error("%s", error)  # noqa: TRY400  one clear line; tried again at the next tick

    def stop(self) -> None:
        """Tell load balancers; then stop workers, what they lean on, and the recorder, which books it all."""
        settings, board = self._wiring.settings, self._wiring.board
        was_ready = self._slots.get("state") == State.READY
        self._slots.set("state", State.DRAINING)
        if was_ready and settings.drain_delay_s:
            board.phase = Phase.LEAVING
            self._linger(settings.drain_delay_s)
        board.phase = Phase.CLOSING
        for listening in itertools.chain(*self._wiring.posts):
            listening.close()  # the workers have theirs until they have accepted everything
        self._children.stop(lambda child: child.post is not None, settings.drain_timeout_s + GRACE_S)
        self._children.stop(lambda child: child.name != "recorder", GRACE_S)
        self._children.stop(lambda _: True, 2 * GRACE_S)
        self._slots.set("state", State.STOPPED)

    def _linger(self, delay_s: float) -> None:
        """Serve on for a while; until it is over or we are asked to stop again."""
        over_at_s = time.monotonic() + delay_s
        log.info("not ready any more, closing later", extra={"delay_s": delay_s})
        while (left_s := over_at_s - time.monotonic()) > 0:
            if self._tend(min(left_s, TICK_S)) in (signal.SIGTERM, signal.SIGINT):
                return


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
            control_url=settings.control_url,
            token_file=token_file(settings) if settings.admin_token is None else None,
        )
        print(told, file=sys.stderr)  # noqa: T201  for the person at the terminal
