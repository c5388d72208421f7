"""One connection of the hot path's client, over a transport in memory."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import pytest

from gateway.errors import StoreUnavailable
from gateway.inline import Wait, drive
from gateway.storage import redis_tick
from gateway.storage.redis import parse_address
from gateway.storage.redis_tick import OUTSTANDING_MAX, TickRedis, _Link
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots


class Wire(asyncio.Transport):
    """Keeps what is written, and whether it was cut."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def abort(self) -> None:
        self.aborted = True


class Line:
    """A link with its wire and what it said when it was lost."""

    def __init__(self, scripts: dict[str, str] | None = None, outstanding_max: int = 100) -> None:
        self.reasons: list[str] = []
        self.wire = Wire()
        self.link = _Link(lambda _, reason: self.reasons.append(reason), scripts or {}, outstanding_max)
        self.link.connection_made(self.wire)

    def answers(self, data: bytes) -> None:
        self.link.data_received(data)


def outcome_of(wait: Wait[object]) -> object:
    """The value or error of a Wait that is done."""
    outcomes: list[object] = []

    async def look() -> None:
        try:
            outcomes.append(await wait)
        except StoreUnavailable as error:
            outcomes.append(error)

    drive(look(), lambda error: None)
    assert outcomes, "still waiting"
    return outcomes[0]


async def ticks(number: int = 2) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_calls_of_one_tick_leave_in_one_write() -> None:
    line = Line()
    for number in range(3):
        line.link.call(("ECHO", number))
    await ticks()
    assert line.wire.writes == [b"".join(b"*2\r\n$4\r\nECHO\r\n$1\r\n%d\r\n" % n for n in range(3))]


async def test_answers_come_in_the_order_of_the_calls_however_they_are_cut() -> None:
    line = Line()
    waits = [line.link.call(("ECHO", number)) for number in range(3)]
    for byte in b":1\r\n*2\r\n:2\r\n$3\r\nabc\r\n$-1\r\n":
        line.answers(bytes([byte]))
    assert [outcome_of(wait) for wait in waits] == [1, [2, b"abc"], None]


async def test_a_resumed_caller_may_call_again_at_once() -> None:
    line = Line()
    seen: list[object] = []

    async def chain() -> None:
        seen.extend([await line.link.call(("ECHO", number)) for number in range(3)])

    task_free = asyncio.get_running_loop()
    task_free.call_soon(lambda: drive(chain(), lambda error: None))
    await ticks()
    for number in range(3):
        task_free.call_soon(line.answers, b":%d\r\n" % number)
        await ticks()
    assert seen == [0, 1, 2]
    assert len(line.wire.writes) == 3


async def test_ten_thousand_callers_of_whom_many_leave_never_see_another_s_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_tick, "CONNECT_TIMEOUT_S", 3600.0)  # however slow the machine is
    line, loop = Line(outstanding_max=OUTSTANDING_MAX), asyncio.get_running_loop()
    chance, crossed, served = random.Random(7), [], 0

    async def caller(number: int) -> None:
        nonlocal served
        answer = await line.link.call(("ECHO", number))
        served += 1
        if answer != number:
            crossed.append((number, answer))

    tasks = []
    for number in range(10_000):
        tasks.append(loop.create_task(caller(number)))
        if chance.random() < 0.1:
            await asyncio.sleep(0)
        if chance.random() < 0.4:
            chance.choice(tasks[-20:]).cancel()
    await ticks()
    sent = b"".join(line.wire.writes).split(b"\r\n")[4::5]  # the numbers that were really asked for
    answers = b"".join(b":%s\r\n" % number for number in sent)
    while answers:
        cut = chance.randint(1, 3000)
        line.answers(answers[:cut])
        answers = answers[cut:]
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
            await asyncio.sleep(0)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert crossed == []
    assert 1000 < served < 10_000
    assert not line.wire.aborted


@pytest.mark.parametrize(
    "error",
    [
        "LOADING Redis is loading",
        "OOM command not allowed",
        "MASTERDOWN Link with MASTER is down",
        "ERR what",
    ],
)
async def test_an_error_fails_its_call_alone(error: str) -> None:
    line = Line()
    first, second = line.link.call(("A",)), line.link.call(("B",))
    line.answers(f"-{error}\r\n:5\r\n".encode())
    refused = outcome_of(first)
    assert isinstance(refused, StoreUnavailable)
    assert not refused.unsent
    assert outcome_of(second) == 5
    assert line.reasons == []


@pytest.mark.parametrize(
    "error",
    [
        "READONLY You can't write against a read only replica.",
        "ERR Error running script: @user_script: 40: -READONLY You can't write against a read only replica.",
    ],
)
async def test_a_replica_is_left(error: str) -> None:
    line = Line()
    waits = [line.link.call(("A",)), line.link.call(("B",))]
    line.answers(f"-{error}\r\n".encode())
    assert all(isinstance(outcome_of(wait), StoreUnavailable) for wait in waits)
    assert line.wire.aborted


async def test_a_forgotten_script_is_sent_in_full_once() -> None:
    line = Line({"abc": "return 1"})
    wait = line.link.call(("EVALSHA", "abc", 1, "key", "x"))
    await ticks()
    line.answers(b"-NOSCRIPT No matching script.\r\n")
    await ticks()
    assert line.wire.writes[1] == (
        b"*5\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n1\r\n$3\r\nkey\r\n$1\r\nx\r\n"
    )
    line.answers(b"-NOSCRIPT again\r\n")
    assert isinstance(outcome_of(wait), StoreUnavailable)


async def test_answers_behind_a_forgotten_script_stay_in_order() -> None:
    line = Line({"abc": "return 1"})
    script, other = line.link.call(("EVALSHA", "abc", 0)), line.link.call(("PING",))
    line.answers(b"-NOSCRIPT No matching script.\r\n+PONG\r\n:1\r\n")
    assert (outcome_of(script), outcome_of(other)) == (1, b"PONG")


async def test_a_full_line_refuses_more() -> None:
    line = Line(outstanding_max=2)
    for _ in range(2):
        line.link.call(("PING",))
    refused = outcome_of(line.link.call(("PING",)))
    assert isinstance(refused, StoreUnavailable)
    assert refused.unsent


async def test_a_lost_connection_fails_everything_and_tells_what_was_never_sent() -> None:
    line = Line()
    sent = line.link.call(("A",))
    await ticks()
    unsent = line.link.call(("B",))
    line.link.connection_lost(None)
    outcomes = [outcome_of(sent), outcome_of(unsent), outcome_of(line.link.call(("C",)))]
    assert [error.unsent for error in outcomes if isinstance(error, StoreUnavailable)] == [False, True, True]
    assert line.reasons == ["Redis closed the connection"]


async def test_whoever_fails_and_calls_again_is_told_at_once() -> None:
    line = Line()
    failures: list[bool] = []

    async def stubborn() -> None:
        for _ in range(3):
            try:
                await line.link.call(("A",))
            except StoreUnavailable:
                failures.append(line.link.lost.is_set())

    asyncio.get_running_loop().call_soon(lambda: drive(stubborn(), lambda error: None))
    await ticks()
    asyncio.get_running_loop().call_soon(line.link.lose, "gone")
    await ticks()
    assert failures == [True, True, True]


@pytest.mark.parametrize("data", [b":1\r\n", b"not the protocol at all\r\n"])
async def test_answers_that_make_no_sense_end_the_connection(data: bytes) -> None:
    line = Line()
    line.answers(data)
    assert line.wire.aborted
    assert len(line.reasons) == 1


async def test_silence_ends_the_connection() -> None:
    line = Line()
    line.link.timeout_s = 0.02
    wait = line.link.call(("PING",))
    await line.link.lost.wait()
    assert isinstance(outcome_of(wait), StoreUnavailable)
    assert "no answer within 20 ms" in line.reasons[0]


async def test_the_patience_of_the_handshake_ends_with_it() -> None:
    line = Line()
    line.link.call(("AUTH", "x"))
    line.answers(b"+OK\r\n")
    line.link.hurry(0.02)
    wait = line.link.call(("PING",))
    async with asyncio.timeout(line.link.timeout_s * 50):
        await line.link.lost.wait()
    assert isinstance(outcome_of(wait), StoreUnavailable)


class Loop:
    """A loop whose time the test moves. Like libuv it runs what is due, then what is ready, then reads."""

    def __init__(self) -> None:
        self.now_ms = 0.0
        self._timers: list[tuple[float, asyncio.Handle]] = []
        self._ready: list[asyncio.Handle] = []

    def monotonic(self) -> float:
        return self.now_ms / 1000

    def call_soon(self, callback: Callable[..., object], *args: object) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, asyncio.get_running_loop())
        self._ready.append(handle)
        return handle

    def call_later(self, delay_s: float, callback: Callable[..., object], *args: object) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, asyncio.get_running_loop())
        self._timers.append((self.now_ms + delay_s * 1000, handle))
        return handle

    def timers(self) -> None:
        """Run timers until none is due, those armed meanwhile included."""
        while due := [timer for timer in self._timers if timer[0] <= self.now_ms + 1e-6]:
            self._timers.remove(due[0])
            _run(due[0][1])

    def iterate(self) -> None:
        """One round, without the reading at its end."""
        self.timers()
        ready, self._ready = self._ready, []
        for handle in ready:
            _run(handle)

    def pass_time(self, until_ms: int) -> None:
        """Be awake until then."""
        while self.now_ms < until_ms:
            self.now_ms += 1
            self.iterate()


def _run(handle: asyncio.Handle) -> None:
    if not handle.cancelled():
        handle._run()


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> Loop:
    made = Loop()
    monkeypatch.setattr(redis_tick, "monotonic", made.monotonic)
    return made


def slow_line(loop: Loop) -> Line:
    """A line with the timeout of production, on the test's own time."""
    line = Line()
    line.link._loop = loop  # type: ignore[assignment]  # as much of a loop as a link needs
    line.link.timeout_s = redis_tick.TIMEOUT_S
    return line


async def test_a_silent_redis_is_given_up_after_the_timeout(loop: Loop) -> None:
    line = slow_line(loop)
    line.link.call(("PING",))
    loop.pass_time(99)
    assert not line.wire.aborted
    loop.pass_time(105)
    assert line.wire.aborted


async def test_the_time_runs_from_the_write(loop: Loop) -> None:
    line = slow_line(loop)
    wait = line.link.call(("PING",))
    loop.now_ms = 150  # a callback that was in the same queue
    loop.iterate()
    assert len(line.wire.writes) == 1
    loop.pass_time(230)
    line.answers(b"+PONG\r\n")
    assert outcome_of(wait) == b"PONG"
    assert not line.wire.aborted


async def test_an_answer_in_the_socket_is_read_before_redis_is_given_up(loop: Loop) -> None:
    line = slow_line(loop)
    wait = line.link.call(("PING",))
    loop.iterate()
    loop.now_ms = 150
    loop.timers()
    loop.now_ms = 250  # another timer, due at the same time, took that long
    loop.timers()
    loop.iterate()
    line.answers(b"+PONG\r\n")
    assert outcome_of(wait) == b"PONG"
    assert not line.wire.aborted


async def test_a_look_that_comes_late_is_not_the_last(loop: Loop) -> None:
    line = slow_line(loop)
    wait = line.link.call(("PING",))
    loop.pass_time(95)  # Redis is slow
    loop.now_ms = 200  # and now we are: its answer came at 96
    loop.iterate()
    line.answers(b"+PONG\r\n")
    assert outcome_of(wait) == b"PONG"
    assert not line.wire.aborted


async def test_a_loop_that_always_stalls_gives_a_silent_redis_up_all_the_same(loop: Loop) -> None:
    line = slow_line(loop)
    line.link.call(("PING",))
    for _ in range(2 * (redis_tick.STALLED_LOOKS_MAX + 2)):
        loop.now_ms += 200
        loop.iterate()
    assert line.wire.aborted


async def test_before_it_is_up_calls_fail_at_once() -> None:
    tasks, slots = Tasks(), Slots.in_memory()
    redis = TickRedis(parse_address("unix:///nowhere/redis.sock"), slots, tasks)
    redis.start()
    waiting: Awaitable[object] = redis.call(("PING",))
    with pytest.raises(StoreUnavailable) as refused:
        await waiting
    assert refused.value.unsent
    assert not await redis.wait_until_up(0.01)
    assert slots.get("admission_store_up") == 0
    await redis.close()
    await tasks.close()
