"""Structured logs on stderr: one JSON object or one console line per record.

Fields are passed as `extra={...}`; only the names in `FIELDS` are printed, so that nothing leaks by accident.
Never pass request bytes, keys or tokens.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

FIELDS = {
    "account": "public id of an account",
    "attempt": "which try this was",
    "child": "name of a process that is looked after: worker-1, recorder, control",
    "code": "stable error code",
    "count": "how many",
    "delay_s": "seconds until the next try",
    "digest": "SHA-256 of a policy folder",
    "error": "what a library said, without secrets",
    "file": "path of a file",
    "generation": "number of a policy snapshot",
    "journal": "id of a journal",
    "key": "public id of a key",
    "left_out": "how many records of this kind were not written since the last one",
    "line": "line in a file",
    "listen": "address a port is bound to",
    "peer": "address that a connection came from",
    "pid": "process id",
    "request_id": "id of a request",
    "route": "name of a route",
    "status": "HTTP status or exit status",
    "switches": "what operators switched, and why",
    "target": "where an upstream listens",
    "task": "name of a background task",
    "tier": "name of a tier",
    "upstream": "name of an upstream",
}


ALIKE = ("code", "route", "target", "task", "upstream")
"""Fields that make a record another kind than one with the same message."""
KINDS_MAX = 1000
BURST = 5
WINDOW_S = 10.0


class Bounded(logging.Filter):
    """Lets `BURST` records of one kind pass every `WINDOW_S`; the next that passes tells how many did not.

    A store or an upstream that is down fails every call the same way: the first lines say all there is to
    say, the metrics count. `debug` is not bounded: who asks for it wants everything.
    """

    def __init__(self) -> None:
        super().__init__()
        self._kinds: dict[tuple[object, ...], _Kind] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno <= logging.DEBUG:
            return True
        said = record.getMessage()
        key = (record.name, record.levelno, said, *(record.__dict__.get(name) for name in ALIKE))
        kind = self._kinds.get(key)
        if kind is None:
            if len(self._kinds) >= KINDS_MAX:
                self._kinds.clear()
            kind = self._kinds[key] = _Kind(record.created)
        return kind.passes(record)


class _Kind:
    """Records that say the same."""

    __slots__ = ("left_out", "passed", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.passed = 0
        self.left_out = 0

    def passes(self, record: logging.LogRecord) -> bool:
        if abs(record.created - self.since) >= WINDOW_S:  # either way: clocks are set back, too
            self.since, self.passed = record.created, 0
        if self.passed >= BURST:
            self.left_out += 1
            return False
        self.passed += 1
        if self.left_out:
            record.left_out = self.left_out
            self.left_out = 0
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a line: at, level, logger, message, fields, error."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "process": self._process,
            "message": record.getMessage(),
        }
        entry |= _fields(record)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class ConsoleFormatter(logging.Formatter):
    """For people: time, level, process, message, fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f" {name}={value}" for name, value in _fields(record).items())
        said = _one_line(f"{record.getMessage()}{fields}")
        line = f"{at} {record.levelname.lower():7} {self._process:10} {said}"
        if record.exc_info:
            line = f"{line}\n{self.formatException(record.exc_info)}"
        return line


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {name: record.__dict__[name] for name in FIELDS if name in record.__dict__}


def _one_line(text: str) -> str:
    """Nothing that ends a line or moves the cursor: nobody forges a line through a name or an error."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def set_up_logs(log_format: str, level: str, process: str) -> None:
    """Send this process's logs to stderr as `json` or `console`. Replaces an earlier set-up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(Bounded())
    handler.setFormatter(JsonFormatter(process) if log_format == "json" else ConsoleFormatter(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
