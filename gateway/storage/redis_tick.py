"""The hot path's Redis client: calls of one loop tick leave in one write, answers come back in order.

No Task, no Future and no timer per call. A caller that went away leaves its place in the line: the answer is
taken off and dropped, so answers can never cross. Whatever goes wrong is StoreUnavailable, and soon.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from math import inf
from time import monotonic  # the real one: a loop's own time may stand still while a callback runs
from typing import Any, Final

import hiredis

from gateway.errors import StoreRefused, StoreUnavailable
from gateway.inline import Wait
from gateway.storage.redis import RedisAddress, field_of, script_name
from gateway.storage.sentinel import locate
from gateway.tasks import Tasks
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.redis")

TIMEOUT_S = 0.1
"""A call not answered by then has failed, and with it the connection."""
GRACE_S = 0.01
"""Part of the timeout kept back for a second look, after the loop had another chance to read."""
TICK_S = 0.001
"""Timers are that exact."""
STALL_GRACE_S = 0.03
STALLED_LOOKS_MAX = 3
"""A look that comes late says more about our own loop than about Redis: look again, but not for ever."""
CONNECT_TIMEOUT_S = 2.0
PING_EVERY_S = 5.0
"""An idle connection is tried this often, so that `admission_store_up` is true before the next call."""
SHORTEST_DELAY_S, LONGEST_DELAY_S = 0.05, 2.0
NAME_LENGTH = 12
"""Of what a server calls itself: enough to tell two runs apart, and short, since each call says it."""
OUTSTANDING_MAX = 10_000
"""Calls that wait for an answer, per worker; about 10 MB at most."""

Args = tuple[bytes | str | int, ...]


class TickRedis:
    """One connection to Redis that is made again whenever it is lost. While it is down, calls fail at once.

    Register scripts before `start`, so that they are loaded before the connection counts as up.
    """

    def __init__(
        self,
        address: RedisAddress,
        slots: Slots,
        tasks: Tasks,
        *,
        timeout_s: float = TIMEOUT_S,
        outstanding_max: int = OUTSTANDING_MAX,
    ) -> None:
        self._address = address
        self._cells = slots.cells
        self._calls_slot = slot("admission_store_calls_total")
        self._up_slot = slot("admission_store_up")
        self._tasks = tasks
        self.timeout_s: Final = timeout_s
        self._outstanding_max = outstanding_max
        self._scripts: dict[str, str] = {}
        self.server = ""  # what the server calls itself, each run another name; the last one met
        self._link: _Link | None = None
        self._is_up = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._delay_s = 0.0
        self._complained = False
        self._cells[self._up_slot] = 0

    @property
    def up(self) -> bool:
        """Whether calls are sent at all."""
        return self._link is not None

    def script(self, source: str) -> str:
        """Make `source` known; the answer is its name for `evalsha`."""
        sha = script_name(source)
        self._scripts[sha] = source
        return sha

    def start(self) -> None:
        """Connect, and stay connected until `close`."""
        self._keeper = self._tasks.spawn(self._stay_connected(), name="storage.redis")

    async def wait_until_up(self, timeout_s: float = CONNECT_TIMEOUT_S) -> bool:
        """True as soon as the connection is up, False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._is_up.wait()
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """End the connection. Calls that still wait fail."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        link, self._link = self._link, None
        if link is not None:
            self._is_up.clear()
            self._cells[self._up_slot] = 0
            link.lose("closed")

    def call(self, args: Args) -> Wait[Any]:
        """Send one command. The answer, or StoreUnavailable, within the timeout."""
        link = self._link
        if link is None:
            failed: Wait[Any] = Wait()
            failed.fail(StoreUnavailable("not connected to Redis", unsent=True, told=True))
            return failed
        self._cells[self._calls_slot] += 1
        return link.call(args)

    def evalsha(self, sha: str, keys: tuple[str, ...], args: Args) -> Wait[Any]:
        """Run a registered script; a Redis that forgot it is given it again."""
        return self.call(("EVALSHA", sha, len(keys), *keys, *args))

    def flush(self) -> None:
        """Write now what this tick has brought so far."""
        if self._link is not None:
            self._link.write()

    async def _stay_connected(self) -> None:
        while True:
            try:
                link = await self._connect()
            except (OSError, TimeoutError, StoreUnavailable) as error:
                self._complain("can not connect to Redis", error)
            else:
                await self._use(link)
            await asyncio.sleep(self._next_delay_s())

    async def _connect(self) -> _Link:
        link = _Link(self._lost, self._scripts, self._outstanding_max)
        link.address = self._address
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                link.address = address = await locate(self._address)
                if address.path is not None:
                    await loop.create_unix_connection(lambda: link, address.path)
                else:
                    await loop.create_connection(
                        lambda: link, address.host, address.port, ssl=address.ssl_context()
                    )
                for command in self._handshake():
                    await link.call(command)
                link.server = await self._introduced(link)
                link.call(("CLIENT", "SETNAME", "tollway"))  # not awaited: a right an ACL user may lack
        except BaseException:
            link.lose("the connection was not completed")
            raise
        link.hurry(self.timeout_s)
        return link

    def _handshake(self) -> list[Args]:
        address = self._address
        commands: list[Args] = []
        if address.password is not None:
            user = () if address.username is None else (address.username,)
            commands.append(("AUTH", *user, address.password))
        if address.db:
            commands.append(("SELECT", address.db))
        commands.extend(("SCRIPT", "LOAD", source) for source in self._scripts.values())
        return commands

    async def _introduced(self, link: _Link) -> str:
        """What the server is called. A replica would take no writes, so it is none to use."""
        if field_of(await link.call(("INFO", "replication")), b"role") == b"slave":
            raise StoreUnavailable("it is a replica")
        run_id = field_of(await link.call(("INFO", "server")), b"run_id")
        return run_id.decode("ascii", "replace")[:NAME_LENGTH]

    async def _use(self, link: _Link) -> None:
        if link.lost.is_set():
            return
        self.server = link.server
        self._link = link
        self._is_up.set()
        self._cells[self._up_slot] = 1
        if self._complained:
            self._complained = False
            log.info("connected to Redis again", extra={"listen": str(self._address)})
        began_s = asyncio.get_running_loop().time()
        while not link.lost.is_set():
            try:
                async with asyncio.timeout(PING_EVERY_S):
                    await link.lost.wait()
            except TimeoutError:
                link.call(("PING",))  # nobody waits: the timeout of the connection does
                await self._stay_with_the_primary(link)
        if asyncio.get_running_loop().time() - began_s > LONGEST_DELAY_S:
            self._delay_s = 0.0

    async def _stay_with_the_primary(self, link: _Link) -> None:
        """One that was replaced may live on behind a cut network, and take writes that will be lost."""
        if self._address.sentinels is None:
            return
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                if await locate(self._address) != link.address:
                    link.lose("Sentinel names another primary")

    def _lost(self, link: _Link, reason: str) -> None:
        if self._link is link:
            self._link = None
            self._is_up.clear()
            self._cells[self._up_slot] = 0
            self._complain("lost the connection to Redis", reason)

    def _complain(self, message: str, error: object) -> None:
        """Once per outage, not once per try."""
        if not self._complained:
            self._complained = True
            text = str(error) or type(error).__name__
            log.warning("%s", message, extra={"listen": str(self._address), "error": text})

    def _next_delay_s(self) -> float:
        """Doubles up to a bound. The jitter keeps many workers from coming back in one moment."""
        self._delay_s = min(LONGEST_DELAY_S, max(SHORTEST_DELAY_S, self._delay_s * 2))
        return self._delay_s * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


class _Batch:
    """Calls that leave in one write, and when they did: the clock of a call runs from there."""

    __slots__ = ("written_s",)

    def __init__(self) -> None:
        self.written_s = inf


class _Link(asyncio.Protocol):
    """One connection. Its answers go to its calls in the order they were made, whoever has left meanwhile.

    Setting a Wait resumes its caller within our callback, and that caller may call again at once.
    """

    def __init__(
        self, on_lost: Callable[[_Link, str], None], scripts: dict[str, str], outstanding_max: int
    ) -> None:
        self.server = ""
        self.address: RedisAddress | None = None
        self.lost = asyncio.Event()
        self.timeout_s = CONNECT_TIMEOUT_S
        self._on_lost = on_lost
        self._scripts = scripts
        self._outstanding_max = outstanding_max
        self._outstanding: deque[tuple[Wait[Any], Args, _Batch]] = deque()
        self._unwritten: list[bytes] = []
        self._batch = _Batch()  # of the calls in `_unwritten`
        self._reader = hiredis.Reader()
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.Handle | None = None
        self._suspect: Wait[Any] | None = None
        self._late_looks = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # asyncio promises a Transport to a Protocol
        if self.lost.is_set():
            transport.abort()  # type: ignore[attr-defined]  # as above

    def hurry(self, timeout_s: float) -> None:
        """From now on `timeout_s` applies, also to the timer that is armed already."""
        self.timeout_s = timeout_s
        if self._timer is not None:
            self._timer.cancel()
            self._look(monotonic())

    def call(self, args: Args) -> Wait[Any]:
        wait: Wait[Any] = Wait()
        if self.lost.is_set():
            wait.fail(StoreUnavailable("not connected to Redis", unsent=True, told=True))
        elif len(self._outstanding) >= self._outstanding_max:
            wait.fail(StoreUnavailable("too many calls wait for Redis", unsent=True))
        else:
            self._send(wait, args)
        return wait

    def _send(self, wait: Wait[Any], args: Args) -> None:
        packed: bytes = hiredis.pack_command(args)  # type: ignore[arg-type]  # its stub allows one part only
        if not self._unwritten:
            self._batch = _Batch()
            self._loop.call_soon(self.write)
        self._outstanding.append((wait, args, self._batch))
        self._unwritten.append(packed)
        if self._timer is None:
            self._look_in(self.timeout_s - GRACE_S)

    def write(self) -> None:
        """The calls that have not left yet."""
        if self._unwritten and self._transport is not None:
            data = b"".join(self._unwritten)
            self._unwritten.clear()
            self._batch.written_s = monotonic()
            self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        reader, outstanding = self._reader, self._outstanding
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not False:
                if not outstanding:
                    self.lose("an answer nobody asked for")
                    return
                wait, args, _ = outstanding.popleft()
                if type(reply) is hiredis.ReplyError:
                    self._refused(wait, args, str(reply))
                else:
                    wait.set(reply)
        except hiredis.ProtocolError:
            self.lose("an answer that is not Redis's protocol")

    def _refused(self, wait: Wait[Any], args: Args, error: str) -> None:
        source = self._scripts.get(str(args[1])) if error.startswith("NOSCRIPT") else None
        if source is not None and args[0] == "EVALSHA":
            # Redis was restarted or its scripts were flushed. EVAL runs the script and keeps it as well.
            self._send(wait, ("EVAL", source, *args[2:]))
            return
        is_replica = "READONLY" in error
        if is_replica:
            self.lose("this Redis has become a replica")  # the address may lead to the new primary
        wait.fail(StoreRefused(error, told=is_replica))

    def _look_in(self, delay_s: float) -> None:
        """The only timer: armed while calls wait, it looks at the one that waits longest."""
        self._timer = self._loop.call_later(delay_s, self._look, monotonic() + delay_s)

    def _look(self, due_s: float) -> None:
        """Give up if the oldest call has waited too long while our own loop was awake to hear the answer.

        `due_s` is when this look should have come. Redis is silent only if it was so at two looks in a row
        with a chance to read in between, the second one in time.
        """
        self._timer = None
        if not self._outstanding:
            return
        now_s = monotonic()
        oldest, _, batch = self._outstanding[0]
        left_s = batch.written_s + self.timeout_s - GRACE_S - now_s
        if left_s > TICK_S:
            self._look_in(min(left_s, self.timeout_s))
            return
        late = now_s - due_s > GRACE_S
        if self._suspect is not oldest:
            self._suspect, self._late_looks = oldest, 0
        elif late and self._late_looks < STALLED_LOOKS_MAX:
            self._late_looks += 1
        else:
            self.lose(f"no answer within {self.timeout_s * 1000:.0f} ms")
            return
        # By way of the ready queue: a loop runs all timers that are due before it reads again.
        self._timer = self._loop.call_soon(self._look_in, STALL_GRACE_S if late else GRACE_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lose(str(exc) if exc else "Redis closed the connection")

    def lose(self, reason: str) -> None:
        """Give the connection up: everything that waits fails now, nothing that comes late is read."""
        if self.lost.is_set():
            return
        self.lost.set()
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()
        self._on_lost(self, reason)  # before anybody is resumed: whoever calls again is told at once
        unwritten = len(self._unwritten)
        self._unwritten.clear()
        while self._outstanding:
            sent = len(self._outstanding) > unwritten
            wait, _, _ = self._outstanding.popleft()
            wait.fail(StoreUnavailable(f"lost the connection to Redis: {reason}", unsent=not sent, told=True))
