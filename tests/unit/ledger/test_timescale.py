from __future__ import annotations

import pytest

from gateway.ledger.timescale import Extension, obstacle


@pytest.mark.parametrize(
    ("case", "offered", "installed", "is_preloaded", "said"),
    [
        ("the server does not know it", None, None, False, "has no TimescaleDB. Install version 2.13"),
        ("it is there and not loaded", "2.29.2", None, False, "shared_preload_libraries"),
        ("in the database, no longer loaded", "2.29.2", "2.29.2", False, "shared_preload_libraries"),
        ("older than what we call", "2.12.2", None, True, "has TimescaleDB 2.12.2; 2.13 or newer"),
        ("both are older", "2.12.2", "2.9.0", True, "has TimescaleDB 2.9.0; 2.13 or newer"),
        ("the database is behind its server", "2.29.2", "2.9.0", True, 'psql -X -d "books"'),
        ("the oldest", "2.13.0", None, True, None),
        ("a version with two digits", "2.29.2", "2.29.2", True, None),
        ("one under way", "3.0.0-dev", None, True, None),
        ("the files of it are gone, the database has it", None, "2.29.2", True, None),
    ],
)
def test_what_stands_in_the_way(
    case: str, offered: str | None, installed: str | None, is_preloaded: bool, said: str | None
) -> None:
    why = obstacle(Extension("books", offered, installed, is_preloaded))
    assert why is None if said is None else said in str(why)
