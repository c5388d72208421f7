"""Answers that arrive whole in one piece, as most do.

Nearly all lines of an answer have been seen before, so they are looked up instead of parsed. Whatever is in
any way unusual is left to the parser, which makes of every answer that is read here exactly the same.
"""

from __future__ import annotations

import re

from gateway.model.fieldline import FIELD_LINE
from gateway.upstream.fields import travels

MOST_LINES = 4096
LONGEST_LINE = 256
LONGEST_HEAD = 16384
"""Bounds what an upstream can make us remember: about two megabytes."""

Whole = tuple[int, bytes, list[bytes], bytes]
"""Status, reason, the lines that go on to the caller, and the body with its `Content-Length`."""

_STATUS_LINE = re.compile(rb"HTTP/1\.1 ([2-5][0-9]{2}) ([A-Za-z '-]*)")
_LEFT_TO_THE_PARSER = frozenset((b"transfer-encoding", b"upgrade", b"trailer", b"proxy-connection"))
_DROPPED = b""

_statuses: dict[bytes, tuple[int, bytes]] = {}
_lines: dict[bytes, bytes | int] = {}  # as it goes on to the caller, or the length it tells


def read_whole(data: bytes) -> Whole | None:
    """The answer in `data`, if it is whole, ends there, and is of the most ordinary kind; else None."""
    end = data.find(b"\r\n\r\n")
    if not 0 < end <= LONGEST_HEAD:
        return None
    head = data[:end].split(b"\r\n")
    first = head.pop(0)
    status = _statuses.get(first) or _learn_status(first)
    if status is None:
        return None
    length = -1
    lines: list[bytes] = []
    known = _lines
    for line in head:
        kept = known.get(line)
        if kept is None:
            kept = _learn_line(line)
        if isinstance(kept, bytes):
            lines.append(kept)
        elif kept is None or length >= 0:
            return None
        else:
            length = kept
    body = data[end + 4 :]
    if len(body) != length:
        return None
    return status[0], status[1], lines, body


def _learn_status(line: bytes) -> tuple[int, bytes] | None:
    match = _STATUS_LINE.fullmatch(line)
    if match is None or match[1] in (b"204", b"304"):
        return None
    if len(_statuses) >= MOST_LINES:
        _statuses.clear()
    known = _statuses[line] = int(match[1]), match[2]
    return known


def _learn_line(line: bytes) -> bytes | int | None:
    """What becomes of a header line; None for one that only the parser may judge. Secrets are not kept."""
    match = FIELD_LINE.fullmatch(line)
    if match is None:
        return None
    kept = _judge(match[1], match[2])
    if kept is not None and len(line) <= LONGEST_LINE and match[1].lower() != b"set-cookie":
        if len(_lines) >= MOST_LINES:
            _lines.clear()
        _lines[line] = kept
    return kept


def _judge(name: bytes, value: bytes) -> bytes | int | None:
    if travels(name):
        return b"%b: %b\r\n" % (name, value)
    lower = name.lower()
    if lower == b"content-length":
        return int(value) if value.isdigit() and len(value) < 16 else None
    if lower in _LEFT_TO_THE_PARSER or (lower == b"connection" and value.lower() != b"keep-alive"):
        return None
    return _DROPPED
