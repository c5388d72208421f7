"""What an answer says about the units of its call: read beside the relay, and without changing it.

Only calls of routes that bill by it have one. What is kept of an answer is bounded.
"""

from __future__ import annotations

import re
import zlib

from gateway.model.billing import NOTHING_READ, Billing, Found, JsonPath, Reading, Value
from gateway.upstream.numbers import NO_DOCUMENT, at_first, number, parse_json

_EVENT_STREAM = b"text/event-stream"
_LINES = frozenset((b"application/x-ndjson", b"application/ndjson", b"application/jsonl"))
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_BLANK_LINE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_FIELDS_MAX = 8
"""Values of one header that are kept: more than one is wrong already."""


class AnswerReport:
    """Reads one answer. Implements `Report`."""

    def __init__(self, billing: Billing) -> None:
        values = [rule.value for rule in billing.rules.values() if rule.value is not None]
        self._headers = billing.headers
        self._trailers = frozenset(value.trailer for value in values if value.trailer)
        self._json = [value for value in values if value.json]
        self._events = [value for value in values if value.events]
        self._said: dict[bytes, list[bytes]] = {}
        self._said_behind: dict[bytes, list[bytes]] = {}
        self._document: _Document | None = None
        self._stream: _Events | None = None
        self._decoder: zlib._Decompress | None = None
        self._amiss: Found | None = None  # why the body says nothing

    def head(self, lines: list[bytes]) -> list[bytes]:
        """Read the header lines, four pieces each. The lines without those that are only meant for us."""
        content = {b"content-type": b"", b"content-encoding": b""}
        kept: list[bytes] = []
        for at in range(0, len(lines), 4):
            name = lines[at].lower()
            if name in self._headers:
                _note(self._said, name, lines[at + 2])
                continue
            kept += lines[at : at + 4]
            if name in content:
                content[name] = lines[at + 2].strip().lower()
        self._expect(content[b"content-type"].partition(b";")[0].rstrip(), content[b"content-encoding"])
        return kept

    def strip(self, lines: list[bytes]) -> list[bytes]:
        """The lines of an interim answer without those that are only meant for us."""
        starts = range(0, len(lines), 4)
        return [
            piece for at in starts if lines[at].lower() not in self._headers for piece in lines[at : at + 4]
        ]

    def _expect(self, kind: bytes, coding: bytes) -> None:
        if self._json and (kind == b"application/json" or kind.endswith(b"+json")):
            self._document = _Document(max(value.within for value in self._json))
        elif self._events and (kind == _EVENT_STREAM or kind in _LINES):
            self._stream = _Events(self._events, by_line=kind in _LINES)
        else:
            return
        if coding in (b"gzip", b"x-gzip", b"deflate"):
            self._decoder = zlib.decompressobj(_GZIP_OR_ZLIB)
        elif coding not in (b"", b"identity"):
            self._amiss = Found.UNDECODABLE
            self._document = self._stream = None

    def body(self, data: bytes) -> None:
        """Read a piece of the body."""
        sink = self._document or self._stream
        if sink is None:
            return
        if self._decoder is not None:
            try:
                data = self._decoder.decompress(data, sink.within + 1)
            except zlib.error:
                self._give_up(Found.UNDECODABLE)
                return
            if self._decoder.unconsumed_tail:  # a small piece that becomes a large one
                self._give_up(Found.TOO_LARGE)
                return
        if data and not sink.feed(data):
            self._give_up(Found.TOO_LARGE)

    def _give_up(self, why: Found) -> None:
        self._amiss = why
        self._document = self._decoder = None
        if self._stream is not None:
            self._stream.is_over = True

    def trailer(self, name: bytes, value: bytes) -> None:
        """Read a trailer field."""
        name = name.lower()
        if name in self._trailers:
            _note(self._said_behind, name, value)

    def reading(self, value: Value) -> Reading:
        """The value as far as the answer has come: of the first source that says something."""
        for said in (self._said.get(value.header), self._said_behind.get(value.trailer)):
            if said is not None:
                return number(said[0].decode("latin-1")) if len(said) == 1 else Reading(Found.SEVERAL)
        if value.json and self._document is not None:
            return self._document.reading(value.json)
        if value.events and self._stream is not None:
            latest = self._stream.latest_with_rest(value.events)
            if latest is not None:
                return latest._replace(is_final=False)
            if self._stream.has_skipped:
                return Reading(Found.TOO_LARGE)
        return NOTHING_READ if self._amiss is None else Reading(self._amiss)


def _note(said: dict[bytes, list[bytes]], name: bytes, value: bytes) -> None:
    values = said.setdefault(name, [])
    if len(values) < _FIELDS_MAX:
        values.append(value)


class _Document:
    """A JSON answer, kept as long as it is within bounds."""

    def __init__(self, within: int) -> None:
        self.within = within
        self._parts: list[bytes] = []
        self._size = 0
        self._parsed: object = None

    def feed(self, data: bytes) -> bool:
        self._size += len(data)
        self._parts.append(data)
        return self._size <= self.within

    def reading(self, paths: tuple[JsonPath, ...]) -> Reading:
        if self._parts:
            self._parsed = parse_json(b"".join(self._parts))
            self._parts.clear()
        if self._parsed is NO_DOCUMENT:
            return Reading(Found.INVALID, is_final=False)
        return at_first(self._parsed, paths)


class _Events:
    """Events of a stream (text/event-stream of the HTML standard, or a JSON document per line)."""

    def __init__(self, values: list[Value], *, by_line: bool) -> None:
        self.within = max(value.within for value in values)
        self._latest: dict[tuple[JsonPath, ...], Reading] = {}
        self.has_skipped = False
        self.is_over = False
        self._by_line = by_line
        self._end = _LINE_END if by_line else _BLANK_LINE
        self._wanted = [(value.events, _names(value.events)) for value in values]
        self._rest = b""
        self._seen = 0  # of the rest: no event ends before
        self._skips = False  # an event that is too large, until its end

    def feed(self, data: bytes) -> bool:
        if self.is_over:
            return True
        rest = self._rest + data if self._rest else data
        at = 0
        for end in self._end.finditer(rest, max(0, self._seen - 3)):
            if self._skips:
                self._skips = False
            elif end.start() > at:
                self._read(rest[at : end.start()])
            at = end.end()
        rest = rest[at:]
        if self._skips:
            rest = rest[-3:]
        elif len(rest) > self.within:
            self._skips = self.has_skipped = True
            rest = rest[-3:]
        self._rest, self._seen = rest, len(rest)
        return True

    def latest_with_rest(self, paths: tuple[JsonPath, ...]) -> Reading | None:
        """The last number there was. Some streams end without the blank line behind the last event."""
        if self._rest and not self._skips:
            self._read(self._rest)
            self._rest, self._seen = b"", 0
        return self._latest.get(paths)

    def _read(self, event: bytes) -> None:
        wanted = [paths for paths, names in self._wanted if any(name in event for name in names)]
        if not wanted or len(event) > self.within:
            self.has_skipped = self.has_skipped or bool(wanted)
            return
        document = parse_json(event if self._by_line else _data_of(event))
        for paths in wanted if document is not NO_DOCUMENT else ():
            reading = at_first(document, paths)
            if reading.found is not Found.MISSING:
                self._latest[paths] = reading


def _names(paths: tuple[JsonPath, ...]) -> tuple[bytes, ...]:
    """What an event that has one of these fields must hold: most have none, and are not parsed."""
    lasts = [[name for name in path if not name.isdecimal()] or path for path in paths]
    return tuple(b'"%b"' % names[-1].encode() for names in lasts)


def _data_of(event: bytes) -> bytes:
    """The data of an event: its lines that begin so, joined."""
    lines = [line for line in _LINE_END.split(event) if line.startswith(b"data:")]
    return b"\n".join([line[5:].removeprefix(b" ") for line in lines])
