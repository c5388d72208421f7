from __future__ import annotations

import errno
import os
from dataclasses import replace
from fractions import Fraction
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
from gateway.model.billing import ANY_STATUS, USUAL, Billing, BillOn, Found, Reading, Rule, Value
from gateway.model.exchange import Downstream, Exchange, Grant, Periods, RequestHead
from gateway.model.periods import Period
from gateway.model.policies import (
    AdmissionMode,
    ChargePlan,
    OnStoreLoss,
    Quota,
    Route,
    Tier,
    Upstream,
)
from gateway.model.principal import Mode, Principal
from gateway.model.usage import Marks
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

    def __init__(self, folder: Path, *, durable: bool = False, pass_unrecorded: bool = False) -> None:
        self.clock = ManualClock()
        self.slots = Slots.in_memory()
        self.request_ids = RequestIds.make(self.clock.now_us())
        self.writer: JournalWriter = make_writer(
            folder, prefix=self.request_ids.prefix, clock=self.clock, segment_bytes=4096, durable=durable
        )
        self.meter = Meter(
            self.writer, self.slots, self.clock, self.request_ids, pass_unrecorded=pass_unrecorded
        )
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
    charges = {"api_calls": 1, "builds": 2}
    call = Call(7, 9, Mode.TEST, "team", "builds", "POST", charges, upstream="u")
    assert worker.records() == [Begin(1, exchange.started_at_us, call)]


@pytest.mark.parametrize(
    ("case", "start_s", "end_s", "moved_s"),
    [
        ("within the period", -1, 1, 0),
        ("at its first moment", 0, 1, 0),
        ("the one before was still on when it came", 2, 9, 2),
        ("our clock is ahead of the store's", -9, 0, -0.000_001),
    ],
)
def test_a_call_is_booked_in_the_period_it_was_charged_in(
    worker: Worker, case: str, start_s: float, end_s: float, moved_s: float
) -> None:
    exchange = worker.request()
    came_us = exchange.started_at_us
    start_us, end_us = (came_us + round(one * 1_000_000) for one in (start_s, end_s))
    periods = Periods(("q:api_calls:month:0",), start_us, end_us)
    exchange.grant = Grant(PRINCIPAL, a_plan(), b"", periods=periods)
    worker.meter.begin(exchange)
    (record,) = worker.records()
    assert isinstance(record, Begin)
    assert record.started_at_us == came_us + round(moved_s * 1_000_000), case


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


def test_what_was_decided_about_a_call_is_noted_with_it(worker: Worker) -> None:
    plain, marked = worker.request(), worker.request()
    marked.principal, marked.charges = plain.principal, plain.charges
    marked.marks = Marks(shadows=("tried",))
    worker.meter.begin(plain)
    worker.meter.begin(marked)
    found = [record.call.marks for record in worker.records() if isinstance(record, Begin)]
    assert found == [None, Marks(shadows=("tried",))]


def test_units_beyond_a_quota_are_a_meter_of_their_own(worker: Worker) -> None:
    exchange = worker.request()
    exchange.grant = Grant(PRINCIPAL, a_plan(), b"", beyond={"monthly": 3})
    worker.meter.begin(exchange)
    exchange.outcome, exchange.status = Outcome.SERVED, 200
    worker.meter.end(exchange)
    end = worker.records()[1]
    assert isinstance(end, End)
    assert end.measured == {"beyond:monthly": 3}


def test_a_refused_call_is_one_record(worker: Worker) -> None:
    exchange = worker.request(known=False)
    exchange.outcome, exchange.status = Outcome.UNAUTHENTICATED, 401
    worker.meter.end(exchange)
    (record,) = worker.records()
    assert isinstance(record, Whole)
    assert record.begin.call == Call(0, 0, Mode.LIVE, "", "", "POST", {}, raw=False)
    assert (record.end.outcome, record.end.status, record.end.billed) == (Outcome.UNAUTHENTICATED, 401, False)


def test_only_refused_calls_of_nobody_have_no_row(worker: Worker) -> None:
    """Strangers must not be able to fill the ledger; what they get served is work like any other."""
    nobody = replace(PRINCIPAL, account_id=0, key_id=0)
    for principal in (None, nobody, PRINCIPAL):
        exchange = worker.request()
        exchange.principal, exchange.outcome = principal, Outcome.RATE_LIMITED
        worker.meter.end(exchange)
    served = worker.request()
    served.principal, served.outcome = nobody, Outcome.SERVED
    worker.meter.begin(served)
    worker.meter.end(served)
    *refused, begun, _ = worker.records()
    assert [record.begin.call.raw for record in refused if isinstance(record, Whole)] == [False, False, True]
    assert isinstance(begun, Begin)
    assert begun.call.raw


def test_a_call_that_was_sent_nowhere_names_no_upstream(worker: Worker) -> None:
    exchange = worker.request()
    exchange.outcome, exchange.status = Outcome.RATE_LIMITED, 429
    worker.meter.end(exchange)
    (record,) = worker.records()
    assert isinstance(record, Whole)
    assert (record.begin.call.route, record.begin.call.upstream) == ("builds", "")


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


def admitted(worker: Worker) -> Exchange:
    exchange = worker.request()
    assert exchange.principal is not None
    exchange.grant = Grant(exchange.principal, a_plan(), b"")
    return exchange


class FullDisk:
    """No segment can be made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = True
        real = os.posix_fallocate

        def fallocate(*arguments: int) -> None:
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            real(*arguments)

        monkeypatch.setattr("gateway.journal.segment.os.posix_fallocate", fallocate)


def test_calls_may_pass_unrecorded_and_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    FullDisk(monkeypatch)
    worker = Worker(tmp_path, pass_unrecorded=True)
    exchange = admitted(worker)
    worker.meter.begin(exchange)
    assert not exchange.begun
    exchange.outcome, exchange.status = Outcome.SERVED, 200
    worker.meter.end(exchange)
    assert worker.slots.get("unrecorded_total") == 1
    assert worker.slots.get("requests_total", "served") == 1


def test_what_passed_unrecorded_is_recorded_after_all_when_there_is_space_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = FullDisk(monkeypatch)
    worker = Worker(tmp_path, pass_unrecorded=True)
    exchange = admitted(worker)
    worker.meter.begin(exchange)
    disk.full = False
    worker.clock.advance(1)
    exchange.outcome, exchange.status, exchange.egress_bytes = Outcome.SERVED, 200, 84
    worker.meter.end(exchange)
    begin, end = worker.records()
    assert isinstance(begin, Begin)
    assert isinstance(end, End)
    assert (begin.started_at_us, end.billed, end.egress_bytes) == (exchange.started_at_us, True, 84)
    assert worker.slots.get("unrecorded_total") == 0


def test_a_refusal_that_finds_no_room_is_not_a_call_that_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FullDisk(monkeypatch)
    worker = Worker(tmp_path, pass_unrecorded=True)
    exchange = worker.request(known=False)
    exchange.outcome, exchange.status = Outcome.UNAUTHENTICATED, 401
    worker.meter.end(exchange)
    assert (worker.slots.get("unrecorded_total"), worker.slots.get("journal_errors_total")) == (0, 1)


def test_a_durable_journal_is_on_disk_before_the_upstream_hears_and_when_the_call_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[int] = []
    worker = Worker(tmp_path, durable=True)
    monkeypatch.setattr("gateway.journal.writer.os.fdatasync", lambda _: kept.append(len(worker.records())))
    exchange = worker.request()
    worker.meter.begin(exchange)
    assert kept == [1]
    exchange.outcome, exchange.status = Outcome.SERVED, 200
    worker.meter.end(exchange)
    assert kept == [1, 2]
    refused = worker.request(known=False)
    refused.outcome = Outcome.UNAUTHENTICATED
    worker.meter.end(refused)
    assert kept == [1, 2], "no money is in a refusal, and strangers could make us wait"


@pytest.mark.parametrize("pass_unrecorded", [False, True])
def test_a_disk_that_keeps_nothing_refuses_calls_unless_they_may_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, pass_unrecorded: bool
) -> None:
    def fdatasync(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    worker = Worker(tmp_path, durable=True, pass_unrecorded=pass_unrecorded)
    monkeypatch.setattr("gateway.journal.writer.os.fdatasync", fdatasync)
    exchange = admitted(worker)
    if pass_unrecorded:
        worker.meter.begin(exchange)
        exchange.outcome, exchange.status = Outcome.SERVED, 200
    else:
        with pytest.raises(JournalUnavailable):
            worker.meter.begin(exchange)
        exchange.outcome, exchange.status = Outcome.OVERLOADED, 503
    worker.meter.end(exchange)
    begin, end = worker.records()
    assert isinstance(begin, Begin)
    assert isinstance(end, End)
    assert end.billed is pass_unrecorded


KEPT = BillOn({Outcome.SERVED: ANY_STATUS, Outcome.INTERRUPTED: ANY_STATUS})
BILLING = Billing({"api_calls": Rule(USUAL), "builds": Rule(KEPT, Value(header=b"x-builds", reserve=2))})


class Said:
    """A report that says one thing."""

    def __init__(self, value: int) -> None:
        self._value = value

    def reading(self, _: Value) -> Reading:
        return Reading(Found.READ, Fraction(self._value))


def a_reported_call(worker: Worker, value: int, outcome: Outcome, status: int = 200) -> Exchange:
    exchange = worker.request()
    exchange.route = replace(ROUTE, billing=BILLING)
    worker.meter.begin(exchange)
    exchange.report, exchange.outcome, exchange.status = Said(value), outcome, status
    worker.meter.end(exchange)
    return exchange


@pytest.mark.parametrize(
    ("case", "value", "outcome", "billed", "units", "due"),
    [
        ("each by itself", 21, Outcome.SERVED, False, (21, 1), {"builds": 21, "api_calls": 1}),
        ("as charged", 2, Outcome.SERVED, True, None, {"builds": 2, "api_calls": 1}),
        ("only one of them", 2, Outcome.CLIENT_ABORTED, False, (0, 1), {"builds": 0, "api_calls": 1}),
        ("none", 2, Outcome.TIMEOUT, False, None, {"builds": 0, "api_calls": 0}),
    ],
)
def test_the_end_and_whoever_settles_say_the_same(
    worker: Worker,
    case: str,
    value: int,
    outcome: Outcome,
    billed: bool,
    units: tuple[int, ...] | None,
    due: dict[str, int],
) -> None:
    exchange = a_reported_call(worker, value, outcome)
    begin, end = worker.records()
    assert isinstance(begin, Begin)
    assert isinstance(end, End)
    assert list(begin.call.charges.items()) == [("builds", 2), ("api_calls", 1)]
    assert begin.call.kept_charges == 1, "what is due though the worker dies comes first"
    assert (end.billed, end.units) == (billed, units), case
    assert exchange.due == due


def test_a_call_that_never_began_owes_nothing(worker: Worker) -> None:
    exchange = worker.request()
    exchange.route = replace(ROUTE, billing=BILLING)
    exchange.grant = Grant(PRINCIPAL, a_plan(), b"")
    exchange.outcome, exchange.status = Outcome.OVERLOADED, 503
    worker.meter.end(exchange)
    assert exchange.due == {}


def test_a_usual_call_has_nothing_to_settle_by(worker: Worker) -> None:
    exchange = worker.request()
    worker.meter.begin(exchange)
    exchange.outcome = Outcome.SERVED
    worker.meter.end(exchange)
    assert exchange.due is None
