"""Log lines: known fields only, one line each, for machines or for people."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest

from gateway.telemetry.logs import (
    BURST,
    FIELDS,
    KINDS_MAX,
    WINDOW_S,
    Bounded,
    ConsoleFormatter,
    JsonFormatter,
    set_up_logs,
)


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


def refused(at_s: float, level: int = logging.WARNING, **fields: object) -> logging.LogRecord:
    made = record("refused", **{"code": "upstream_unreachable", **fields})
    made.created, made.levelno = at_s, level
    return made


def test_an_outage_under_load_is_a_few_lines_and_a_count() -> None:
    bounded = Bounded()
    passed = [bounded.filter(refused(1000 + number / 1000)) for number in range(5000)]
    assert passed == [True] * BURST + [False] * (5000 - BURST)
    later = refused(1000 + WINDOW_S)
    assert bounded.filter(later)
    assert later.__dict__["left_out"] == 5000 - BURST
    assert "left_out=4995" in ConsoleFormatter("w").format(later)
    after = refused(1000 + WINDOW_S)
    assert bounded.filter(after)
    assert "left_out" not in after.__dict__


@pytest.mark.parametrize(
    ("case", "other"),
    [
        ("another code", refused(1000, code="upstream_timeout")),
        ("another route", refused(1000, route="exports")),
        ("another level", refused(1000, logging.ERROR)),
        ("another message", record("policy problem: a.yaml:1: x")),
        ("asked for in detail", refused(1000, logging.DEBUG)),
        ("the clock was set back", refused(500)),
    ],
)
def test_what_is_new_is_not_held_back(case: str, other: logging.LogRecord) -> None:
    bounded = Bounded()
    for _ in range(BURST + 1):
        bounded.filter(refused(1000))
    assert bounded.filter(other)


def test_what_is_remembered_is_bounded() -> None:
    bounded = Bounded()
    for number in range(3 * KINDS_MAX):
        assert bounded.filter(record(f"message {number}"))
    assert len(bounded._kinds) <= KINDS_MAX


@pytest.mark.usefixtures("_root_logger_restored")
def test_every_process_bounds_its_log(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logs("json", "info", "w")
    for _ in range(100):
        logging.getLogger("tollway.room").warning("the same")
    assert capsys.readouterr().err.count("the same") == BURST
