from __future__ import annotations

import pytest

from gateway.policy.documents import TierDocument
from gateway.policy.extends import full_tiers, lineage


def _tier(**keys: object) -> TierDocument:
    return TierDocument.model_validate(keys)


BURST = {"name": "burst", "rate": "1/second", "burst": 1}
MORE_BURST = {"name": "burst", "rate": "9/second", "burst": 9}
DAILY = {"name": "daily", "rate": "100/day", "burst": 100}
CALLS = {"meter": "api_calls", "amount": 10, "per": "month"}
MORE_CALLS = {"meter": "api_calls", "amount": 90, "per": "day"}
HOURLY = {"name": "hourly", "meter": "api_calls", "amount": 5, "per": "hour"}


def test_same_names_are_replaced_others_added_features_united() -> None:
    tiers = {
        "free": _tier(limits=[BURST], quotas=[CALLS, HOURLY], features=["a"]),
        "paid": _tier(extends="free", limits=[DAILY, MORE_BURST], quotas=[MORE_CALLS], features=["b"]),
        "more": _tier(extends="paid", features=["c"]),
    }
    full = full_tiers(tiers)
    assert list(full["paid"].limits) == ["burst", "daily"]
    assert full["paid"].limits["burst"].burst == 9
    assert list(full["paid"].quotas) == ["api_calls", "hourly"]
    assert full["paid"].quotas["api_calls"].amount == 90
    assert full["more"].features == {"a", "b", "c"}
    assert full["more"].limits == full["paid"].limits
    assert full["free"].limits["burst"].burst == 1, "the parent stays as it is"


@pytest.mark.parametrize(
    ("case", "name", "line"),
    [
        ("by itself", "alone", ["alone"]),
        ("in a line", "child", ["child", "alone"]),
        ("in a circle", "a", None),
        ("below a circle", "below", None),
        ("of itself", "self", None),
        ("without its parent", "orphan", None),
    ],
)
def test_the_lineage_of_a_tier(case: str, name: str, line: list[str] | None) -> None:
    tiers = {
        "alone": _tier(),
        "child": _tier(extends="alone"),
        "a": _tier(extends="b"),
        "b": _tier(extends="a"),
        "below": _tier(extends="a"),
        "self": _tier(extends="self"),
        "orphan": _tier(extends="nobody"),
    }
    assert lineage(name, tiers) == line
    assert (name in full_tiers(tiers)) is (line is not None)
