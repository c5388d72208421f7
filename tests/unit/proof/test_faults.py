"""What goes wrong follows from the seed, and everything comes before anything comes again."""

from __future__ import annotations

import random
from itertools import islice

from gateway.proof.faults import KILLED, STEP_S, STOPPED, plan


def test_the_same_seed_makes_the_same_plan() -> None:
    first, second, other = (list(islice(plan(random.Random(seed)), 100)) for seed in (7, 7, 8))
    assert first == second
    assert first != other


def test_every_process_is_killed_and_stopped_and_clocks_go_both_ways() -> None:
    found = {(fault.what, fault.whom) for _, fault in islice(plan(random.Random(1)), 40)}
    assert {("kill", whom) for whom in KILLED} | {("stop", whom) for whom in STOPPED} <= found
    steps = {fault.figure for _, fault in islice(plan(random.Random(1)), 40) if fault.what == "clock"}
    assert steps == {-STEP_S, 0, STEP_S}
