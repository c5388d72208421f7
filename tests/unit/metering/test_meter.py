from __future__ import annotations

from pathlib import Path
from typing import cast
from uuid import UUID

import pytest

from gateway.clock import ManualClock
from gateway.errors import JournalUnavailable
from gateway.journal.reader import Journal
from gateway.journal.records import Begin, Call, End, Record, Whole
from gateway.journal.writer import JournalWriter
from gateway.metering import meter as meter_module
from gateway.metering.meter import Meter
from gateway.metering.request_ids import RequestIds
from gateway.model.exchange import Downstream, Exchange, RequestHead
from gateway.model.policies import (
    AdmissionMode,
    ChargePlan,
    OnStoreLoss,
    Period,
    Quota,
    Route,
    Tier,
    Upstream,
)
from gateway.model.principal import Mode, Principal
from gateway.outcomes import Outcome
from gateway.telemetry.catalogue import BY_NAME, LAYOUT
from gateway.telemetry.slots import Slots
from tests.unit.journal.journals import make_writer, read_all

TIER = Tier("team", "Team", None, (), (), frozenset())
QUOTA = Quota("calls", "api_calls", 1000, Period.MONTH)
ROUTE = Route(
    "builds", "/b", frozenset(), frozenset(), Upstream("u", ()), frozenset(), {"api_calls": 1, "builds": 2}
)
PRINCIPAL = Principal(7, "acct_a", 9, "key_a", "team", Mode.TEST, b"")


def a_plan() -> ChargePlan:
    return ChargePlan("p", TIER, (), ((QUOTA, 1),), AdmissionMode.AUTO, OnStoreLoss.REFUSE, None)


class Worker:
    """A meter with all that is behind it."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.slots = Slots.in_memory()
        self.request_ids = RequestIds.make(self.clock.now_us())
        self.writer: JournalWriter = make_writer(
            folder, prefix=self.request_ids.prefix, clock=self.clock, segment_bytes=4096
        )
        self.meter = Meter(self.writer, self.slots, self.clock, self.request_ids)
        self.journal = Journal(self.writer.folder)

    def request(self, *, known: bool = True, plan: ChargePlan | None = None) -> Exchange:
        head = RequestHead()
        head.method = "POST"
        exchange = Exchange(head, cast("Downstream", None), b"")
        self.meter.identify(exchange)
        if known:
            exchange.route, exchange.principal, exchange.charges = ROUTE, PRINCIPAL, plan or a_plan()
        return exchange

    def records(self) -> list[Record]:
        return read_all(self.journal, final=False)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path)


def test_requests_are_numbered_and_named_from_one(worker: Worker) -> None:
    first, second = worker.request(), worker.request()
    assert (first.sequence, second.sequence) == (1, 2)
    assert UUID(second.request_id.decode()).bytes == worker.request_ids.binary(2)
    assert first.started_at_us == worker.clock.now_us()


def test_a_begin_is_on_disk_before_it_returns(worker: Worker) -> None:
    exchange = worker.request()
    worker.meter.begin(exchange)
    assert exchange.begun
    call = Call(7, 9, Mode.TEST, "team", "builds", "POST", {"api_calls": 1, "builds": 2})
    assert worker.records() == [Begin(1, exchange.started_at_us, call)]


def test_a_served_call_ends_with_its_figures_and_is_billed(worker: Worker) -> None:
    exchange = worker.request()
    worker.meter.begin(exchange)
    worker.clock.advance(0.5)
    exchange.status, exchange.answered_at_us = 200, worker.clock.monotonic_us()
    exchange.ingress_bytes, exchange.egress_bytes = 10, 84
    exchange.outcome = Outcome.SERVED
    worker.clock.advance(0.25)
    worker.meter.end(exchange)
    assert worker.records()[1] == End(1, Outcome.SERVED, True, 200, 10, 84, 750_000, 500_000, {})


def test_a_refused_call_is_one_record(worker: Worker) -> None:
    exchange = worker.request(known=False)
    exchange.outcome, exchange.status = Outcome.UNAUTHENTICATED, 401
    worker.meter.end(exchange)
    (record,) = worker.records()
    assert isinstance(record, Whole)
    assert record.begin.call == Call(0, 0, Mode.LIVE, "", "", "POST", {})
    assert (record.end.outcome, record.end.status, record.end.billed) == (Outcome.UNAUTHENTICATED, 401, False)


def test_no_outcome_is_unexpected(worker: Worker) -> None:
    worker.meter.end(worker.request())
    (record,) = worker.records()
    assert isinstance(record, Whole)
    assert record.end.outcome is Outcome.UNEXPECTED
    assert worker.slots.get("requests_total", "unexpected") == 1


@pytest.mark.parametrize(
    ("case", "outcome", "status", "billed"),
    [
        ("served", Outcome.SERVED, 200, True),
        ("served with the upstream's 404", Outcome.SERVED, 404, True),
        ("the caller left during the answer", Outcome.CLIENT_ABORTED, 200, True),
        ("the caller left before it", Outcome.CLIENT_ABORTED, 0, False),
        ("the caller never sent its body", Outcome.CLIENT_ABORTED, 408, False),
        ("the caller left during an upstream's error", Outcome.CLIENT_ABORTED, 502, False),
        ("the upstream failed", Outcome.UPSTREAM_ERROR, 500, False),
        ("the upstream broke off", Outcome.UPSTREAM_ABORTED, 200, False),
        ("too slow", Outcome.TIMEOUT, 504, False),
        ("our defect", Outcome.UNEXPECTED, 500, False),
    ],
)
def test_only_work_that_was_done_is_billed(
    worker: Worker, case: str, outcome: Outcome, status: int, billed: bool
) -> None:
    exchange = worker.request()
    worker.meter.begin(exchange)
    exchange.outcome, exchange.status = outcome, status
    worker.meter.end(exchange)
    end = worker.records()[1]
    assert isinstance(end, End)
    assert end.billed is billed


def test_the_metrics_of_a_request(worker: Worker) -> None:
    exchange = worker.request()
    worker.meter.begin(exchange)
    exchange.outcome, exchange.status = Outcome.SERVED, 200
    exchange.ingress_bytes, exchange.egress_bytes = 3, 5
    worker.clock.advance(0.3)
    worker.meter.end(exchange)
    slots = worker.slots
    assert slots.get("requests_total", "served") == 1
    assert (slots.get("ingress_bytes_total"), slots.get("egress_bytes_total")) == (3, 5)
    assert slots.get("journal_records_total") == 2
    expected = Slots.in_memory()
    expected.observe_us("request_duration_seconds", 300_000)
    first = LAYOUT["request_duration_seconds"]
    last = first + BY_NAME["request_duration_seconds"].slots_per_series
    assert list(slots.cells[first:last]) == list(expected.cells[first:last])


def test_calls_of_one_key_share_their_encoding_and_policy_changes_are_seen(worker: Worker) -> None:
    plan = a_plan()
    for _ in range(3):
        worker.meter.begin(worker.request(plan=plan))
    other = worker.request(
        plan=ChargePlan("q", TIER, (), ((QUOTA, 5),), AdmissionMode.AUTO, OnStoreLoss.REFUSE, None)
    )
    worker.meter.begin(other)
    calls = [record.call.charges["api_calls"] for record in worker.records() if isinstance(record, Begin)]
    assert calls == [1, 1, 1, 5]


def test_the_cache_of_encodings_is_bounded(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter_module, "MAX_CACHED_CALLS", 2)
    for _ in range(7):
        exchange = worker.request(plan=a_plan())
        worker.meter.begin(exchange)
        worker.meter.end(exchange)
    assert len(worker.records()) == 14


def test_a_call_that_can_not_be_recorded_is_refused_and_counted(worker: Worker) -> None:
    worker.writer.close()
    exchange = worker.request()
    with pytest.raises(JournalUnavailable):
        worker.meter.begin(exchange)
    assert not exchange.begun
    assert worker.slots.get("journal_errors_total") == 1
    exchange.outcome = Outcome.OVERLOADED
    worker.meter.end(exchange)
    assert worker.slots.get("journal_errors_total") == 2
    assert worker.slots.get("requests_total", "overloaded") == 1


def test_ids_of_objects_that_are_gone_are_never_mistaken(worker: Worker) -> None:
    charged = []
    for cost in range(1, 30):
        plan = ChargePlan("p", TIER, (), ((QUOTA, cost),), AdmissionMode.AUTO, OnStoreLoss.REFUSE, None)
        exchange = worker.request(plan=plan)
        del plan
        worker.meter.begin(exchange)
        exchange.charges = None
        worker.meter.end(exchange)
        charged.append(cost)
    begins = [record for record in worker.records() if isinstance(record, Begin)]
    assert [begin.call.charges["api_calls"] for begin in begins] == charged
