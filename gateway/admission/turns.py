"""Calls that queue for a slot: each account's in the order they came, accounts that share a set in turn.

The first of a line asks the store when a slot of this worker is released, and now and then for those of other
workers. While it asks, nobody else of the line does, so nobody overtakes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial

from gateway.errors import GatewayError
from gateway.inline import Wait
from gateway.model.exchange import Exchange
from gateway.telemetry.slots import Slots

MOST_WAITING = 100
"""Calls of one account that may queue for one limit in one worker."""
MOST_BODY_BYTES = 65536
"""Read of the body of a call that waits."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 0.5
"""How often a line asks for slots of other workers: less and less often while there are none."""


class Turn:
    """Stands in for the uplink of a call that waits: a caller that hangs up ends the wait at once.

    Of a body that comes meanwhile the first `MOST_BODY_BYTES` or so are read and kept.
    """

    def __init__(self, exchange: Exchange, tag: str, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.tag = tag
        self.line: _Line | None = None
        self.joined_at = loop.time()
        self._exchange = exchange
        self._is_late = False
        self._wait: Wait[None] = Wait()
        self._timer = loop.call_later(wait_s, self._expire)
        exchange.uplink = self
        if not exchange.body_done:
            self._read_on_or_pause(exchange)

    def _read_on_or_pause(self, exchange: Exchange) -> None:
        """Whoever is not read is not seen to leave; whoever waits to be asked for its body is not hurried."""
        is_asked_for = exchange.ingress_bytes or not exchange.head.expects_continue
        if is_asked_for and exchange.ingress_bytes <= MOST_BODY_BYTES:
            exchange.downstream.resume_upload()
        else:
            exchange.downstream.pause_upload()

    async def comes(self) -> bool:
        """True when it is time to ask, False when the wait is over. Raises when the caller has left."""
        if not self._is_late and self._exchange.broken is None:
            await self._wait
        if self._exchange.broken is not None:
            raise self._exchange.broken
        return not self._is_late

    def come(self) -> None:
        """It is time to ask."""
        self._wait.set(None)

    def wait_on(self) -> None:
        """It was in vain."""
        self._wait = Wait()

    def _expire(self) -> None:
        self._is_late = True
        self._wait.set(None)

    def over(self) -> None:
        """It no longer waits."""
        self._timer.cancel()
        if self._exchange.uplink is self:
            self._exchange.uplink = None

    # -- Uplink -----------------------------------------------------------------------------------------

    def upload(self, data: bytes) -> None:
        self._exchange.body_parts.append(data)
        if self._exchange.ingress_bytes > MOST_BODY_BYTES:
            self._exchange.downstream.pause_upload()

    def upload_done(self) -> None:
        """Nothing to do: whoever sends the request looks at the exchange."""

    def pause_answer(self) -> None:
        """There is none yet."""

    def resume_answer(self) -> None:
        """There is none yet."""

    def cancel(self) -> None:
        broken = self._exchange.broken
        assert isinstance(broken, GatewayError), "a caller that is gone has been noted"
        self._wait.fail(broken)


class _Line:
    """Who waits for a slot of one set."""

    __slots__ = ("accounts", "again", "asking", "counter", "delay_s", "timer")

    def __init__(self, counter: str) -> None:
        self.counter = counter
        self.accounts: dict[str, deque[Turn]] = {}  # whose turn it is first
        self.asking: Turn | None = None
        self.again = False  # a slot became free while the first asked
        self.delay_s = FIRST_LOOK_S
        self.timer: asyncio.Handle | None = None


class Turns:
    """Every line of one worker."""

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        slots.set("concurrency_waiting", 0)  # whatever a worker that died left behind
        self._lines: dict[str, _Line] = {}

    def is_awaited(self, counter: str) -> bool:
        """Whether calls wait for a slot of this set."""
        return counter in self._lines

    def join(self, counter: str, turn: Turn) -> bool:
        """Stand at the end of a line; False when as many of the account wait as may."""
        line = self._lines.get(counter)
        if line is None:
            line = self._lines[counter] = _Line(counter)
            self._look_later(line)
        waiting = line.accounts.setdefault(turn.tag, deque())
        if len(waiting) >= MOST_WAITING:
            return False
        waiting.append(turn)
        turn.line = line
        self._slots.add("concurrency_waiting", 1)
        return True

    def wait_on(self, counter: str, turn: Turn) -> bool:
        """There was no slot in this set: wait on at the place it has, or at the end of another line."""
        turn.wait_on()
        line = turn.line
        if line is None or line.counter != counter:
            self.leave(turn)
            return self.join(counter, turn)
        line.asking = None
        self._look_soon(line) if line.again else self._look_later(line)
        return True

    def freed(self, counter: str) -> None:
        """A slot of this worker was released."""
        line = self._lines.get(counter)
        if line is not None:
            line.again = True
            line.delay_s = FIRST_LOOK_S
            self._look_soon(line)

    def leave(self, turn: Turn, *, was_last: bool = False) -> None:
        """It waits no longer. `was_last`: it got the last slot there was, so nobody need ask now."""
        line, turn.line = turn.line, None
        if line is None:
            return
        self._slots.add("concurrency_waiting", -1)
        waiting = line.accounts[turn.tag]
        waiting.remove(turn)
        if not waiting:
            del line.accounts[turn.tag]
        elif line.asking is turn:
            line.accounts[turn.tag] = line.accounts.pop(turn.tag)  # it had its turn: others are first now
        if line.asking is turn:
            line.asking, line.delay_s = None, FIRST_LOOK_S
            if line.accounts:
                self._look_later(line) if was_last and not line.again else self._look_soon(line)
        if not line.accounts:
            self._cancel(line)
            del self._lines[line.counter]

    def _look_soon(self, line: _Line) -> None:
        """By way of the ready queue: when nobody gets anything, a long line must not be a deep stack."""
        self._cancel(line)
        line.timer = asyncio.get_running_loop().call_soon(partial(self._look, line))

    def _look_later(self, line: _Line) -> None:
        self._cancel(line)
        line.timer = asyncio.get_running_loop().call_later(line.delay_s, partial(self._look, line))
        line.delay_s = min(LONGEST_LOOK_S, line.delay_s * 2)

    def _cancel(self, line: _Line) -> None:
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None

    def _look(self, line: _Line) -> None:
        line.timer = None
        if line.asking is None and line.accounts:
            line.again = False
            line.asking = next(iter(line.accounts.values()))[0]
            line.asking.come()
