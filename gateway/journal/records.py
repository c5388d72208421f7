"""The payloads of frames: a call begins, goes on, ends, a refused call in one, the segment is closed.

What never changes between two calls of one key on one route (`Call`) is encoded once by the writer's side and
decoded once by the reader's; both keep it by its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple
from zlib import crc32

from gateway.journal.format import FRAME_BYTES, MARK, MAX_PAYLOAD_BYTES, cut, frame_at
from gateway.model.principal import Mode
from gateway.model.usage import Marks
from gateway.outcomes import Outcome

BEGIN, END, WHOLE, CLOSED = 1, 2, 3, 4
PROGRESS, END_OF_MESSAGES = 5, 6  # since format 2

_BEGIN = struct.Struct("<HBBQQ")
_END = struct.Struct("<HBBQBBHqqqq")
_WHOLE = struct.Struct("<HBBQQBBHqqqq")
_PROGRESS = struct.Struct("<HBBQQHqqqqqq")
_MESSAGES = struct.Struct("<qq")
_CLOSED = struct.Struct("<HBBq")
_CALL = struct.Struct("<qqBB")
_UNITS = struct.Struct("<q")
_PART = struct.Struct("<BH")  # further parts of a call, behind its charges: kind, size; then the content
MARKS_PART = 1
UPSTREAM_PART = 2
_BEGIN_FRAME = struct.Struct("<IHBBQQ")  # as above, with the checksum before it
_END_FRAME = struct.Struct("<IHBBQBBHqqqq")
_BODY = FRAME_BYTES - 4  # of a frame's head, what precedes the payload in a body

_BEGIN_BYTES, _END_BYTES = _BEGIN.size, _END.size
_BEGIN_FIXED = _BEGIN.size - _BODY
_END_FIXED = _END.size - _BODY
_WHOLE_FIXED = _WHOLE.size - _BODY
_PROGRESS_FIXED = _PROGRESS.size - _BODY
CLOSED_BYTES = FRAME_BYTES + _CLOSED.size - _BODY
_KIND_AT = 6  # in a frame
_PLAIN_END_LENGTH = _END_FIXED + 1  # no charges: a count of none
_PLAIN_END_BYTES = FRAME_BYTES + _PLAIN_END_LENGTH

BILLED, ITEMISED = 1, 2  # flags of an end; ITEMISED since format 3
_SUMS_ONLY = 1  # of a call: it gets no row of its own
_KEPT_SHIFT = 1  # above it, how many charges are kept
MAX_UNITS = (1 << 63) - 1
MAX_METERS = 128
MAX_MARKS = 32
"""Names of those that refused a call, and of shadows."""
MAX_ITEMS = 16
"""Units of so many charges fit what a begin reserves for its end."""
_MAX_STARTED_AT_US = 253_370_764_800_000_000  # year 9999: beyond it calendars give up
_MAX_SEQUENCE = (1 << 48) - 1  # six bytes of a request id

_MODES = (Mode.LIVE, Mode.TEST)
_OUTCOMES = {int(outcome): outcome for outcome in Outcome}
_NONE: Mapping[str, int] = {}


class Call(NamedTuple):
    """Who called what, and what the call pays if it is billed. Ids are 0 when nobody was recognised.

    `raw`: it gets a row of its own, beside its part of the sums. The first `kept_charges` of the charges are
    due even if the call never ends.
    """

    account_id: int
    key_id: int
    mode: Mode
    tier: str
    route: str
    method: str
    charges: Mapping[str, int]
    raw: bool = True
    marks: Marks | None = None
    upstream: str = ""  # where it was sent; empty: nowhere
    kept_charges: int = 0


class Begin(NamedTuple):
    """A call is about to go upstream."""

    sequence: int
    started_at_us: int
    call: Call


class End(NamedTuple):
    """A begun call is over. `billed`: its charges are due. `measured`: units that come on top of these.

    `units` is there instead of both when each charge is due by itself: units of each, in the begin's order.
    """

    sequence: int
    outcome: Outcome
    billed: bool
    status: int
    ingress_bytes: int
    egress_bytes: int
    duration_us: int
    first_byte_us: int
    measured: Mapping[str, int]
    ingress_messages: int = 0
    egress_messages: int = 0
    units: tuple[int, ...] | None = None


class CallProgress(NamedTuple):
    """A long call goes on. Repeats its begin, so that nothing older is needed to book it."""

    begin: Begin
    status: int
    ingress_bytes: int
    egress_bytes: int
    duration_us: int
    first_byte_us: int
    ingress_messages: int
    egress_messages: int


class Whole(NamedTuple):
    """A call that was over before it could begin."""

    begin: Begin
    end: End


class Closed(NamedTuple):
    """Nothing follows in this segment."""

    closed_at_us: int


Record = Begin | CallProgress | End | Whole | Closed
Figures = tuple[int, int, int, int, int, int, int]
"""Of an end: outcome, flags (`BILLED`, `ITEMISED`, 0), status, bytes in and out, duration, first byte."""
Reached = tuple[int, int, int, int, int, int, int]
"""Of a progress: status, ingress bytes, egress bytes, duration, first byte, ingress and egress messages."""


def encode_call(call: Call) -> bytes:
    """The part of a record that is the same for every such call. Names are cut at 255 bytes."""
    mode, flags = _MODES.index(call.mode), 0 if call.raw else _SUMS_ONLY
    names = b"".join(_text(name) for name in (call.tier, call.route, call.method))
    flags |= min(call.kept_charges, MAX_METERS - 1) << _KEPT_SHIFT
    encoded = _CALL.pack(call.account_id, call.key_id, mode, flags) + names + encode_charges(call.charges)
    if call.upstream:
        name = cut(call.upstream, 255)
        encoded += _PART.pack(UPSTREAM_PART, len(name)) + name
    return encoded if call.marks is None else encoded + encode_marks(call.marks)


def encode_charges(charges: Mapping[str, int]) -> bytes:
    """Meters and units: at most `MAX_METERS`, units cut to what a 64-bit integer holds."""
    parts = [bytes((min(len(charges), MAX_METERS),))]
    for meter, units in list(charges.items())[:MAX_METERS]:
        parts.append(_text(meter) + _UNITS.pack(max(-MAX_UNITS, min(units, MAX_UNITS))))
    return b"".join(parts)


def encode_units(units: Sequence[int]) -> bytes:
    """What an itemised end has in place of `measured`; at most `MAX_ITEMS` fit."""
    assert len(units) <= MAX_ITEMS, "policies with more charges are refused"
    return bytes((len(units),)) + b"".join([_UNITS.pack(min(one, MAX_UNITS)) for one in units])


NO_CHARGES = encode_charges({})


@lru_cache(maxsize=4096)
def encode_marks(marks: Marks) -> bytes:
    """The further part of a call that has marks; it comes behind the call."""
    pieces = [_text(marks.code)]
    for names in (marks.refused_by[:MAX_MARKS], marks.shadows[:MAX_MARKS]):
        pieces += [bytes((len(names),)), *map(_text, names)]
    content = b"".join(pieces)
    return _PART.pack(MARKS_PART, len(content)) + content


def encode_begin(sequence: int, started_at_us: int, call: bytes) -> bytes:
    """The body of a begin; `call` from `encode_call`."""
    return _BEGIN.pack(_BEGIN_FIXED + len(call), BEGIN, MARK, sequence, started_at_us) + call


def encode_end(sequence: int, figures: Figures, measured: bytes = NO_CHARGES) -> bytes:
    """The body of an end; `measured` from `encode_charges`."""
    return _END.pack(_END_FIXED + len(measured), END, MARK, sequence, *figures) + measured


def encode_end_of_messages(
    sequence: int, figures: Figures, messages: tuple[int, int], measured: bytes = NO_CHARGES
) -> bytes:
    """The body of an end of a call that carried messages: so many in, so many out."""
    size = _END_FIXED + _MESSAGES.size + len(measured)
    fixed = _END.pack(size, END_OF_MESSAGES, MARK, sequence, *figures)
    return fixed + _MESSAGES.pack(*messages) + measured


def encode_progress(sequence: int, started_at_us: int, call: bytes, reached: Reached) -> bytes:
    """The body of a progress; `call` as in its begin."""
    size = _PROGRESS_FIXED + len(call)
    return _PROGRESS.pack(size, PROGRESS, MARK, sequence, started_at_us, *reached) + call


def encode_whole(sequence: int, started_at_us: int, call: bytes, figures: Figures) -> bytes:
    """The body of a call in one record."""
    return _WHOLE.pack(_WHOLE_FIXED + len(call), WHOLE, MARK, sequence, started_at_us, *figures) + call


def encode_closed(closed_at_us: int) -> bytes:
    """The body of a segment's last record."""
    return _CLOSED.pack(_CLOSED.size - _BODY, CLOSED, MARK, closed_at_us)


_new_begin = partial(tuple.__new__, Begin)  # what `Begin(...)` does, for half of its price
_new_end = partial(tuple.__new__, End)


class Decoder:
    """Frames to records. Remembers decoded calls, at most `MAX_CALLS`: equal ones are the same object."""

    MAX_CALLS = 20_000

    def __init__(self) -> None:
        self._calls: dict[bytes, Call] = {}

    def record_at(self, data: bytes, at: int) -> tuple[Record, int] | None:
        """The record at `at` and where it ends; None if no intact frame is there. ValueError as `decode`.

        Begins of calls seen before and ends without charges of their own are nearly all there is. They are
        recognised here, in one look at all of their figures; whatever else there is goes the long way.
        """
        most = len(data) - at
        if most >= _BEGIN_FRAME.size and data[at + _KIND_AT] == BEGIN:
            crc, length, _, mark, sequence, started_at_us = _BEGIN_FRAME.unpack_from(data, at)
            end = at + FRAME_BYTES + length
            call = self._calls.get(data[at + _BEGIN_FRAME.size : end])
            has_sense = started_at_us < _MAX_STARTED_AT_US and sequence <= _MAX_SEQUENCE
            if call is not None and has_sense and mark == MARK and crc32(data[at + 4 : end]) == crc:
                return _new_begin((sequence, started_at_us, call)), end
        elif most >= _PLAIN_END_BYTES and data[at + _KIND_AT] == END:
            crc, length, _, mark, sequence, outcome, flags, *figures = _END_FRAME.unpack_from(data, at)
            end = at + _PLAIN_END_BYTES
            is_plain = length == _PLAIN_END_LENGTH and flags <= BILLED and not data[end - 1]
            if is_plain and outcome in _OUTCOMES and mark == MARK and crc32(data[at + 4 : end]) == crc:
                rest = (*figures, _NONE, 0, 0, None)
                return _new_end((sequence, _OUTCOMES[outcome], flags == BILLED, *rest)), end
        frame = frame_at(data, at)
        return None if frame is None else (self.decode(frame[0], data, at, frame[1]), frame[1])

    def decode(self, kind: int, data: bytes, at: int, end: int) -> Record:
        """The record in the intact frame `data[at:end]`. ValueError if it makes no sense all the same."""
        body = at + 4
        try:
            if kind == BEGIN:
                _, _, _, sequence, started_at_us = _BEGIN.unpack_from(data, body)
                return self._begin(sequence, started_at_us, data[body + _BEGIN_BYTES : end])
            if kind == END:
                _, _, _, sequence, *figures = _END.unpack_from(data, body)
                return _end(sequence, figures, data[body + _END_BYTES : end])
            if kind == WHOLE:
                _, _, _, sequence, started_at_us, *figures = _WHOLE.unpack_from(data, body)
                begin = self._begin(sequence, started_at_us, data[body + _WHOLE.size : end])
                return Whole(begin, _end(sequence, figures, NO_CHARGES))
            if kind == PROGRESS:
                _, _, _, sequence, started_at_us, *reached = _PROGRESS.unpack_from(data, body)
                begin = self._begin(sequence, started_at_us, data[body + _PROGRESS.size : end])
                return CallProgress(begin, *reached)
            if kind == END_OF_MESSAGES:
                _, _, _, sequence, *figures = _END.unpack_from(data, body)
                messages = _MESSAGES.unpack_from(data, body + _END.size)
                return _end(sequence, figures, data[body + _END.size + _MESSAGES.size : end], messages)
            if kind == CLOSED:
                return Closed(_CLOSED.unpack_from(data, body)[3])
        except (struct.error, IndexError, KeyError) as error:
            raise ValueError(f"a record of type {kind} is inconsistent: {error!r}") from error
        raise ValueError(f"no record has the type {kind}")

    def _begin(self, sequence: int, started_at_us: int, raw: bytes) -> Begin:
        if started_at_us >= _MAX_STARTED_AT_US or sequence > _MAX_SEQUENCE:
            raise ValueError(f"call {sequence} started at {started_at_us} microseconds")
        call = self._calls.get(raw)
        if call is None:
            if len(self._calls) >= self.MAX_CALLS:
                self._calls.clear()
            call = self._calls[raw] = _call(raw)
        return Begin(sequence, started_at_us, call)


def _end(sequence: int, figures: list[int], raw: bytes, messages: tuple[int, ...] = (0, 0)) -> End:
    outcome, flags, status, ingress, egress, duration, first_byte = figures
    return End(
        sequence,
        _OUTCOMES[outcome],
        bool(flags & BILLED),
        status,
        ingress,
        egress,
        duration,
        first_byte,
        _NONE if flags & ITEMISED or raw == NO_CHARGES else _charges(raw, 0),
        messages[0],
        messages[1],
        _units(raw) if flags & ITEMISED else None,
    )


def _call(raw: bytes) -> Call:
    account_id, key_id, mode, flags = _CALL.unpack_from(raw)
    at = _CALL.size
    names = []
    for _ in range(3):
        name, at = _read_text(raw, at)
        names.append(name)
    (charges, at), has_row = _read_charges(raw, at), not flags & _SUMS_ONLY
    parts = _further_parts(raw, at)
    marks = _marks(parts[MARKS_PART]) if MARKS_PART in parts else None
    upstream = parts.get(UPSTREAM_PART, b"").decode()
    tier, route, method = names
    kept = flags >> _KEPT_SHIFT
    return Call(
        account_id, key_id, _MODES[mode], tier, route, method, charges, has_row, marks, upstream, kept
    )


def _further_parts(raw: bytes, at: int) -> dict[int, bytes]:
    """What stands behind the charges, which end at `at`, by kind. Kinds that nobody knows are for others."""
    parts: dict[int, bytes] = {}
    while at < len(raw):
        kind, size = _PART.unpack_from(raw, at)
        at += _PART.size
        parts[kind] = raw[at : at + size]
        at += size
    return parts


def _marks(content: bytes) -> Marks:
    code, at = _read_text(content, 0)
    refused_by, at = _names(content, at)
    shadows, _ = _names(content, at)
    return Marks(code, refused_by, shadows)


def _names(raw: bytes, at: int) -> tuple[tuple[str, ...], int]:
    count, at = raw[at], at + 1
    names = []
    for _ in range(count):
        name, at = _read_text(raw, at)
        names.append(name)
    return tuple(names), at


def _charges(raw: bytes, at: int) -> Mapping[str, int]:
    return _read_charges(raw, at)[0]


def _read_charges(raw: bytes, at: int) -> tuple[Mapping[str, int], int]:
    count = raw[at]
    at += 1
    if count == 0:
        return _NONE, at
    charges: dict[str, int] = {}
    for _ in range(count):
        meter, at = _read_text(raw, at)
        (charges[meter],) = _UNITS.unpack_from(raw, at)
        at += _UNITS.size
    return charges, at


def _units(raw: bytes) -> tuple[int, ...]:
    return tuple([_UNITS.unpack_from(raw, 1 + at * _UNITS.size)[0] for at in range(raw[0])])


def _text(text: str) -> bytes:
    raw = cut(text, 255)
    return bytes((len(raw),)) + raw


def _read_text(raw: bytes, at: int) -> tuple[str, int]:
    end = at + 1 + raw[at]
    if end > len(raw):
        raise IndexError("a name is longer than its record")
    name = raw[at + 1 : end]
    if 0 in name:
        raise ValueError("a name has a zero byte, which no database takes")
    return name.decode(), end


_LONGEST = max(_WHOLE_FIXED, _PROGRESS_FIXED) + _CALL.size + 3 * 256 + 1 + MAX_METERS * (256 + _UNITS.size)
_LONGEST += 2 * _PART.size + 2 * 256 + 2 * (1 + MAX_MARKS * 256)
LONGEST_END = FRAME_BYTES + _END_FIXED + _MESSAGES.size + 1 + MAX_ITEMS * _UNITS.size
assert _LONGEST <= MAX_PAYLOAD_BYTES, "every record fits its length field"
