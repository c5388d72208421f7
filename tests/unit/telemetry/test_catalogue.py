"""Every series has a slot of its own."""

from __future__ import annotations

import re

import pytest

from gateway.outcomes import Outcome
from gateway.telemetry.catalogue import METRICS, SLOT_COUNT, slot
from gateway.telemetry.metric import Kind, Metric


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_follow_prometheus(metric: Metric) -> None:
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER)
    assert metric.help.endswith(".")
    assert list(metric.bounds) == sorted(set(metric.bounds))
    assert bool(metric.bounds) == (metric.kind is Kind.HISTOGRAM)
    assert set(metric.roles) <= {"worker", "recorder", "control", "supervisor"}


def test_series_never_share_a_slot() -> None:
    taken = [
        slot(metric.name, *labels) + offset
        for metric in METRICS
        for labels in metric.series()
        for offset in range(metric.slots_per_series)
    ]
    assert sorted(taken) == list(range(SLOT_COUNT))


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.label)
def test_every_outcome_can_be_counted(outcome: Outcome) -> None:
    slot("requests_total", outcome.label)


@pytest.mark.parametrize(
    ("case", "name", "labels", "error"),
    [
        ("a metric nobody knows", "requests", (), KeyError),
        ("a label value nobody knows", "requests_total", ("serverd",), ValueError),
        ("a label too few", "requests_total", (), ValueError),
        ("a label too many", "connections", ("x",), ValueError),
    ],
)
def test_a_typo_is_an_error(case: str, name: str, labels: tuple[str, ...], error: type[Exception]) -> None:
    with pytest.raises(error):
        slot(name, *labels)
