"""What fuzzing found, in as few steps as lead there."""

from __future__ import annotations

from tests.fuzz.callers import make_call
from tests.fuzz.checks import Checks
from tests.fuzz.world import World


def test_a_caller_that_ends_its_side_and_reads_nothing_is_not_kept_for_ever() -> None:
    """Its upload was answered early and lacks a few bytes; what the transport still holds is never taken."""
    world = World()
    try:
        caller = world.connect()
        caller.transport.reads(False)
        caller.queue(make_call("post", 1, 13))
        caller.say(len(caller.stream) - 6)
        world.settle()
        (origin,) = world.origins
        origin.read()
        origin.begin("sized", 13)
        origin.say(100_000)
        world.settle()
        caller.transport.ends("eof")
        world.settle()
        for _ in range(5):
            world.wait(31.0)
        Checks(world).finally_()
    finally:
        world.close()
