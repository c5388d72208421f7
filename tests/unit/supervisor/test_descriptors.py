"""Open files: as many as the system allows, and a word where those do not do."""

from __future__ import annotations

import resource
from unittest.mock import Mock

import pytest

from gateway.supervisor.descriptors import allow_as_many_as_we_may


@pytest.mark.parametrize(
    ("case", "most", "is_said"),
    [
        ("enough", 20_000, False),
        ("fewer than connections may be", 4096, True),
        ("no limit", resource.RLIM_INFINITY, False),
    ],
)
def test_the_limit_is_raised_and_said_where_it_is_low(
    case: str, most: int, is_said: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    set_to = Mock()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, most))
    monkeypatch.setattr(resource, "setrlimit", set_to)
    allow_as_many_as_we_may(20_000)
    set_to.assert_called_once_with(resource.RLIMIT_NOFILE, (most, most))
    assert ("fewer than TOLLWAY_MAX_CONNECTIONS (20000)" in caplog.text) is is_said
