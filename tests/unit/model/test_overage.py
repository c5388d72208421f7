from __future__ import annotations

import pytest

from gateway.model.overage import Overage


@pytest.mark.parametrize(
    ("case", "beyond", "due_minor"),
    [
        ("nothing beyond costs nothing", 0, 0),
        ("what is begun is paid in full", 1, 10),
        ("to the last unit of it", 1000, 10),
        ("and then the next", 1001, 20),
        ("exactly, however many", 10**18 + 1, 10**16 + 10),
    ],
)
def test_what_units_beyond_a_quota_cost(case: str, beyond: int, due_minor: int) -> None:
    assert Overage(10, "USD", 1000).due_minor(beyond) == due_minor, case
