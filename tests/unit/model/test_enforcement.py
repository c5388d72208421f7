from __future__ import annotations

import pytest

from gateway.model.enforcement import POLICIES_ALONE, Enforcement, Enforcing, Switch

ENFORCE, SHADOW, OFF = Enforcing.ENFORCE, Enforcing.SHADOW, Enforcing.OFF


@pytest.mark.parametrize(
    ("case", "switches", "left"),
    [
        ("nothing is switched", (), ENFORCE),
        ("everything", (Switch(SHADOW),), SHADOW),
        ("this limit", (Switch(OFF, limit="burst"),), OFF),
        ("another limit", (Switch(OFF, limit="monthly"),), ENFORCE),
        ("this tier", (Switch(SHADOW, tier="free"),), SHADOW),
        ("another tier", (Switch(SHADOW, tier="team"),), ENFORCE),
        ("this route", (Switch(SHADOW, route="all"),), SHADOW),
        ("another route", (Switch(SHADOW, route="builds"),), ENFORCE),
        ("all of it", (Switch(SHADOW, "burst", "free", "all"),), SHADOW),
        ("all but one of it", (Switch(SHADOW, "burst", "free", "builds"),), ENFORCE),
        ("several: the least is left", (Switch(OFF, tier="free"), Switch(SHADOW)), OFF),
    ],
)
def test_what_is_left_of_a_limit(case: str, switches: tuple[Switch, ...], left: Enforcing) -> None:
    assert Enforcement(switches).of("burst", "free", "all") is left, case


def test_a_switch_ends_when_its_time_has_come() -> None:
    short, long, endless = Switch(OFF, "a", expires_at_us=10), Switch(OFF, expires_at_us=20), Switch(SHADOW)
    all_of_it = Enforcement((short, long, endless))
    assert all_of_it.ends_at_us() == 10
    assert all_of_it.at(9) == all_of_it
    assert all_of_it.at(10) == Enforcement((long, endless))
    assert Enforcement((endless,)).ends_at_us() is None
    assert not Enforcement((short,)).at(10)
    assert not POLICIES_ALONE


def test_scopes_have_a_text() -> None:
    assert Switch(OFF).scope == "everything"
    assert Switch(OFF, "burst", "free", "all").scope == "limit:burst tier:free route:all"
