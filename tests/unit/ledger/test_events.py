from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID

import pytest

from gateway.journal.records import Begin, Call, End
from gateway.ledger.events import EVENT_COLUMNS, LABELS, ended_event, event_row, instant, interrupted_event
from gateway.model.principal import Mode
from gateway.outcomes import Outcome

PREFIX = bytes.fromhex("0192f1a2b3c48abc9def")
CALL = Call(7, 9, Mode.TEST, "team", "builds", "POST", {"api_calls": 1, "builds": 2}, upstream="next")
BEGIN = Begin(258, 1_700_000_000_123_456, CALL)


def an_end(*, billed: bool = True, measured: dict[str, int] | None = None) -> End:
    return End(258, Outcome.SERVED, billed, 201, 10, 84, 1500, 900, measured or {})


def test_an_event_is_its_begin_and_its_end() -> None:
    row = dict(zip(EVENT_COLUMNS, event_row(ended_event(PREFIX, BEGIN, an_end())), strict=True))
    assert json.loads(str(row.pop("charges"))) == {"api_calls": 1, "builds": 2}
    assert str(row.pop("request_id")) == str(UUID("0192f1a2-b3c4-8abc-9def-000000000102"))
    assert row == {
        "started_at": datetime(2023, 11, 14, 22, 13, 20, 123456, UTC),
        "account_id": 7,
        "key_id": 9,
        "ingress_bytes": 10,
        "egress_bytes": 84,
        "ingress_messages": 0,
        "egress_messages": 0,
        "duration_us": 1500,
        "first_byte_us": 900,
        "status": 201,
        "mode": "test",
        "outcome": "served",
        "tier": "team",
        "route": "builds",
        "upstream": "next",
        "method": "POST",
        "code": None,
        "refused_by": None,
        "shadows": None,
    }


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
    assert event.outcome is Outcome.INTERRUPTED
    assert (event.account_id, event.route, event.started_at_us) == (7, "builds", BEGIN.started_at_us)
    assert (event.charges, event.duration_us, event.status) == ({}, 0, 0)


def test_each_charge_may_be_due_by_itself() -> None:
    end = an_end(billed=False)._replace(units=(0, 21))
    assert ended_event(PREFIX, BEGIN, end).charges == {"builds": 21}
    assert ended_event(PREFIX, BEGIN, end._replace(units=(1, 0))).charges == {"api_calls": 1}


def test_an_interrupted_call_pays_what_policies_keep_in_any_case() -> None:
    begin = BEGIN._replace(call=CALL._replace(kept_charges=1))
    assert interrupted_event(PREFIX, begin).charges == {"api_calls": 1}


def test_nobody_is_null() -> None:
    begin = BEGIN._replace(call=CALL._replace(account_id=0, key_id=0))
    event = ended_event(PREFIX, begin, an_end())
    assert (event.account_id, event.key_id) == (None, None)


def test_every_outcome_has_its_public_name() -> None:
    assert {LABELS[outcome] for outcome in Outcome} == {outcome.label for outcome in Outcome}


@pytest.mark.parametrize("at_us", [0, 1, 1_700_000_000_999_999, 253_370_764_799_999_999])
def test_instants_are_exact(at_us: int) -> None:
    assert (instant(at_us) - instant(0)).total_seconds() == pytest.approx(at_us / 1_000_000)
    assert instant(at_us).microsecond == at_us % 1_000_000
