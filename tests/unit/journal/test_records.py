from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.journal.format import frame_at, seal
from gateway.journal.records import (
    ITEMISED,
    MAX_ITEMS,
    MAX_MARKS,
    Begin,
    Call,
    CallProgress,
    Closed,
    Decoder,
    End,
    Record,
    Whole,
    encode_begin,
    encode_call,
    encode_charges,
    encode_closed,
    encode_end,
    encode_end_of_messages,
    encode_progress,
    encode_units,
    encode_whole,
)
from gateway.model.principal import Mode
from gateway.model.usage import Marks
from gateway.outcomes import Outcome

CALL = Call(7, 9, Mode.LIVE, "team", "builds", "GET", {"api_calls": 1})
names = st.text(max_size=40).filter(lambda text: len(text.encode("utf-8", "replace")) <= 255)
names = names.filter(lambda text: text.isprintable())
units = st.integers(0, 2**63 - 1)
charges = st.dictionaries(names, units, max_size=5)
several = st.lists(names, max_size=5).map(tuple)
marks = st.none() | st.builds(Marks, names, several, several)
kept = st.integers(0, 32)
modes = st.sampled_from(Mode)
calls = st.builds(Call, units, units, modes, names, names, names, charges, st.booleans(), marks, names, kept)
sequence_numbers = st.integers(0, 2**48 - 1)
instants = st.integers(0, 253_370_764_799_999_999)
statuses = st.integers(0, 65535)


def decoded(body: bytes) -> Record:
    frame = seal(body)
    found = frame_at(frame, 0)
    assert found is not None
    kind, end = found
    assert end == len(frame)
    return Decoder().decode(kind, frame, 0, end)


def test_a_call_from_before_upstreams_were_named() -> None:
    call = Call(1, 2, Mode.LIVE, "t", "r", "GET", {"api_calls": 1}, upstream="next")
    with_it, without = encode_call(call), encode_call(call._replace(upstream=""))
    assert with_it == without + b"\x02\x04\x00next", "a part that older readers leave out"
    begin = decoded(encode_begin(1, 1, without))
    assert isinstance(begin, Begin)
    assert begin.call.upstream == ""


@given(sequence_numbers, instants, calls)
def test_a_begin_comes_back_as_written(sequence: int, at_us: int, call: Call) -> None:
    assert decoded(encode_begin(sequence, at_us, encode_call(call))) == Begin(sequence, at_us, call)


@given(
    sequence_numbers,
    st.sampled_from(Outcome),
    st.booleans(),
    statuses,
    st.tuples(units, units, units, units),
    charges,
)
def test_an_end_comes_back_as_written(
    sequence: int,
    outcome: Outcome,
    billed: bool,
    status: int,
    figures: tuple[int, int, int, int],
    measured: dict[str, int],
) -> None:
    body = encode_end(sequence, (outcome, billed, status, *figures), encode_charges(measured))
    assert decoded(body) == End(sequence, outcome, billed, status, *figures, measured)


@given(sequence_numbers, st.lists(units, max_size=MAX_ITEMS), st.booleans())
def test_an_itemised_end_comes_back_as_written(sequence: int, items: list[int], talks: bool) -> None:
    figures = (Outcome.SERVED, ITEMISED, 200, 1, 2, 3, 4)
    raw = encode_units(items)
    body = (
        encode_end_of_messages(sequence, figures, (5, 6), raw)
        if talks
        else encode_end(sequence, figures, raw)
    )
    messages = (5, 6) if talks else (0, 0)
    wanted = End(sequence, Outcome.SERVED, False, 200, 1, 2, 3, 4, {}, *messages, tuple(items))
    assert decoded(body) == wanted


@given(sequence_numbers, st.tuples(units, units, units, units), st.tuples(units, units), charges)
def test_an_end_with_messages_comes_back_as_written(
    sequence: int,
    figures: tuple[int, int, int, int],
    messages: tuple[int, int],
    measured: dict[str, int],
) -> None:
    body = encode_end_of_messages(
        sequence, (Outcome.SERVED, 1, 101, *figures), messages, encode_charges(measured)
    )
    assert decoded(body) == End(sequence, Outcome.SERVED, True, 101, *figures, measured, *messages)


@given(
    sequence_numbers,
    instants,
    calls,
    st.tuples(statuses, units, units, units, units, units, units),
)
def test_a_progress_comes_back_as_written(
    sequence: int, at_us: int, call: Call, reached: tuple[int, int, int, int, int, int, int]
) -> None:
    body = encode_progress(sequence, at_us, encode_call(call), reached)
    assert decoded(body) == CallProgress(Begin(sequence, at_us, call), *reached)


@given(
    sequence_numbers,
    instants,
    calls,
    st.sampled_from(Outcome),
    statuses,
    st.tuples(units, units, units, units),
)
def test_a_call_in_one_record_comes_back_as_written(
    sequence: int, at_us: int, call: Call, outcome: Outcome, status: int, figures: tuple[int, int, int, int]
) -> None:
    body = encode_whole(sequence, at_us, encode_call(call), (outcome, 0, status, *figures))
    end = End(sequence, outcome, False, status, *figures, {})
    assert decoded(body) == Whole(Begin(sequence, at_us, call), end)


def test_further_parts_of_a_call_that_nobody_knows_are_left_out() -> None:
    call = Call(
        1, 2, Mode.LIVE, "free", "all", "GET", {"api_calls": 1}, marks=Marks("rate_limited", ("burst",))
    )
    of_a_newer_release = b"\x7f\x03\x00abc"
    plain = encode_call(call._replace(marks=None))
    body = encode_begin(1, 5, plain + of_a_newer_release + encode_call(call)[len(plain) :])
    assert decoded(body) == Begin(1, 5, call)
    assert decoded(encode_begin(1, 5, plain + of_a_newer_release)) == Begin(1, 5, call._replace(marks=None))


def test_marks_are_bounded() -> None:
    call = Call(1, 2, Mode.LIVE, "t", "r", "GET", {}, marks=Marks("c", ("n",) * 100, ("é" * 300,) * 100))
    kept = decoded(encode_begin(1, 5, encode_call(call)))
    assert isinstance(kept, Begin)
    assert kept.call.marks == Marks("c", ("n",) * MAX_MARKS, ("é" * 127,) * MAX_MARKS)


def test_the_last_record_comes_back_as_written() -> None:
    assert decoded(encode_closed(5)) == Closed(5)


def test_long_names_are_cut_and_never_within_a_character() -> None:
    call = Call(1, 2, Mode.TEST, "é" * 200, "r", "GET", {})
    begin = decoded(encode_begin(1, 1, encode_call(call)))
    assert isinstance(begin, Begin)
    assert begin.call.tier == "é" * 127


def test_units_beyond_64_bits_are_held_at_the_largest() -> None:
    call = Call(1, 2, Mode.LIVE, "t", "r", "GET", {"bytes": 2**70})
    begin = decoded(encode_begin(1, 1, encode_call(call)))
    assert isinstance(begin, Begin)
    assert begin.call.charges == {"bytes": 2**63 - 1}


@given(calls, st.data())
def test_any_flipped_bit_is_noticed(call: Call, data: st.DataObject) -> None:
    frame = bytearray(seal(encode_begin(1, 2, encode_call(call))))
    bit = data.draw(st.integers(0, len(frame) * 8 - 1))
    frame[bit // 8] ^= 1 << bit % 8
    assert frame_at(bytes(frame), 0) is None


@pytest.mark.parametrize(
    ("case", "body"),
    [
        ("a type nobody knows", b"\x00\x00\x63\xa5"),
        ("a begin that is too short", b"\x02\x00\x01\xa5ab"),
        ("an outcome nobody knows", encode_end(1, (99, 0, 200, 0, 0, 0, 0))),
        (
            "a start in the year 9999 or later",
            encode_begin(1, 2**60, encode_call(Call(1, 1, Mode.LIVE, "", "", "", {}))),
        ),
        ("a number that fits no request id", encode_begin(1 << 48, 1, encode_call(CALL))),
        (
            "a name that no database takes",
            encode_begin(1, 1, encode_call(Call(1, 1, Mode.LIVE, "a\0b", "", "", {}))),
        ),
        ("a name that is longer than its record", encode_begin(1, 1, bytes(18) + b"\xff")),
        ("a progress that is too short", b"\x02\x00\x05\xa5ab"),
        ("an end without its messages", b"\x31\x00\x06\xa5" + bytes(8) + b"\x01" + bytes(40)),
        ("a mode nobody knows", encode_begin(1, 1, bytes(16) + b"\x07\0\0\0\0\0")),
    ],
)
def test_intact_frames_without_sense_are_refused(case: str, body: bytes) -> None:
    with pytest.raises(ValueError):
        decoded(body)


LARGEST = (1 << 64) - 1
KINDS = {
    "begin": encode_begin(1, 2, encode_call(CALL)),
    "begin of another": encode_begin(1, 2, encode_call(CALL._replace(route="other"))),
    "begin without sense": encode_begin(1, LARGEST, encode_call(CALL)),
    "begin beyond all ids": encode_begin(LARGEST, 2, encode_call(CALL)),
    "end": encode_end(1, (Outcome.SERVED, 1, 200, 1, 2, 3, 4)),
    "free end": encode_end(1, (Outcome.TIMEOUT, 0, 504, 1, 2, 3, 4)),
    "measured end": encode_end(1, (Outcome.SERVED, 1, 200, 1, 2, 3, 4), encode_charges({"tokens": 5})),
    "itemised end": encode_end(1, (Outcome.SERVED, 2, 200, 1, 2, 3, 4), encode_units([5])),
    "end without sense": encode_end(1, (99, 1, 200, 1, 2, 3, 4)),
    "end of messages": encode_end_of_messages(1, (Outcome.SERVED, 1, 101, 1, 2, 3, 4), (5, 6)),
    "whole": encode_whole(1, 2, encode_call(CALL), (Outcome.RATE_LIMITED, 0, 429, 1, 2, 3, 4)),
}


def told(read: Callable[[], object]) -> object:
    try:
        return read()
    except ValueError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seen_before", [True, False])
def test_what_is_recognised_is_what_is_read_the_long_way(kind: str, seen_before: bool) -> None:
    frame, decoder = seal(KINDS[kind]), Decoder()
    if seen_before:
        assert decoder.record_at(seal(KINDS["begin"]), 0)
    at, data = 3, b"abc" + frame + bytes(30)
    end = at + len(frame)
    expected = told(lambda: (Decoder().decode(frame[6], data, at, end), end))
    assert told(lambda: decoder.record_at(data, at)) == expected
    for cut in range(end):
        assert decoder.record_at(data[:cut], at) is None, f"cut at {cut}"
    for bit in range(8 * len(frame)):
        flipped = bytearray(data)
        flipped[at + bit // 8] ^= 1 << bit % 8
        assert decoder.record_at(bytes(flipped), at) is None, f"bit {bit}"


def test_the_memory_for_decoded_calls_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "MAX_CALLS", 3)
    decoder = Decoder()
    for number in range(10):
        call = Call(number, 0, Mode.LIVE, "", "", "GET", {})
        frame = seal(encode_begin(number, 1, encode_call(call)))
        begin = decoder.decode(1, frame, 0, len(frame))
        assert isinstance(begin, Begin)
        assert begin.call == call
