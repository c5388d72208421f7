"""Thresholds of quotas: what is to be told once a period. Twin of thresholds.lua."""

from __future__ import annotations

from typing import NamedTuple

from gateway.model.policies import Quota


class Threshold(NamedTuple):
    """Reached when so many units are used."""

    units: int
    percent: int


class Reached(NamedTuple):
    """A threshold that was reached: of which counter, and of which amount there may be. Told once."""

    counter: str  # its whole name
    amount: int
    percent: int


class Told(NamedTuple):
    """What was true when it was."""

    at_ms: int
    used: int
    ends_ms: int
    quota: str


class Highest(NamedTuple):
    """The highest threshold told of a counter, for an amount."""

    amount: int
    percent: int


def thresholds_of(quota: Quota) -> tuple[Threshold, ...]:
    """Those that are told, ascending; none of a shadow. Rounded up: at 80 % of 9 units the eighth is used."""
    if quota.shadow:
        return ()
    return tuple(Threshold(-(-quota.amount * percent // 100), percent) for percent in quota.notify)


def marks(quota: str, thresholds: tuple[Threshold, ...]) -> tuple[int, str]:
    """The same as the script is told: the units of the first, below 0 if there is none, and all of them."""
    if not thresholds:
        return -1, ""
    return thresholds[0].units, " ".join([*(f"{units}:{percent}" for units, percent in thresholds), quota])


def reached_beyond(
    told: Highest | None, amount: int, thresholds: tuple[Threshold, ...], used: int
) -> list[int]:
    """Percents to tell now."""
    highest = told.percent if told is not None and told.amount == amount else 0
    return [percent for units, percent in thresholds if used >= units and percent > highest]
