"""What COPY is given, taken apart again as PostgreSQL does."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.records import Begin, Call, End
from gateway.ledger import rows
from gateway.ledger.events import UsageEvent, ended_event
from gateway.ledger.rows import EVENT_COLUMNS, copy_of
from gateway.model.principal import Mode
from gateway.model.usage import Marks
from gateway.outcomes import Outcome

PREFIX = bytes.fromhex("0192f1a2b3c48abc9def")
CALL = Call(7, 9, Mode.TEST, "team", "builds", "POST", {"api_calls": 1, "builds": 2}, upstream="next")
BEGIN = Begin(258, 1_700_000_000_123_456, CALL)
END = End(258, Outcome.SERVED, True, 201, 10, 84, 1500, 900, {}, 3, 4)
TEXTS = ("mode", "outcome", "tier", "route", "upstream", "method", "code")
IN_2000 = datetime(2000, 1, 1, tzinfo=UTC)


def taken_apart(copy: bytes) -> list[dict[str, bytes | None]]:
    """The fields of each row, by column."""
    assert copy.startswith(b"PGCOPY\n\xff\r\n\0" + bytes(8))
    at, found = 19, []
    while (columns := struct.unpack_from("!h", copy, at)[0]) >= 0:
        assert columns == len(EVENT_COLUMNS)
        at, row = at + 2, {}
        for column in EVENT_COLUMNS:
            (size,) = struct.unpack_from("!i", copy, at)
            at += 4
            row[column] = None if size < 0 else copy[at : at + size]
            at += max(size, 0)
        found.append(row)
    assert at + 2 == len(copy)
    return found


def rows_of(*events: UsageEvent) -> list[dict[str, object]]:
    return [read(row) for row in taken_apart(b"".join(copy_of(events)))]


def read(row: dict[str, bytes | None]) -> dict[str, object]:
    told: dict[str, object] = {}
    for column, raw in row.items():
        if raw is None:
            told[column] = None
        elif column == "started_at":
            told[column] = IN_2000 + timedelta(microseconds=int.from_bytes(raw, "big", signed=True))
        elif column == "request_id":
            told[column] = str(UUID(bytes=raw))
        elif column in TEXTS:
            told[column] = raw.decode()
        elif column == "charges":
            assert raw[0] == 1, "the version of jsonb"
            told[column] = json.loads(raw[1:])
        elif column in ("refused_by", "shadows"):
            told[column] = names(raw)
        else:
            assert len(raw) == (4 if column == "status" else 8)
            told[column] = int.from_bytes(raw, "big", signed=True)
    return told


def names(raw: bytes) -> list[str]:
    assert struct.unpack_from("!iii", raw) == (1, 0, 25), "one dimension, no nulls, texts"
    count, first = struct.unpack_from("!ii", raw, 12)
    assert first == 1
    at, found = 20, []
    for _ in range(count):
        (size,) = struct.unpack_from("!i", raw, at)
        found.append(raw[at + 4 : at + 4 + size].decode())
        at += 4 + size
    assert at == len(raw)
    return found


FIELDS = {
    "started_at": datetime(2023, 11, 14, 22, 13, 20, 123456, UTC),
    "request_id": "0192f1a2-b3c4-8abc-9def-000000000102",
    "account_id": 7,
    "key_id": 9,
    "ingress_bytes": 10,
    "egress_bytes": 84,
    "ingress_messages": 3,
    "egress_messages": 4,
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
    "charges": {"api_calls": 1, "builds": 2},
}


def test_every_field_has_its_place() -> None:
    assert rows_of(ended_event(PREFIX, BEGIN, END)) == [FIELDS]


def test_nobody_is_null() -> None:
    call = CALL._replace(account_id=0, key_id=0)
    (row,) = rows_of(ended_event(PREFIX, BEGIN._replace(call=call), END))
    assert row == FIELDS | {"account_id": None, "key_id": None}


def test_marks_are_names_or_null() -> None:
    marked = CALL._replace(marks=Marks("rate_limited", ("burst", "t\u00e4glich"), ()))
    shadowed = CALL._replace(marks=Marks("", (), ("soon",)))
    events = [ended_event(PREFIX, BEGIN._replace(call=call), END) for call in (marked, shadowed)]
    assert rows_of(*events) == [
        FIELDS | {"code": "rate_limited", "refused_by": ["burst", "t\u00e4glich"]},
        FIELDS | {"shadows": ["soon"]},
    ]


def test_before_1970_and_in_2038_and_9999_it_is_the_same_calendar() -> None:
    """Nothing counts in 32 bits, and a leap second is none: 2016 had one at its end."""
    for at in (
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2016, 12, 31, 23, 59, 59, 999_999, UTC),
        datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        datetime(9998, 12, 31, 23, 59, 59, 999_999, UTC),
    ):
        at_us = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
        (row,) = rows_of(ended_event(PREFIX, BEGIN._replace(started_at_us=at_us), END))
        assert row["started_at"] == at


largest = st.integers(-(2**63), 2**63 - 1)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([CALL, CALL._replace(route="b"), CALL._replace(charges={})]),
            st.sampled_from(Outcome),
            st.booleans(),
            st.dictionaries(st.sampled_from(["a", "\u00e4", "api_calls"]), st.integers(1, 10**12)),
            largest,
        ),
        max_size=12,
    )
)
def test_what_calls_share_is_never_mixed_up(
    told: list[tuple[Call, Outcome, bool, dict[str, int], int]],
) -> None:
    events = [
        ended_event(
            PREFIX,
            Begin(number, number, call),
            End(number, outcome, billed, 200, figure, 0, 0, 0, measured),
        )
        for number, (call, outcome, billed, measured, figure) in enumerate(told)
    ]
    found = rows_of(*events)
    for event, row in zip(events, found, strict=True):
        assert row["request_id"] == str(UUID(bytes=event.request_id))
        assert (row["route"], row["outcome"]) == (event.begin.call.route, event.end.outcome.label)
        assert (row["charges"], row["ingress_bytes"]) == (dict(event.charges), event.end.ingress_bytes)


def test_many_rows_come_in_pieces() -> None:
    events = [
        ended_event(PREFIX, BEGIN._replace(sequence=number), END) for number in range(rows.PIECE_ROWS + 1)
    ]
    assert len(list(copy_of(events))) == 4, "a header, two pieces, a trailer"
    assert len(rows_of(*events)) == rows.PIECE_ROWS + 1
