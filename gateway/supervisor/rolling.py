"""A rolling restart: workers replaced one after the other, each new one ready before the old one drains."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable, Iterable
from typing import Protocol

from gateway.supervisor.children import Child
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.supervisor")


class Nursery(Protocol):
    """Who looks after the processes."""

    def kill(self, child: Child, number: signal.Signals) -> None:
        """Send a signal to a process, if it runs."""

    def restart_later(self, child: Child) -> None:
        """Start it again soon."""


class Roll:
    """At most one replacement at a time. Driven by `step` and `ended`; neither waits.

    A new process that ends or does not get ready stops the roll: what has been replaced stays, the old ones
    go on.
    """

    def __init__(
        self,
        nursery: Nursery,
        succeed: Callable[[Child], Child],
        retire: Callable[[Child], None],
        is_ready: Callable[[Child], bool],
        slots: Slots,
        *,
        ready_within_s: float,
        drain_within_s: float,
    ) -> None:
        """`succeed` starts the successor of a process, `retire` forgets one, which it ends if it runs."""
        self._nursery, self._is_ready, self._slots = nursery, is_ready, slots
        self._succeed, self._retire = succeed, retire
        self._ready_within_s, self._drain_within_s = ready_within_s, drain_within_s
        self._due: list[Child] = []
        self._old: Child | None = None
        self._new: Child | None = None
        self._is_draining = False
        self._give_up_at_s = 0.0

    @property
    def is_on(self) -> bool:
        """Whether something is being replaced or due."""
        return bool(self._due) or self._old is not None

    def ask(self, children: Iterable[Child]) -> None:
        """Replace these. Asked in the middle of a roll, it begins anew behind the process at hand."""
        self._due = [child for child in children if child is not self._old]
        log.info("rolling restart", extra={"count": len(self._due)})

    def step(self, now_s: float) -> None:
        """Do what can be done by now; `now_s` is any monotonic clock."""
        old, new = self._old, self._new
        if old is None or new is None:
            if self._due:
                self._begin(self._due.pop(0), now_s)
        elif self._is_draining:
            if not old.pid:
                self._finish(old)
            elif now_s >= self._give_up_at_s:
                self._nursery.kill(old, signal.SIGKILL)
        elif self._is_ready(new):
            log.info("%s takes over from %s", new.name, old.name)
            self._nursery.kill(old, signal.SIGTERM)
            self._is_draining = True
            self._give_up_at_s = now_s + self._drain_within_s
        elif now_s >= self._give_up_at_s:
            self._stop(new, f"was not ready within {self._ready_within_s:.0f} s")

    def ended(self, child: Child) -> bool:
        """Whether the end of this process is ours to deal with, so that it is not simply restarted."""
        if child is self._new and not self._is_draining:
            self._stop(child, f"ended with status {child.status} before it was ready")
            return True
        # An old one that dies early is not missed for long: its successor is on its way.
        return child is self._old

    def _begin(self, old: Child, now_s: float) -> None:
        old.restart_at_s = 0.0
        self._old, self._new = old, self._succeed(old)
        self._is_draining = False
        self._give_up_at_s = now_s + self._ready_within_s

    def _finish(self, old: Child) -> None:
        self._retire(old)
        self._old = self._new = None
        if not self._due:
            self._slots.add("rolling_restarts_total", 1, "done")
            log.info("rolling restart done")

    def _stop(self, new: Child, why: str) -> None:
        self._retire(new)
        old, self._old, self._new = self._old, None, None
        self._due = []
        self._slots.add("rolling_restarts_total", 1, "stopped")
        log.error(
            "rolling restart stopped: the new process %s; the old ones go on. Its log lines say why",
            why,
            extra={"child": new.name},
        )
        if old is not None and not old.pid:
            self._nursery.restart_later(old)
