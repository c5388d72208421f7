"""What must hold of a data plane at every moment, and when all is over."""

from __future__ import annotations

import re

from gateway.outcomes import Outcome
from tests.fuzz.callers import Answer, Call, marks
from tests.fuzz.origins import Origin, Seen
from tests.fuzz.transports import HIGH_BYTES
from tests.fuzz.world import World

_REFUSED = {"deny": {401}, "limit": {429}, "fail": {500}, "odd": {400}}
_IDEMPOTENT = {b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"}


class Checks:
    """Looks at all that callers and upstreams saw."""

    def __init__(self, world: World) -> None:
        self.world = world

    def now(self) -> None:
        """After every step."""
        world = self.world
        assert world.loop.failures == []
        for origin in world.origins:
            origin.read()
        for caller in world.callers:
            caller.read()
        self._upstream_saw_only_what_was_sent()
        exempt = {number for origin in world.origins for number in origin.unclear()}
        for caller in world.callers:
            for call, answer in zip(caller.calls, caller.answers, strict=False):
                self._is_the_answer(call, answer, is_exempt=call.number in exempt)
        self._tunnels_carry_what_was_sent(exempt)
        self._is_bounded()
        self._is_counted()

    def _upstream_saw_only_what_was_sent(self) -> None:
        calls: dict[int, Call] = {}
        for caller in self.world.callers:
            for call in caller.calls:
                calls[call.number] = call
                if call.is_last:
                    break
        times: dict[int, int] = {}
        for origin in self.world.origins:
            for seen in origin.seen:
                call = calls[seen.number]  # else it came behind the last
                times[seen.number] = times.get(seen.number, 0) + 1
                assert call.passes, f"a refused call was forwarded: {call.kind}"
                self._is_the_call(call, seen)
        for number, count in times.items():
            repeatable = calls[number].method in _IDEMPOTENT and not calls[number].body
            assert count <= (3 if repeatable else 1)

    def _is_the_call(self, call: Call, seen: Seen) -> None:
        assert seen.method == call.method
        assert call.body.startswith(bytes(seen.body))
        if seen.is_whole:
            assert call.is_valid
            assert seen.body == call.body
        marked = [value for name, value in seen.fields if name == b"x-sent"]
        assert len(marked) == (call.kind != "get-hop")
        assert all(marks(value) == {call.number} for value in marked)

    def _is_the_answer(self, call: Call, answer: Answer, *, is_exempt: bool) -> None:
        found = marks(answer.raw)
        assert found <= {call.number} or is_exempt, f"another call's bytes: {found}"
        verdict = call.kind.partition(":")[0]
        if not found and answer.values(b"content-type") == [b"application/problem+json"]:
            self._is_a_refusal(call, answer, verdict)
        elif not is_exempt:
            assert call.passes
            self._is_the_upstreams(call, answer)

    def _is_a_refusal(self, call: Call, answer: Answer, verdict: str) -> None:
        if verdict in _REFUSED:
            assert answer.status in _REFUSED[verdict] | {408}
        elif call.is_valid:
            assert answer.status in (408, 502, 503, 504)
        else:
            assert 400 <= answer.status < 600
        request_ids = answer.values(b"tollway-request-id")
        exchange = self.world.stages.begun[int(request_ids[0])]
        named = re.search(r"/([0-9]+)$", exchange.head.path)
        assert named is None or int(named[1]) == call.number

    def _is_the_upstreams(self, call: Call, answer: Answer) -> None:
        """Its body is what the upstream said, whole only if that was whole."""
        replies = [
            (origin, origin.replies[call.number])
            for origin in self.world.origins
            if call.number in origin.replies
        ]
        assert replies, "an answer nobody gave"
        if any(not reply.is_good and not reply.is_early_end for _, reply in replies):
            return  # nonsense may be understood in some way
        assert any(reply.body.startswith(answer.body) for _, reply in replies)
        if answer.is_whole and answer.status != 101:
            assert any(
                (reply.body == answer.body and reply.is_good)
                or (reply.until_close and origin.left_by == "eof")
                for origin, reply in replies
            ), "half an answer that looks whole"

    def _tunnels_carry_what_was_sent(self, exempt: set[int]) -> None:
        for caller in self.world.callers:
            if caller.tunnel is None:
                continue
            call = caller.calls[len(caller.answers) - 1]
            if call.number not in exempt:
                origin = self._far_end(call)
                assert bytes(caller.stream[call.end :]).startswith(bytes(origin.tunnel or b""))
                assert bytes(origin.tunnel_said).startswith(caller.tunnel)

    def _far_end(self, call: Call) -> Origin:
        return next(
            origin
            for origin in self.world.origins
            if origin.tunnel is not None and origin.seen[-1].number == call.number
        )

    def _is_bounded(self) -> None:
        for transport, connection in self.world.connections.items():
            most = HIGH_BYTES + 12_000 + 2 * transport.piece_bytes
            assert transport.largest_unsent <= most
            held = len(connection._unfed) + sum(map(len, connection._out))
            if connection.exchange is not None:
                held += sum(map(len, connection.exchange.body_parts))
            held += sum(len(part) for waiting in connection._waiting for part in waiting.body_parts)
            assert held <= 3 * transport.piece_bytes + 2000
            assert len(connection._waiting) <= transport.piece_bytes // 30
        for origin in self.world.origins:
            assert origin.transport.largest_unsent <= HIGH_BYTES + 3 * 100_000

    def _is_counted(self) -> None:
        world = self.world
        opened = [origin for origin in world.origins if origin.transport.protocol is not None]
        alive = sum(not origin.transport.is_lost for origin in opened)
        assert world.slots.get("upstream_connections") == alive
        assert len(world.open) == sum(not caller.transport.is_lost for caller in world.callers)

    def finally_(self) -> None:
        """When nobody is there any more."""
        world, stages = self.world, self.world.stages
        self.now()
        assert not world.open
        assert world.slots.get("upstream_connections") == 0
        (group,) = world.forwarder._groups.values()
        assert [(pool.in_use, pool._idle, pool._connections) for pool in group.pools] == [(0, [], set())]
        assert set(world.deadlines._waiting) == {group._ticker}
        assert not world.outbox._pending
        assert not world.tasks._running
        assert stages.ended == stages.settled
        assert sorted(map(id, stages.ended)) == sorted(map(id, stages.begun))
        assert all(exchange.uplink is None for exchange in stages.begun)
        self._outcomes_are_true()

    def _outcomes_are_true(self) -> None:
        outcomes: dict[str, Outcome | None] = {}
        for exchange in self.world.stages.begun:
            path = exchange.head.path
            assert not path or path not in outcomes, "one call, two exchanges"
            outcomes[path] = exchange.outcome
        for caller in self.world.callers:
            for call, answer in zip(caller.calls, caller.answers, strict=False):
                if answer.is_whole and call.number in marks(answer.raw):
                    path = f"/slow/{call.number}" if call.kind.startswith("slow") else f"/n/{call.number}"
                    good = Outcome.SERVED if answer.status < 500 else Outcome.UPSTREAM_ERROR
                    if not (answer.status == 101 or b"close" in answer.values(b"connection")):
                        assert outcomes[path] is good, (call, answer)
