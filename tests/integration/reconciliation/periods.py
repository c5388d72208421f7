"""A period to find something about."""

from __future__ import annotations

from gateway.admission.counters import QuotaPeriod
from gateway.model.policies import Period
from gateway.model.principal import Mode

PERIOD = QuotaPeriod(7, Mode.LIVE, "api_calls", Period.MONTH, 0)
