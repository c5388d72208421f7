from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.cursors import LONGEST, parse_event_cursor, parse_sum_cursor, sum_cursor
from gateway.ledger.errors import InvalidCursor

AT = datetime(2026, 1, 31, 23, 59, 59, 999_999, tzinfo=UTC)


def encode(document: object) -> str:
    return urlsafe_b64encode(json.dumps(document).encode()).decode()


@pytest.mark.parametrize("start", [None, AT])
def test_a_cursor_says_where_it_came_from(start: datetime | None) -> None:
    row = {
        "bucket_start": start,
        "account_id": 7,
        "key_id": 0,
        "route": "",
        "mode": "live",
        "outcome": "served",
        "meter": "api_calls",
    }
    cursor = sum_cursor(cast("Any", row))
    assert cursor.replace("-", "").replace("_", "").isalnum()
    assert parse_sum_cursor(cursor) == (start, 7, 0, "", "live", "served", "api_calls")


@pytest.mark.parametrize(
    ("case", "cursor"),
    [
        ("nothing", ""),
        ("not base64", "~~~~"),
        ("not ASCII", "é"),
        ("not JSON", urlsafe_b64encode(b"{").decode()),
        ("another shape", encode({"a": 1})),
        ("too few", encode([None, 1, 2, "a", "b", "c"])),
        ("too many", encode([None, 1, 2, "a", "b", "c", "d", "e"])),
        ("text for a number", encode([None, "1", 2, "a", "b", "c", "d"])),
        ("a truth for a number", encode([None, True, 2, "a", "b", "c", "d"])),
        ("nothing for an account", encode([None, None, 2, "a", "b", "c", "d"])),
        ("a number that Postgres does not know", encode([None, 1 << 63, 2, "a", "b", "c", "d"])),
        ("a time beyond all calendars", encode([1 << 62, 1, 2, "a", "b", "c", "d"])),
        ("NUL", encode([None, 1, 2, "a\0", "b", "c", "d"])),
        ("half a character", encode([None, 1, 2, "\ud800", "b", "c", "d"])),
        ("a number for a text", encode([None, 1, 2, 3, "b", "c", "d"])),
        ("deep", encode("x")[:-1] + "A" * 2 * LONGEST),
    ],
)
def test_what_we_did_not_make_is_refused(case: str, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        parse_sum_cursor(cursor)


@given(st.text(max_size=60))
def test_whatever_comes_is_read_or_refused(text: str) -> None:
    for parse in (parse_sum_cursor, parse_event_cursor):
        try:
            parse(text)
        except InvalidCursor:
            continue
