"""Coroutines stepped by hand, without an asyncio Task or Future per call.

A request's coroutine is sent forward by the very callback that completes what it waits for. An await that is
already satisfied costs nothing. Inside such a coroutine there is no current task, so `asyncio.timeout`,
`TaskGroup` and libraries built on them do not work: spawn a task and await that instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, Generic, NoReturn, TypeVar

T = TypeVar("T")
Done = Callable[[BaseException | None], None]


class Wait(Generic[T]):
    """One value that will be there later. Set or fail it once; one coroutine may await it.

    Works under `drive`, which resumes within the very call that sets it, and under a plain asyncio task,
    which takes it for a future: it speaks as much of that protocol as `Task.__step` asks for.
    """

    __slots__ = ("_asyncio_future_blocking", "_done", "_error", "_value", "_wake")

    def __init__(self) -> None:
        self._done = False
        self._error: BaseException | None = None
        self._wake: Callable[[], None] | None = None

    @property
    def done(self) -> bool:
        return self._done

    def set(self, value: T) -> None:
        """Hand over the value and resume whoever waits. Later calls change nothing."""
        if not self._done:
            self._done = True
            self._value = value
            wake = self._wake
            if wake is not None:
                self._wake = None
                wake()

    def fail(self, error: BaseException) -> None:
        """Raise `error` in whoever waits. Later calls change nothing."""
        if not self._done:
            self._done = True
            self._error = error
            wake = self._wake
            if wake is not None:
                self._wake = None
                wake()

    def when_done(self, wake: Callable[[], None]) -> None:
        """`wake` is called within the very call that sets or fails it, instead of a coroutine that waits.

        At once if that has happened. It asks for the `result`.
        """
        if self._done:
            wake()
        else:
            self._wake = wake

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            self._asyncio_future_blocking = True
            yield self
        if self._error is not None:
            self._raise(self._error)
        return self._value

    def _raise(self, error: BaseException) -> NoReturn:
        """Once: who kept it would keep the frames that it goes through, and they what they wait for."""
        self._error = None
        try:
            raise error
        finally:
            del error

    # -- what asyncio.Task asks of a future ------------------------------------------------------------

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    def add_done_callback(self, callback: Callable[[Wait[T]], object], *, context: Context) -> None:
        loop = asyncio.get_running_loop()

        def wake() -> None:
            loop.call_soon(callback, self, context=context)

        if self._done:
            wake()
        else:
            self._wake = wake

    def result(self) -> T:
        if self._error is not None:
            self._raise(self._error)
        return self._value

    def cancel(self, msg: object = None) -> bool:  # noqa: ARG002  asyncio's signature
        """The waiting task is cancelled: it stops waiting, and a value that comes later is dropped."""
        if self._done:
            return False
        self.fail(asyncio.CancelledError())
        return True


class _Driven:
    """One coroutine on its way. Made only when it parks."""

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
            self.step(None, TypeError(f"can not wait for {awaited!r}"))

    def step(self, _: object = None, error: BaseException | None = None) -> None:
        try:
            awaited = self.coroutine.send(None) if error is None else self.coroutine.throw(error)
        except StopIteration:
            self.done(None)
        except (
            Exception,
            asyncio.CancelledError,
        ) as failure:  # cancelled: a task it awaited was, at shutdown
            self.done(failure)
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
        driven = _Driven(coroutine, done)
        if type(awaited) is Wait and not awaited._done:
            awaited._wake = driven.step
        else:
            driven.park(awaited)


def waited(awaitable: Wait[T] | Coroutine[Any, Any, T]) -> Wait[T]:
    """What will be there later, as a Wait. A coroutine is driven; it may await what `drive` says."""
    if isinstance(awaitable, Wait):
        return awaitable
    wait: Wait[T] = Wait()

    async def run() -> None:
        wait.set(await awaitable)

    def ended(error: BaseException | None) -> None:
        if error is not None:
            wait.fail(error)

    drive(run(), ended)
    return wait
