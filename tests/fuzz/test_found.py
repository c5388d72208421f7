"""What fuzzing found, in as few steps as lead there."""

from __future__ import annotations

from tests.fuzz.callers import make_call
from tests.fuzz.checks import Checks
from tests.fuzz.test_state_machine import Anything
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


def test_a_caller_that_ends_its_side_within_an_upload_and_does_not_read_the_answer_before_it() -> None:
    """The transport can not close while that answer is unsent, and the upstream waits for the rest."""
    world = World()
    try:
        caller = world.connect()
        caller.transport.reads(False)
        caller.queue(make_call("get", 1, 0))
        caller.queue(make_call("post", 2, 300))
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


def test_a_body_that_goes_on_behind_a_dropped_beginning_is_sent_again_as_a_whole() -> None:
    """The kept connection closes in the tick the call is written in; the rest of its body comes later."""
    steps = Anything()
    steps.begins(is_leaving=False, piece_bytes=4096)
    for _ in range(3):
        steps.connects(is_tls=False)
    steps.is_answered_early(which=0, kind="post", size=0, share=1)
    steps.talks(which=0, calls=[("slow:post-chunked", "sized")], size=6000)
    steps.opens(run="not")
    steps.breaks(which=0, how="eof", run="settle")
    steps.holds()
    steps.teardown()


def test_an_answer_until_the_end_that_ends_in_order_is_whole() -> None:
    """Though its upstream was going to break it off."""
    steps = Anything()
    steps.begins(is_leaving=False, piece_bytes=4096)
    for _ in range(3):
        steps.connects(is_tls=False)
    steps.is_answered_early(which=0, kind="post", size=13, share=1)
    steps.goes_on(which=0, count=1, run="settle")
    steps.talks(which=2, calls=[("slow:post-chunked", "sized")], size=6000)
    steps.opens(run="not")
    steps.dials(how="accept", run="settle")
    steps.answers(which=2, kind="cut-until-close", size=300, count=90, run="settle")
    steps.breaks(which=1, how="eof", run="settle")
    steps.holds()
    steps.teardown()
