"""Log lines: known fields only, one line each, for machines or for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from gateway.telemetry.logs import FIELDS, ConsoleFormatter, JsonFormatter, set_up_logs


def record(message: object = "it happened", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("tollway.room", logging.WARNING, __file__, 1, message, None, None)
    made.__dict__.update(fields)
    made.created = 1_700_000_000.25
    return made


def failure() -> logging.LogRecord:
    made = record()
    try:
        raise LookupError("lost")
    except LookupError:
        made.exc_info = sys.exc_info()
    return made


def test_json_is_one_object_a_line() -> None:
    line = JsonFormatter("worker-1").format(record(account="acct_1", status=429))
    assert "\n" not in line
    assert json.loads(line) == {
        "at": "2023-11-14T22:13:20.250+00:00",
        "level": "warning",
        "logger": "tollway.room",
        "process": "worker-1",
        "message": "it happened",
        "account": "acct_1",
        "status": 429,
    }


def test_a_person_reads_one_line() -> None:
    line = ConsoleFormatter("worker-1").format(record(account="acct_1", status=429))
    assert line == "22:13:20.250 warning worker-1   it happened account=acct_1 status=429"


@pytest.mark.parametrize("formatter", [JsonFormatter("w"), ConsoleFormatter("w")])
def test_a_field_that_is_not_listed_is_not_printed(formatter: logging.Formatter) -> None:
    assert "canary" not in formatter.format(record(secret="canary", authorization="canary"))


def test_tracebacks_are_kept_in_their_record() -> None:
    entry = json.loads(JsonFormatter("w").format(failure()))
    assert "LookupError: lost" in entry["traceback"]
    assert "LookupError: lost" in ConsoleFormatter("w").format(failure())


@pytest.mark.parametrize(
    ("case", "fields"),
    [
        ("in a message", {"message": "one\n00:00:00.000 error   control    forged"}),
        ("in a field", {"message": "one", "error": "one\r\n00:00:00.000 error   control    forged\x1b[2J"}),
    ],
)
def test_nobody_forges_a_line(case: str, fields: dict[str, str]) -> None:
    for formatter in (JsonFormatter("w"), ConsoleFormatter("w")):
        line = formatter.format(record(**fields))
        assert len(line.splitlines()) == 1, case
        assert "\x1b" not in line, case


def test_no_field_collides_with_what_a_record_has_already() -> None:
    taken = set(record().__dict__) | {"message", "asctime"}
    assert not taken & set(FIELDS)


@pytest.fixture
def _root_logger_restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_root_logger_restored")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_logs_go_to_standard_error_only(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs(log_format, "info", "worker-1")
    set_up_logs(log_format, "info", "worker-1")  # replaces, never doubles
    logging.getLogger("tollway.room").info("it happened", extra={"account": "acct_1"})
    logging.getLogger("tollway.room").debug("too small")
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert "it happened" in err
    assert "acct_1" in err
