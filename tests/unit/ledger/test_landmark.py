"""What was booked last, and which ledgers have it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.journal.reader import Position
from gateway.ledger.landmark import FILE, Booked, Landmark

OPEN = Booked("a" * 20, Position(3, 400), closed=False, at_us=7)
CLOSED = Booked("a" * 20, Position(3, 400), closed=True, at_us=7)


@pytest.mark.parametrize(
    ("case", "booked", "cursor", "known"),
    [
        ("where it was left", OPEN, (Position(3, 400), False), True),
        ("further on", OPEN, (Position(3, 401), False), True),
        ("in a later segment", OPEN, (Position(4, 64), False), True),
        ("finished meanwhile", OPEN, (Position(3, 400), True), True),
        ("behind", OPEN, (Position(3, 399), False), False),
        ("in an earlier segment", OPEN, (Position(2, 9000), False), False),
        ("never heard of it", OPEN, None, False),
        ("finished, as it was left", CLOSED, (Position(3, 400), True), True),
        ("finished before, open again", CLOSED, (Position(3, 400), False), False),
    ],
)
def test_which_ledger_has_what_was_booked(
    case: str, booked: Booked, cursor: tuple[Position, bool] | None, known: bool
) -> None:
    assert booked.is_known_to(cursor) is known


def test_it_is_read_as_written_until_it_is_forgotten(tmp_path: Path) -> None:
    landmark = Landmark(tmp_path / FILE)
    assert landmark.read() is None
    for booked in (OPEN, CLOSED):
        landmark.write(booked)
        assert landmark.read() == booked
    landmark.forget()
    landmark.forget()
    assert landmark.read() is None
