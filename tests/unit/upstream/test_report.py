"""What is read of an answer, however it is cut into pieces."""

from __future__ import annotations

import gzip
import json
import zlib
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.billing import USUAL, Billing, Found, Reading, Rule, Value
from gateway.upstream.report import AnswerReport

HEADER = Value(header=b"x-tokens")
JSON = Value(json=(("usage", "total"),), within=1000)
EVENTS = Value(events=(("usage", "total"), ("message", "usage", "total")), within=1000)
BOTH = Value(json=(("usage", "total"),), events=(("usage", "total"),), within=1000)

OPENAI = b"""data: {"choices":[{"delta":{"content":"\\"total\\": 7"}}],"usage":null}

data: {"choices":[],"usage":{"prompt":9,"total":21}}

data: [DONE]

"""
ANTHROPIC = b"""event: message_start
data: {"type":"message_start","message":{"usage":{"total":1}}}

: a comment

event: message_delta
data: {"type":"message_delta",
data: "usage":{"total":12}}

event: message_stop
data: {"type":"message_stop"}

"""


def report(*values: Value) -> AnswerReport:
    return AnswerReport(Billing({f"m{at}": Rule(USUAL, value) for at, value in enumerate(values)}))


def lines(*fields: tuple[bytes, bytes]) -> list[bytes]:
    return [piece for name, value in fields for piece in (name, b": ", value, b"\r\n")]


def read(
    value: Value,
    body: bytes,
    *,
    kind: bytes = b"application/json",
    coding: bytes = b"",
    piece: int = 1 << 20,
) -> Reading:
    one = report(value)
    one.head(lines((b"Content-Type", kind), (b"content-encoding", coding)))
    for at in range(0, len(body), piece):
        one.body(body[at : at + piece])
    return one.reading(value)


@pytest.mark.parametrize(
    ("case", "values", "found", "number"),
    [
        ("a number", [b"21"], Found.READ, Fraction(21)),
        ("a decimal", [b" 0.25 "], Found.READ, Fraction(1, 4)),
        ("an exponent", [b"1e3"], Found.READ, Fraction(1000)),
        ("missing", [], Found.MISSING, Fraction(0)),
        ("empty", [b""], Found.INVALID, Fraction(0)),
        ("negative", [b"-1"], Found.INVALID, Fraction(0)),
        ("a sign", [b"+1"], Found.INVALID, Fraction(0)),
        ("not finite", [b"NaN"], Found.INVALID, Fraction(0)),
        ("infinite", [b"inf"], Found.INVALID, Fraction(0)),
        ("a list", [b"1, 2"], Found.INVALID, Fraction(0)),
        ("two numbers", [b"1", b"1"], Found.SEVERAL, Fraction(0)),
        ("endless", [b"9" * 60_000], Found.INVALID, Fraction(0)),
        ("a bomb", [b"1e999999999"], Found.INVALID, Fraction(0)),
        ("other digits", ["٣".encode()], Found.INVALID, Fraction(0)),
        ("bytes", [b"\xff\x00"], Found.INVALID, Fraction(0)),
    ],
)
def test_a_header_says_it(case: str, values: list[bytes], found: Found, number: Fraction) -> None:
    one = report(HEADER)
    kept = one.head(lines((b"A", b"b"), *((b"X-Tokens", value) for value in values), (b"C", b"d")))
    assert kept == lines((b"A", b"b"), (b"C", b"d")), "callers do not see it"
    assert one.reading(HEADER)[:2] == (found, number), case


def test_an_interim_answer_is_stripped_and_says_nothing() -> None:
    one = report(HEADER)
    assert one.strip(lines((b"x-tokens", b"5"), (b"Link", b"</a>"))) == lines((b"Link", b"</a>"))
    assert one.reading(HEADER).found is Found.MISSING


def test_a_trailer_says_it_when_no_header_does() -> None:
    value = Value(header=b"x-tokens", trailer=b"x-later")
    one = report(value)
    one.head([])
    one.trailer(b"X-Later", b"8")
    one.trailer(b"X-Other", b"9")
    assert one.reading(value).value == 8
    one.head(lines((b"X-Tokens", b"7")))
    assert one.reading(value).value == 7


@pytest.mark.parametrize(
    ("case", "body", "found", "number"),
    [
        ("a number", b'{"usage":{"total":21}}', Found.READ, 21),
        ("a text", b'{"usage":{"total":"21"}}', Found.READ, 21),
        ("null", b'{"usage":{"total":null}}', Found.MISSING, 0),
        ("nothing", b'{"usage":{}}', Found.MISSING, 0),
        ("no object", b'{"usage":[1]}', Found.MISSING, 0),
        ("a list", b"[1,2]", Found.MISSING, 0),
        ("true", b'{"usage":{"total":true}}', Found.INVALID, 0),
        ("an object", b'{"usage":{"total":{}}}', Found.INVALID, 0),
        ("negative", b'{"usage":{"total":-3}}', Found.INVALID, 0),
        ("NaN", b'{"usage":{"total":NaN}}', Found.INVALID, 0),
        ("a million digits", b'{"usage":{"total":%b}}' % (b"9" * 900), Found.INVALID, 0),
        ("half of it", b'{"usage":{"tot', Found.INVALID, 0),
        ("deep", b"[" * 999, Found.INVALID, 0),
        ("not UTF-8", b'{"usage":{"total":1,"x":"\xff"}}', Found.INVALID, 0),
        ("nothing at all", b"", Found.MISSING, 0),
        ("too much", b'{"usage":{"total":21},"x":"%b"}' % (b"x" * 1000), Found.TOO_LARGE, 0),
    ],
)
@pytest.mark.parametrize("piece", [1, 7, 1 << 20])
def test_a_field_of_a_document_says_it(case: str, body: bytes, found: Found, number: int, piece: int) -> None:
    assert read(JSON, body, piece=piece)[:2] == (found, Fraction(number)), case


def test_a_number_in_a_path_counts_items() -> None:
    value = Value(json=(("items", "1", "cost"),), within=1000)
    assert read(value, b'{"items":[{"cost":1},{"cost":2}]}').value == 2
    assert read(value, b'{"items":[{"cost":1}]}').found is Found.MISSING


def test_the_first_path_that_leads_to_something_counts() -> None:
    value = Value(json=(("a",), ("b",)), within=1000)
    assert read(value, b'{"b":2}').value == 2
    assert read(value, b'{"a":1,"b":2}').value == 1


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (b"application/json; charset=utf-8", Found.READ),
        (b"Application/Problem+JSON", Found.READ),
        (b"text/plain", Found.MISSING),
        (b"", Found.MISSING),
    ],
)
def test_only_json_is_read_as_json(kind: bytes, found: Found) -> None:
    assert read(JSON, b'{"usage":{"total":21}}', kind=kind).found is found


@pytest.mark.parametrize("piece", [1, 3, 64, 1 << 20])
@pytest.mark.parametrize(("body", "number"), [(OPENAI, 21), (ANTHROPIC, 12)])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_the_last_event_says_it(body: bytes, number: int, line_end: bytes, piece: int) -> None:
    stream = body.replace(b"\n", line_end)
    found = read(EVENTS, stream, kind=b"text/event-stream; charset=utf-8", piece=piece)
    assert found == Reading(Found.READ, Fraction(number), is_final=False)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
def test_it_does_not_matter_where_a_stream_is_cut(cuts: list[int]) -> None:
    one = report(EVENTS)
    one.head(lines((b"content-type", b"text/event-stream")))
    rest = ANTHROPIC.replace(b"\n", b"\r\n")
    for cut in cuts:
        one.body(rest[:cut])
        rest = rest[cut:]
    one.body(rest)
    assert one.reading(EVENTS).value == 12


def test_a_stream_that_breaks_off_says_what_came() -> None:
    assert read(EVENTS, ANTHROPIC[:100], kind=b"text/event-stream").value == 1


def test_the_last_event_needs_no_blank_line() -> None:
    body = b'data: {"usage":{"total":5}}'
    assert read(EVENTS, body, kind=b"text/event-stream").value == 5


@pytest.mark.parametrize("end", [b"", b"\n"])
def test_lines_of_json_are_events(end: bytes) -> None:
    body = b'{"message":{"content":"a"}}\n{"done":true,"usage":{"total":8}}' + end
    assert read(EVENTS, body, kind=b"application/x-ndjson", piece=5).value == 8


def test_an_event_that_is_no_json_is_passed_over() -> None:
    body = b'data: "total" \n\ndata: {"usage":{"total":3}}\n\ndata: {"usage":{"total":\n\n'
    assert read(EVENTS, body, kind=b"text/event-stream").value == 3


def test_a_large_event_is_passed_over_and_the_next_is_read() -> None:
    large = b'data: {"usage":{"total":1},"x":"%b"}\n\n' % (b"x" * 5000)
    small = b'data: {"usage":{"total":2}}\n\n'
    for piece in (1, 100, 1 << 20):
        assert read(EVENTS, large + small, kind=b"text/event-stream", piece=piece).value == 2
        assert read(EVENTS, large, kind=b"text/event-stream", piece=piece).found is Found.TOO_LARGE


def test_what_is_kept_of_a_stream_without_end_is_bounded() -> None:
    one = report(EVENTS)
    one.head(lines((b"content-type", b"text/event-stream")))
    for _ in range(1000):
        one.body(b"x" * 1000)
    assert one._stream is not None
    assert len(one._stream._rest) <= 1000


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "deflate"])
@pytest.mark.parametrize("piece", [1, 9, 1 << 20])
def test_compressed_answers_are_read(coding: str, piece: int) -> None:
    pack = zlib.compress if coding == "deflate" else gzip.compress
    body = pack(json.dumps({"usage": {"total": 4}}).encode())
    assert read(JSON, body, coding=coding.encode(), piece=piece).value == 4
    events = pack(ANTHROPIC)
    assert read(EVENTS, events, kind=b"text/event-stream", coding=coding.encode(), piece=piece).value == 12


@pytest.mark.parametrize(
    ("case", "coding", "body", "found"),
    [
        ("another coding", b"br", b"abc", Found.UNDECODABLE),
        ("two codings", b"gzip, br", b"abc", Found.UNDECODABLE),
        ("not what it says", b"gzip", b'{"usage":{"total":4}}', Found.UNDECODABLE),
        ("a bomb", b"gzip", gzip.compress(b" " * 1_000_000, mtime=0), Found.TOO_LARGE),
        ("half of it", b"gzip", gzip.compress(b'{"usage":{"total":4}}', mtime=0)[:15], Found.INVALID),
    ],
)
def test_what_can_not_be_decoded_says_nothing(case: str, coding: bytes, body: bytes, found: Found) -> None:
    found_in_events = Found.MISSING if case == "half of it" else found
    assert read(BOTH, body, coding=coding).found is found or not body, case
    assert read(BOTH, body, kind=b"text/event-stream", coding=coding).found is found_in_events, case


def test_json_or_events_whichever_comes() -> None:
    assert read(BOTH, b'{"usage":{"total":6}}').value == 6
    assert read(BOTH, OPENAI, kind=b"text/event-stream").value == 21


def test_each_meter_reads_its_own_field() -> None:
    into = Value(events=(("usage", "in"), ("message", "usage", "in")), within=1000)
    out = Value(events=(("usage", "out"),), within=1000)
    one = report(into, out)
    one.head(lines((b"content-type", b"text/event-stream")))
    one.body(b'data: {"message":{"usage":{"in":25,"out":1}}}\n\ndata: {"usage":{"out":15}}\n\n')
    assert [one.reading(value).value for value in (into, out)] == [Fraction(25), Fraction(15)]


@given(st.lists(st.binary(max_size=60), max_size=20), st.sampled_from([b"", b"gzip"]))
def test_nothing_an_upstream_sends_is_too_much_for_it(pieces: list[bytes], coding: bytes) -> None:
    for kind in (b"application/json", b"text/event-stream", b"application/x-ndjson"):
        one = report(HEADER, JSON, EVENTS)
        one.head(lines((b"content-type", kind), (b"content-encoding", coding)))
        for piece in pieces:
            one.body(piece)
        for value in (HEADER, JSON, EVENTS):
            one.reading(value)
