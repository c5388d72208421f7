"""Whether a target takes calls: judged by how calls and checks end."""

from __future__ import annotations

from gateway.deadlines import NEVER
from gateway.model.policies import Ejection, Health


class Condition:
    """The judgement on one target. Decides from what it is told; time and consequences are others'.

    Calls and checks judge separately: a target is up while neither has taken it out. Calls take it out for a
    time that doubles with each ejection in a row; coming back it is on probation, and its first failure takes
    it out again. Checks take it out until enough of them pass.
    """

    __slots__ = ("_ejection", "_ejections", "_failures", "_health", "_streak", "checked_out", "out_until")

    def __init__(self, ejection: Ejection, health: Health | None) -> None:
        self.out_until = NEVER  # NEVER: calls have nothing against it
        self.checked_out = False
        self._ejection = ejection
        self._health = health
        self._failures = 0  # calls in a row
        self._ejections = 0  # in a row
        self._streak = 0  # checks in a row that speak against the state it is in

    @property
    def up(self) -> bool:
        return self.out_until == NEVER and not self.checked_out

    def call_went_well(self) -> None:
        self._failures = self._ejections = 0

    def call_failed(self) -> bool:
        """True when calls speak for taking it out now."""
        self._failures += 1
        return self.out_until == NEVER and self._failures >= self._ejection.failures

    def eject(self, now: float) -> float:
        """Take it out; for how many seconds."""
        ejection = self._ejection
        out_s = min(ejection.out_s * 2.0 ** min(self._ejections, 30), ejection.longest_s)
        self._ejections += 1
        self.out_until = now + out_s
        return out_s

    def readmit(self) -> None:
        """The time is over."""
        self.out_until = NEVER
        self._failures = self._ejection.failures - 1

    def checked(self, *, passed: bool) -> bool:
        """Note a check; True when it changed what checks say."""
        assert self._health is not None, "only a target with checks is checked"
        if passed is not self.checked_out:
            self._streak = 0
            return False
        self._streak += 1
        needed = self._health.healthy_after if self.checked_out else self._health.unhealthy_after
        if self._streak < needed:
            return False
        self._streak = 0
        self.checked_out = not self.checked_out
        return True
