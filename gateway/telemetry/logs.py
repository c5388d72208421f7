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
    "line": "line in a file",
    "listen": "address a port is bound to",
    "pid": "process id",
    "request_id": "id of a request",
    "route": "name of a route",
    "status": "HTTP status or exit status",
    "task": "name of a background task",
    "tier": "name of a tier",
    "upstream": "name of an upstream",
}


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
    handler.setFormatter(JsonFormatter(process) if log_format == "json" else ConsoleFormatter(process))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
