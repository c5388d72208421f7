"""Background tasks with names and an owner: nothing runs that nobody would miss."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

log = logging.getLogger("tollway.tasks")
T = TypeVar("T")

CANCEL_AGAIN_S = 5.0
"""Until Python 3.12 `asyncio.wait_for` swallows a cancellation that comes when what it waits for is done, and
libraries use it for every command they send."""


class Tasks:
    """Holds the running tasks of one process; `close` ends them all."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    def spawn(
        self, coroutine: Coroutine[Any, Any, T], *, name: str, awaited: bool = False
    ) -> asyncio.Task[T]:
        """Start `coroutine` under `name` (`room.activity`).

        A failure is logged, never lost, unless the task is `awaited`: then it is for whoever awaits it.
        """
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard if awaited else self._ended)
        return task

    async def close(self) -> None:
        """Cancel what still runs and wait until it is gone.

        A task may have been told and not have heard it: then it is cancelled again.
        """
        tasks = running = set(self._running)
        while running:
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)
            for task in running:
                log.warning("a task did not end when it was cancelled", extra={"task": task.get_name()})
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", extra={"task": task.get_name()}, exc_info=error)
