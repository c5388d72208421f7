"""Usage events as rows of PostgreSQL's binary COPY.

Written out here rather than by the client library's codecs, which look at each field of each row: most of a
row is the same for all calls of a key on a route that end alike, and is made once for a batch.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from gateway.journal.records import Call
from gateway.ledger.events import EPOCH, LABELS, UsageEvent, mode_text
from gateway.outcomes import Outcome

EVENT_COLUMNS = (
    "started_at",
    "request_id",
    "ingress_bytes",
    "egress_bytes",
    "ingress_messages",
    "egress_messages",
    "duration_us",
    "first_byte_us",
    "status",
    # The rest follows from the call and its outcome
    "account_id",
    "key_id",
    "mode",
    "outcome",
    "tier",
    "route",
    "upstream",
    "method",
    "code",
    "refused_by",
    "shadows",
    # and this from what it pays.
    "charges",
)
PIECE_ROWS = 500
"""Some hundred kilobytes, which is what a connection takes at once."""

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_FIGURES = struct.Struct("!hiqi10s6siqiqiqiqiqiqii")
_BIGINT = struct.Struct("!iq")
_SIZE = struct.Struct("!i")
_ARRAY = struct.Struct("!iiiii")
_NULL = _SIZE.pack(-1)
_TEXT_OID = 25
_JSONB_VERSION = b"\x01"
_SECOND_US = 1_000_000
_POSTGRES_EPOCH_US = int((datetime(2000, 1, 1, tzinfo=UTC) - EPOCH).total_seconds()) * _SECOND_US


def copy_of(events: Sequence[UsageEvent]) -> Iterator[bytes]:
    """What COPY takes for these events, in pieces; columns are `EVENT_COLUMNS`."""
    yield _HEADER
    calls: dict[tuple[int, Outcome], bytes] = {}  # by identity: all of them live as long as the events
    pays: dict[int, bytes] = {}
    for at in range(0, len(events), PIECE_ROWS):
        yield b"".join(_rows(events[at : at + PIECE_ROWS], calls, pays))
    yield _TRAILER


def _rows(
    events: Sequence[UsageEvent], calls: dict[tuple[int, Outcome], bytes], pays: dict[int, bytes]
) -> list[bytes]:
    pieces: list[bytes] = []
    add, columns, pack = pieces.append, len(EVENT_COLUMNS), _FIGURES.pack
    for prefix, begin, end, charges in events:
        sequence, started_at_us, call = begin
        _, outcome, _, status, ingress, egress, duration_us, first_byte_us, _, ingress_n, egress_n, _ = end
        of_call = calls.get((id(call), outcome))
        if of_call is None:
            of_call = calls[id(call), outcome] = _of_call(call, outcome)
        paid = pays.get(id(charges))
        if paid is None:
            paid = pays[id(charges)] = _json(tuple(charges.items()))
        add(pack(
            columns, 8, started_at_us - _POSTGRES_EPOCH_US, 16, prefix, sequence.to_bytes(6, "big"),
            8, ingress, 8, egress, 8, ingress_n, 8, egress_n, 8, duration_us, 8, first_byte_us, 4, status,
        ))  # fmt: skip
        add(of_call)
        add(paid)
    return pieces


def _of_call(call: Call, outcome: Outcome) -> bytes:
    """The fields that all such calls have in common."""
    texts = (mode_text(call.mode), LABELS[outcome], call.tier, call.route, call.upstream, call.method)
    marks = call.marks
    return b"".join((
        _id(call.account_id),
        _id(call.key_id),
        *map(_text, texts),
        _NULL if marks is None or not marks.code else _text(marks.code),
        _NULL if marks is None else _names(marks.refused_by),
        _NULL if marks is None else _names(marks.shadows),
    ))  # fmt: skip


def _id(number: int) -> bytes:
    return _BIGINT.pack(8, number) if number else _NULL


def _text(text: str) -> bytes:
    raw = text.encode()
    return _SIZE.pack(len(raw)) + raw


def _names(names: Sequence[str]) -> bytes:
    """An array of texts, of one dimension that begins with 1; NULL for none."""
    if not names:
        return _NULL
    content = _ARRAY.pack(1, 0, _TEXT_OID, len(names), 1) + b"".join(map(_text, names))
    return _SIZE.pack(len(content)) + content


@lru_cache(maxsize=4096)
def _json(charges: tuple[tuple[str, int], ...]) -> bytes:
    raw = _JSONB_VERSION + json.dumps(dict(charges)).encode()
    return _SIZE.pack(len(raw)) + raw
