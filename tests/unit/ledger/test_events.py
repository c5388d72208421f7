from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from gateway.journal.records import Begin, Call, End
from gateway.ledger.events import LABELS, ended_event, instant, interrupted_event
from gateway.model.principal import Mode
from gateway.outcomes import Outcome

PREFIX = bytes.fromhex("0192f1a2b3c48abc9def")
CALL = Call(7, 9, Mode.TEST, "team", "builds", "POST", {"api_calls": 1, "builds": 2}, upstream="next")
BEGIN = Begin(258, 1_700_000_000_123_456, CALL)


def an_end(*, billed: bool = True, measured: dict[str, int] | None = None) -> End:
    return End(258, Outcome.SERVED, billed, 201, 10, 84, 1500, 900, measured or {})


def test_an_event_is_its_begin_and_its_end() -> None:
    event = ended_event(PREFIX, BEGIN, an_end())
    assert UUID(bytes=event.request_id) == UUID("0192f1a2-b3c4-8abc-9def-000000000102")
    assert event.started_at == datetime(2023, 11, 14, 22, 13, 20, 123456, UTC)
    assert event.ended_at_us == 1_700_000_000_124_956
    assert event.charges is CALL.charges, (
        "what is paid as was planned is the same object: it is added up at once"
    )


@pytest.mark.parametrize(
    ("case", "end", "charges"),
    [
        ("billed as planned", an_end(), {"api_calls": 1, "builds": 2}),
        ("not billed", an_end(billed=False), {}),
        ("not billed although something was measured", an_end(billed=False, measured={"tokens": 5}), {}),
        (
            "measured units come on top",
            an_end(measured={"tokens": 5, "builds": 1}),
            {"api_calls": 1, "builds": 3, "tokens": 5},
        ),
    ],
)
def test_what_a_call_pays(case: str, end: End, charges: dict[str, int]) -> None:
    assert ended_event(PREFIX, BEGIN, end).charges == charges


def test_an_interrupted_call_keeps_who_and_when_and_costs_nothing() -> None:
    event = interrupted_event(PREFIX, BEGIN)
    assert event.end.outcome is Outcome.INTERRUPTED
    assert event.begin == BEGIN
    assert (event.charges, event.end.duration_us, event.end.status) == ({}, 0, 0)


def test_each_charge_may_be_due_by_itself() -> None:
    end = an_end(billed=False)._replace(units=(0, 21))
    assert ended_event(PREFIX, BEGIN, end).charges == {"builds": 21}
    assert ended_event(PREFIX, BEGIN, end._replace(units=(1, 0))).charges == {"api_calls": 1}


def test_an_interrupted_call_pays_what_policies_keep_in_any_case() -> None:
    begin = BEGIN._replace(call=CALL._replace(kept_charges=1))
    assert interrupted_event(PREFIX, begin).charges == {"api_calls": 1}


def test_every_outcome_has_its_public_name() -> None:
    assert {LABELS[outcome] for outcome in Outcome} == {outcome.label for outcome in Outcome}


@pytest.mark.parametrize("at_us", [0, 1, 1_700_000_000_999_999, 253_370_764_799_999_999])
def test_instants_are_exact(at_us: int) -> None:
    assert (instant(at_us) - instant(0)).total_seconds() == pytest.approx(at_us / 1_000_000)
    assert instant(at_us).microsecond == at_us % 1_000_000
