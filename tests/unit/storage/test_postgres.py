"""URLs that can not be right are refused before anything is connected, and never repeated."""

from __future__ import annotations

import pytest

from gateway.errors import StartupError
from gateway.storage.postgres import check_url, host_of, places_of


@pytest.mark.parametrize(
    ("case", "url"),
    [
        ("nothing", ""),
        ("another database", "mysql://u:hunter2@host/db"),
        ("no scheme", "hunter2"),
        ("a slash in the password", "postgresql://u:hunter2/x@host/db"),
        ("digits and a slash in the password", "postgresql://u:12/hunter2@host/db"),
        ("a hash in the password", "postgresql://u:12#hunter2@host/db"),
        ("a question mark in the password", "postgresql://u:12?hunter2@host/db"),
        ("a port that is none", "postgresql://u:p@host:hunter2/db"),
        ("a broken bracket", "postgresql://u:hunter2@[host/db"),
    ],
)
def test_wrong_urls(case: str, url: str) -> None:
    with pytest.raises(StartupError) as caught:
        check_url(url)
    message = str(caught.value)
    assert message.startswith("TOLLWAY_DATABASE_URL is not a PostgreSQL URL.")
    assert "hunter2" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("postgresql://u:hunter2@db.example:6432/x", "db.example:6432"),
        ("postgres://u:p%40ss@db.example/x?sslmode=require", "db.example"),
        ("postgresql://tollway@/tollway?host=%2Frun%2Fpg", "/run/pg"),
        ("postgresql:///x", "the default host"),
    ],
)
def test_the_host_is_what_may_be_shown(url: str, host: str) -> None:
    check_url(url)
    assert host_of(url) == host


@pytest.mark.parametrize(
    ("case", "url", "places"),
    [
        ("a name and a port", "postgresql://u:p@DB.example:6432/x", [("db.example", 6432)]),
        ("the usual port", "postgres://u:p%40ss@db.example/x", [("db.example", 5432)]),
        ("IPv6", "postgresql://[::1]:6432/x", [("::1", 6432)]),
        ("IPv6 and the usual port", "postgresql://[::1]/x", [("::1", 5432)]),
        ("no host: here, if not by a socket", "postgresql:///x", [("localhost", 5432)]),
        ("a socket", "postgresql:///x?host=%2Frun%2Fpg", []),
        ("in the query", "postgresql:///x?host=db.example&port=6432", [("db.example", 6432)]),
        ("several", "postgresql:///x?host=one,two:7000&port=6432", [("one", 6432), ("two", 7000)]),
    ],
)
def test_where_a_database_listens(case: str, url: str, places: list[tuple[str, int]]) -> None:
    assert places_of(url) == places
