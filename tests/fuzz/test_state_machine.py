"""Callers and upstreams that do anything, in any order: what must hold, holds after every step."""

from __future__ import annotations

import logging
import os
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import settings
from hypothesis import strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.dataplane.connection import Connection
from tests.fuzz.callers import BAD, GOOD, LAST, REFUSED, UPLOADS, Caller, filled, make_call
from tests.fuzz.checks import Checks
from tests.fuzz.origins import BENIGN, REPLIES, Origin
from tests.fuzz.world import World

TIMES = int(os.environ.get("FUZZ_TIMES", "0"))
"""So many times the usual number of runs, and not always the same ones."""

pytestmark = pytest.mark.timeout(600 * max(TIMES, 1))

_WHICH = some.integers(0, 7)
_KINDS = some.one_of(
    *map(some.sampled_from, (GOOD, GOOD, GOOD, GOOD, GOOD, GOOD, LAST, REFUSED, REFUSED, BAD))
)
_REPLIES = some.one_of(*map(some.sampled_from, (BENIGN, BENIGN, REPLIES)))
_SIZES = some.sampled_from((0, 13, 300, 1000, 2500, 6000))
_CUTS = some.sampled_from((1, 2, 7, 40, 90, 150, 400, 1500, 100_000, 100_000))
_RUN = some.sampled_from(("settle", "settle", "tick", "not"))
_SECONDS = some.sampled_from((0.3, 3.0, 5.0, 11.0, 31.0, 61.0))


def _drain(connection: Connection) -> None:
    """As a worker does that stops, to a caller who stays silent."""
    connection.say_last()
    if connection.is_idle():
        connection.leave()


class Anything(RuleBasedStateMachine):
    """The data plane between callers and upstreams of every kind."""

    def __init__(self) -> None:
        super().__init__()
        self._limits = [
            patch("gateway.dataplane.connection.FEED_BYTES", 1500),
            patch("gateway.dataplane.connection.TURN", 3),
            patch("gateway.dataplane.answering.DRAIN_BYTES", 3000),
            patch("gateway.upstream.connection.LARGE_BYTES", 1000),
            patch("gateway.upstream.tunnel.LARGE_BYTES", 1000),
            patch("gateway.outbox.RATION_BYTES", 2000),
            patch("gateway.outbox.MOST_AT_ONCE", 1),
        ]
        for limit in self._limits:
            limit.start()
        logging.disable()
        self.world = World()
        self.checks = Checks(self.world)
        self.numbers = 0
        self.is_leaving = False
        self.is_kind = True  # no upstream has done anything wrong yet

    @initialize(is_leaving=some.booleans(), piece_bytes=some.sampled_from((4096, 100_000)))
    def begins(self, is_leaving: bool, piece_bytes: int) -> None:
        self.is_leaving = is_leaving
        self.piece_bytes = piece_bytes
        self.connects(is_tls=False)

    def _caller(self, which: int) -> Caller:
        """One that is still there; a new one if there is none."""
        callers = [caller for caller in self.world.callers if not (caller.has_left or caller.transport.ended)]
        if not callers:
            self.connects(is_tls=which == 7)
            callers = self.world.callers[-1:]
        return callers[which % len(callers)]

    def _origin(self, which: int) -> Origin:
        """Those that somebody waits for first."""
        origins = [origin for origin in self.world.origins if not origin.transport.is_lost]
        origins.sort(key=lambda origin: origin.current() is None)
        return origins[which % len(origins)]

    def _has_origin(self) -> bool:
        return any(not origin.transport.is_lost for origin in self.world.origins)

    def _run(self, how: str) -> None:
        if how == "settle":
            self.world.settle()
        elif how == "tick":
            self.world.loop.tick()
        for origin in self.world.origins:
            origin.read()

    # -- callers -------------------------------------------------------------------------------------------

    @precondition(lambda self: len(self.world.open) < 4)
    @rule(is_tls=some.booleans())
    def connects(self, is_tls: bool) -> None:
        caller = self.world.connect(is_tls=is_tls)
        caller.transport.piece_bytes = self.piece_bytes

    @rule(which=_WHICH, kind=_KINDS, size=_SIZES, count=_CUTS, run=_RUN)
    def calls(self, which: int, kind: str, size: int, count: int, run: str) -> None:
        """A caller has one more call to make, and says some of all that it has left to say."""
        self._say(self._wants(which, kind, size), count, run)

    @rule(which=_WHICH, kinds=some.lists(_KINDS, min_size=1, max_size=6), size=_SIZES, run=_RUN)
    def pipelines(self, which: int, kinds: list[str], size: int, run: str) -> None:
        """It says many at once."""
        for kind in kinds:
            caller = self._wants(which, kind, size)
        self._say(caller, 100_000, run)

    @rule(
        which=_WHICH,
        calls=some.lists(some.tuples(_KINDS, some.sampled_from(BENIGN)), min_size=1, max_size=4),
        size=_SIZES,
    )
    def talks(self, which: int, calls: list[tuple[str, str]], size: int) -> None:
        """It makes calls one by one, and all goes well."""
        for kind, reply in calls:
            self.calls(which, kind, size, 100_000, "settle")
            if self._has_origin():
                self.answers(0, reply, size, 100_000, "settle")

    @rule(which=_WHICH, kind=some.sampled_from(UPLOADS), size=_SIZES, share=some.integers(1, 99))
    def is_answered_early(self, which: int, kind: str, size: int, share: int) -> None:
        """An upload that has its answer before all of it is sent."""
        caller = self._wants(which, kind, size)
        left = len(caller.stream) - caller.sent - len(caller.calls[-1].body) * share // 100
        self._say(caller, max(left, 1), "settle")
        if self._has_origin():
            self.answers(0, "sized", 13, 100_000, "settle")

    @rule(which=_WHICH, early=some.sampled_from((0, 5, 3000)), count=_CUTS, run=_RUN)
    def tunnels(self, which: int, early: int, count: int, run: str) -> None:
        """It asks for another protocol, perhaps speaks it at once, and the upstream agrees."""
        caller = self._wants(which, "upgrade", 0)
        caller.stream += filled(self.numbers, early)
        self._say(caller, 100_000, "settle")
        if self._has_origin():
            self.answers(0, "switch", 0, count, run)

    @rule(which=_WHICH, count=_CUTS, run=_RUN)
    def says(self, which: int, count: int, run: str) -> None:
        self._say(self._caller(which), count, run)

    def _wants(self, which: int, kind: str, size: int) -> Caller:
        self.numbers += 1
        caller = self._caller(which)
        caller.queue(make_call(kind, self.numbers, size))
        return caller

    def _say(self, caller: Caller, count: int, run: str) -> None:
        caller.say(count)
        self._run(run)

    @rule(which=_WHICH, yes=some.booleans(), run=_RUN)
    def reads(self, which: int, yes: bool, run: str) -> None:
        self._caller(which).transport.reads(yes)
        self._run(run)

    @rule(which=_WHICH, how=some.sampled_from(("eof", "reset")), run=_RUN)
    def leaves(self, which: int, how: str, run: str) -> None:
        caller = self._caller(which)
        caller.has_left = True
        caller.transport.ends(how)
        self._run(run)

    # -- upstreams -----------------------------------------------------------------------------------------

    @precondition(_has_origin)
    @rule(which=_WHICH, kind=_REPLIES, size=_SIZES, count=_CUTS, run=_RUN)
    def answers(self, which: int, kind: str, size: int, count: int, run: str) -> None:
        """An upstream goes on to answer, whether or not it has the whole request."""
        self.is_kind = self.is_kind and kind in BENIGN
        origin = self._origin(which)
        origin.begin(kind, size)
        origin.say(count)
        self._run(run)

    @precondition(_has_origin)
    @rule(which=_WHICH, count=_CUTS, run=_RUN)
    def goes_on(self, which: int, count: int, run: str) -> None:
        self._origin(which).say(count)
        self._run(run)

    @precondition(_has_origin)
    @rule(which=_WHICH, yes=some.booleans(), run=_RUN)
    def takes(self, which: int, yes: bool, run: str) -> None:
        self._origin(which).transport.reads(yes)
        self._run(run)

    @precondition(_has_origin)
    @rule(which=_WHICH, how=some.sampled_from(("eof", "reset")), run=_RUN)
    def breaks(self, which: int, how: str, run: str) -> None:
        self.is_kind = False
        self._origin(which).leave(how)
        self._run(run)

    @precondition(_has_origin)
    @rule(
        which=_WHICH,
        data=some.sampled_from(
            (b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 2\r\n\r\n<>", b"x", b"\r\n")
        ),
        run=_RUN,
    )
    def blurts(self, which: int, data: bytes, run: str) -> None:
        self.is_kind = False
        self._origin(which).blurt(data)
        self._run(run)

    @precondition(_has_origin)
    @rule(which=_WHICH, size=_SIZES, run=_RUN)
    def tells(self, which: int, size: int, run: str) -> None:
        """In a tunnel."""
        self._origin(which).tell(size)
        self._run(run)

    # -- the world -----------------------------------------------------------------------------------------

    @rule(how=some.sampled_from(("accept", "refuse", "hold", "accept")), run=_RUN)
    def dials(self, how: str, run: str) -> None:
        self.is_kind = self.is_kind and how != "refuse"
        self.world.dial(how)
        self._run(run)

    @precondition(lambda self: self.world.stages.gates)
    @rule(run=_RUN)
    def opens(self, run: str) -> None:
        self._open_gates()
        self._run(run)

    def _open_gates(self) -> None:
        gates, self.world.stages.gates = self.world.stages.gates, []
        for gate in gates:
            self.world.loop.call_soon(gate.set, None)

    @rule(seconds=_SECONDS)
    def waits(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(which=_WHICH, run=_RUN)
    def drains(self, which: int, run: str) -> None:
        caller = self._caller(which)
        caller.was_drained = True
        if not caller.transport.is_lost:
            self.world.loop.call_soon(_drain, self.world.connection(caller))
        self._run(run)

    @invariant()
    def holds(self) -> None:
        self.checks.now()

    # -- the end -------------------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            if self.world.callers:
                if not self.is_leaving:
                    self._everybody_behaves()
                self._everybody_waits()
                self.checks.finally_()
        finally:
            self.world.close()
            logging.disable(logging.NOTSET)
            for limit in self._limits:
                limit.stop()

    def _everybody_behaves(self) -> None:
        """From here on all do what they should: nothing is stuck, every call is answered."""
        self._serve_all()
        if not self.is_kind:
            self.world.wait(31.0)
            self._serve_all()
            self.world.wait(61.0)
            self._serve_all()
        for caller in self.world.callers:
            if not (caller.transport.ended or caller.transport.is_closing() or caller.has_left):
                whole = [answer for answer in caller.answers if answer.is_whole]
                assert len(whole) == len(caller.fully_sent()), "a call without an answer"
                assert all(call.is_valid for call in caller.fully_sent()), "an open connection after nonsense"

    def _serve_all(self) -> None:
        world = self.world
        world.dial("accept")
        before: Any = None
        while before != (before := self._progress()):
            self._open_gates()
            for caller in world.callers:
                caller.transport.reads(True)
                if not caller.has_left:
                    caller.say(100_000)
            for origin in world.origins:
                origin.transport.reads(True)
            world.settle()
            for origin in world.origins:
                origin.read()
                seen = origin.current()
                if origin.is_saying:
                    origin.say(100_000)
                elif seen is not None and seen.is_whole:
                    origin.begin("sized", 300)
            world.settle()
            self.checks.now()

    def _progress(self) -> tuple[int, ...]:
        world = self.world
        return (
            sum(len(origin.transport.received) for origin in world.origins),
            sum(len(caller.transport.received) + caller.sent for caller in world.callers),
            *(origin.steps for origin in world.origins),
            len(world.stages.ended),
        )

    def _everybody_waits(self) -> None:
        """Nobody does anything any more: time alone ends all."""
        self._open_gates()
        self.world.settle()
        for _ in range(12 + self.numbers):
            is_over = not self.world.open and not self.world.slots.get("upstream_connections")
            self.world.wait(31.0)  # once more even then: attempts to connect may still be on their way
            self.world.wait(0.3)
            self._open_gates()
            self.world.settle()
            self.checks.now()
            if is_over:
                return


Anything.TestCase.settings = settings(
    max_examples=250 * max(TIMES, 1),
    stateful_step_count=40,
    deadline=None,
    database=None,
    derandomize=not TIMES,
)
test_anything = Anything.TestCase
