"""Calls and failures are counted by the name of their upstream."""

from __future__ import annotations

from dataclasses import replace

from gateway.telemetry.slots import Slots
from tests.unit.upstream.rig import Rigs


def counted(slots: Slots, name: str) -> tuple[int, int]:
    """Calls and failures."""
    return (
        slots.cells[slots.named("upstream_calls_total", name)],
        slots.cells[slots.named("upstream_failures_total", name)],
    )


async def test_each_upstream_counts_its_calls(make_rig: Rigs) -> None:
    rig = make_rig()
    other = replace(rig.spec, name="next")
    rig.adopt(rig.spec, other)
    for spec, times in ((rig.spec, 2), (other, 1)):
        rig.route = replace(rig.route, upstream=spec)
        for _ in range(times):
            caller = await rig.call()
            rig.wire_of(caller).answer()
    assert counted(rig.slots, "up") == (2, 0)
    assert counted(rig.slots, "next") == (1, 0)


async def test_what_fails_is_counted_unless_the_caller_left(make_rig: Rigs) -> None:
    rig = make_rig(max_connections=4)
    for answer in (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", b"nonsense\r\n\r\n"):
        caller = await rig.call()
        rig.wire_of(caller).protocol.data_received(answer)
    await rig.settle()
    assert counted(rig.slots, "up") == (2, 2)
    caller = await rig.call()
    caller.leave()
    await rig.settle()
    assert counted(rig.slots, "up") == (3, 2)
