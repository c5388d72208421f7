"""Coroutines stepped by hand, without an asyncio Task or Future per call.

A request's coroutine is sent forward by the very callback that completes what it waits for. An await that is
already satisfied costs nothing. Inside such a coroutine there is no current task, so `asyncio.timeout`,
`TaskGroup` and libraries built on them do not work: spawn a task and await that instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")
Done = Callable[[BaseException | None], None]


class Wait(Generic[T]):
    """One value that will be there later. Set or fail it once; one coroutine may await it.

    Works under `drive` as well as under a plain asyncio task.
    """

    __slots__ = ("_done", "_error", "_value", "_wake")

    def __init__(self) -> None:
        self._done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._wake: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        return self._done

    def set(self, value: T) -> None:
        """Hand over the value and resume whoever waits, within this very call. Later calls change nothing."""
        if not self._done:
            self._done = True
            self._value = value
            self._resume()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in whoever waits, within this very call. Later calls change nothing."""
        if not self._done:
            self._done = True
            self._error = error
            self._resume()

    def _resume(self) -> None:
        wake, self._wake = self._wake, None
        if wake is not None:
            wake()

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            try:
                running = asyncio.current_task()
            except RuntimeError:
                running = None
            if running is None:
                yield self
            else:
                future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._wake = lambda: None if future.done() else future.set_result(None)
                yield from future
        if self._error is not None:
            raise self._error
        return cast("T", self._value)


class _Driven:
    """One coroutine on its way. Kept off the fast path: made only when the coroutine parks."""

    __slots__ = ("coroutine", "done")

    def __init__(self, coroutine: Coroutine[Any, Any, None], done: Done) -> None:
        self.coroutine = coroutine
        self.done = done

    def park(self, awaited: Any) -> None:
        if type(awaited) is Wait:
            if awaited._done:
                self.step()
            else:
                awaited._wake = self.step
        elif asyncio.isfuture(awaited):
            # The protocol between Future.__await__ and Task.__step: whoever drives clears this flag.
            awaited._asyncio_future_blocking = False
            awaited.add_done_callback(self.step)
        else:
            self._finish(lambda: self.coroutine.throw(TypeError(f"can not wait for {awaited!r}")))

    def step(self, _: Any = None) -> None:
        self._finish(lambda: self.coroutine.send(None))

    def _finish(self, advance: Callable[[], Any]) -> None:
        try:
            awaited = advance()
        except StopIteration:
            self.done(None)
        except (
            Exception,
            asyncio.CancelledError,
        ) as error:  # cancelled: a task it waited for was, at shutdown
            self.done(error)
        else:
            self.park(awaited)


def drive(coroutine: Coroutine[Any, Any, None], done: Done) -> None:
    """Run `coroutine` now, as far as it goes; later steps run inside the callbacks that complete its waits.

    It may await `Wait` objects and asyncio futures or tasks, nothing else. `done(None)` is called when it
    returns, `done(error)` when it raises.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        done(None)
    except (Exception, asyncio.CancelledError) as error:
        done(error)
    else:
        _Driven(coroutine, done).park(awaited)
