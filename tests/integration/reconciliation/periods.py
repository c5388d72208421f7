"""A period to find something about."""

from __future__ import annotations

from gateway.admission.counters import QuotaPeriod
from gateway.admission.period import Span
from gateway.model.periods import Period
from gateway.model.principal import Mode

PERIOD = QuotaPeriod(7, Mode.LIVE, "api_calls", Period.MONTH, Span(0, 2_678_400))
