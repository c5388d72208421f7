"""Forked processes: started, restarted with back-off when they die, drained when asked."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.supervisor")

RESTART_S_MIN = 0.1
RESTART_S_MAX = 5.0
STABLE_S = 30.0
"""A process that lived this long is restarted at once again."""


@dataclass(slots=True)
class Child:
    """One process to keep alive. `work` runs in it and returns its exit status."""

    name: str
    work: Callable[[], int]
    post: int | None = None  # which of the public port's sockets it attends; None: it is no worker
    pid: int = 0  # 0: not running
    status: int = 0  # of the last end, as a shell shows it: 128 + signal when killed
    started_at_s: float = field(default=0.0, repr=False)
    restart_at_s: float = field(default=0.0, repr=False)
    delay_s: float = field(default=RESTART_S_MIN, repr=False)


class Children:
    """All processes of the gateway. Single-threaded: every method returns at once but `stop`."""

    def __init__(self, slots: Slots, close_in_child: Iterable[int]) -> None:
        self.all: list[Child] = []
        self._slots = slots
        self._close_in_child = tuple(close_in_child)

    def add(self, name: str, work: Callable[[], int], post: int | None = None) -> Child:
        """Start another process."""
        child = Child(name, work, post)
        self.all.append(child)
        self._fork(child)
        return child

    def remove(self, child: Child) -> None:
        """Forget a process; end it at once if it still runs."""
        self.all.remove(child)
        if child.pid:
            _kill(child.pid, signal.SIGKILL)
            os.waitpid(child.pid, 0)
            child.pid = 0

    def reap(self) -> list[Child]:
        """Those that ended since the last call."""
        ended = []
        for child in self.all:
            if child.pid and (status := _status(child.pid)) is not None:
                child.pid, child.status = 0, status
                ended.append(child)
        return ended

    def restart_later(self, child: Child) -> None:
        """A process died: start it again soon, later each time it dies young."""
        now_s = time.monotonic()
        if now_s - child.started_at_s > STABLE_S:
            child.delay_s = RESTART_S_MIN
        child.restart_at_s = now_s + child.delay_s
        log.error(
            "%s died, restarting",
            child.name,
            extra={"status": child.status, "delay_s": child.delay_s},
        )
        child.delay_s = min(2 * child.delay_s, RESTART_S_MAX)
        self._slots.add("worker_restarts_total")

    def restart_due(self) -> None:
        """Start what is due by now."""
        for child in self.all:
            if not child.pid and child.restart_at_s and child.restart_at_s <= time.monotonic():
                child.restart_at_s = 0.0
                self._fork(child)

    def next_restart_s(self) -> float | None:
        """Seconds until `restart_due` has something to do."""
        due = [child.restart_at_s for child in self.all if not child.pid and child.restart_at_s]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def kill(self, child: Child, number: signal.Signals) -> None:
        """Send a signal to a process, if it runs."""
        _kill(child.pid, number)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to every process that runs."""
        for child in self.all:
            _kill(child.pid, number)

    def stop(self, matching: Callable[[Child], bool], timeout_s: float) -> None:
        """Drain the processes that match; kill what is left after `timeout_s` or a second Ctrl-C."""
        leaving = [child for child in self.all if child.pid and matching(child)]
        for child in leaving:
            _kill(child.pid, signal.SIGTERM)
        give_up_at_s = time.monotonic() + timeout_s
        while any(child.pid for child in leaving):
            left_s = give_up_at_s - time.monotonic()
            interrupted = signal.sigtimedwait({signal.SIGCHLD, signal.SIGINT}, min(max(left_s, 0.0), 0.5))
            if left_s <= 0 or (interrupted is not None and interrupted.si_signo == signal.SIGINT):
                for child in leaving:
                    _kill(child.pid, signal.SIGKILL)
            self.reap()

    def _fork(self, child: Child) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        child.started_at_s = time.monotonic()
        child.pid = os.fork()
        if child.pid == 0:
            os._exit(self._run(child))

    def _run(self, child: Child) -> int:
        """In the new process: nothing of the supervisor's may be left but its memory."""
        try:
            for descriptor in self._close_in_child:
                os.close(descriptor)
            # Ctrl-C reaches the whole group: the supervisor alone answers it, in order.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            # Until the process listens to it, a reload must not end it; it reads the newest policies anyway.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # for the supervisor, whoever else is sent it
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            return child.work()
        except BaseException:  # the process ends here whatever it was; say so before it is gone
            traceback.print_exc()
            return 1
        finally:
            with contextlib.suppress(OSError):
                sys.stdout.flush()
                sys.stderr.flush()


def _status(pid: int) -> int | None:
    try:
        ended, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return 1
    if not ended:
        return None
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _kill(pid: int, number: signal.Signals) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
