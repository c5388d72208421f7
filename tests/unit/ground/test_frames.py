"""Messages are counted as the `websockets` library would receive them, however their bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side

from gateway.frames import (
    MESSAGE_TOO_BIG,
    POLICY_VIOLATION,
    BoundedFrames,
    Conversation,
    Frames,
    FramesRefused,
    MessageBounds,
    close_frame,
)

payloads = st.one_of(
    st.binary(max_size=20),
    st.integers(120, 130).map(bytes),
    st.integers(65530, 65540).map(bytes),
)
frames = st.builds(
    Frame,
    st.sampled_from((Opcode.TEXT, Opcode.BINARY, Opcode.CONT, Opcode.PING, Opcode.PONG)),
    payloads,
    st.booleans(),
    st.booleans(),  # rsv1: compressed
)


def in_order(drawn: list[Frame]) -> list[Frame]:
    """The same frames with what makes them a valid stream: controls short and whole, fragments in order."""
    valid, in_message = [], False
    for frame in drawn:
        if frame.opcode in (Opcode.PING, Opcode.PONG):
            valid.append(Frame(frame.opcode, bytes(frame.data[:125])))
            continue
        opcode = Opcode.CONT if in_message else Opcode.BINARY
        valid.append(Frame(opcode, frame.data, frame.fin, frame.rsv1 and not in_message))
        in_message = not frame.fin
    return valid


def on_the_wire(stream: list[Frame], *, masked: bool) -> bytes:
    return b"".join(
        bytes((frame.fin << 7 | frame.rsv1 << 6 | frame.opcode,)) + plain(frame).serialize(mask=masked)[1:]
        for frame in stream
    )


def plain(frame: Frame) -> Frame:
    return Frame(frame.opcode, frame.data, True)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[one:other] for one, other in itertools.pairwise(places)]


def reference(data: bytes, *, masked: bool) -> int:
    """Whole messages that the library finds before anything that it refuses."""
    peer = Protocol(Side.SERVER if masked else Side.CLIENT, max_size=None)
    messages = 0
    for at in range(0, len(data), 4096):
        peer.receive_data(data[at : at + 4096])
        for frame in peer.events_received():
            assert isinstance(frame, Frame)
            messages += frame.fin and frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)
    return messages


@given(st.lists(frames, max_size=12), st.booleans(), st.lists(st.integers(0, 10**6), max_size=20))
def test_messages_are_counted_whatever_the_segments(
    drawn: list[Frame], masked: bool, cuts: list[int]
) -> None:
    stream = in_order(drawn)
    data = on_the_wire(stream, masked=masked)
    count = Frames(masked=masked)
    for piece in pieces(data, cuts):
        count.feed(piece)
    assert not count.is_lost
    assert count.is_between
    assert count.messages == sum(
        frame.fin for frame in stream if frame.opcode not in (Opcode.PING, Opcode.PONG)
    )


@given(st.lists(frames, max_size=8), st.booleans(), st.lists(st.integers(0, 10**6), max_size=20))
def test_the_library_receives_as_many(drawn: list[Frame], masked: bool, cuts: list[int]) -> None:
    """Not always in a valid order, never compressed: the library was not asked to understand that."""
    stream = [Frame(frame.opcode, frame.data[:125], frame.fin) for frame in drawn]
    data = b"".join(
        bytes((frame.fin << 7 | frame.opcode,)) + plain(frame).serialize(mask=masked)[1:] for frame in stream
    )
    count = Frames(masked=masked)
    for piece in pieces(data, cuts):
        count.feed(piece)
    assert count.messages == reference(data, masked=masked)


@given(st.lists(frames, max_size=3), st.binary(max_size=40), st.booleans())
def test_nonsense_never_fails_and_counts_no_more_than_the_library(
    drawn: list[Frame], nonsense: bytes, masked: bool
) -> None:
    data = on_the_wire(in_order([Frame(f.opcode, f.data, f.fin) for f in drawn]), masked=masked) + nonsense
    whole, single = Frames(masked=masked), Frames(masked=masked)
    whole.feed(data)
    for byte in data:
        single.feed(bytes((byte,)))
    assert whole.messages == single.messages
    assert whole.is_lost == single.is_lost


@pytest.mark.parametrize(
    ("case", "data"),
    [
        ("another protocol", b"SSH-2.0-OpenSSH_9.6\r\n"),
        ("a reserved opcode", b"\x83\x00"),
        ("a reserved control opcode", b"\x8b\x00"),
        ("a server's frame with a mask", b"\x81\x80mask"),
        ("a ping in pieces", b"\x09\x00"),
        ("a ping that is too long", b"\x89\x7e\x00\x7e"),
        ("a fragment of nothing", b"\x80\x00"),
        ("a message within another", b"\x01\x00\x81\x00"),
        ("longer than there are numbers for", b"\x82\x7f\x80\0\0\0\0\0\0\0"),
        ("a close frame: nothing follows one", b"\x88\x00"),
    ],
)
def test_what_is_no_message_ends_the_counting(case: str, data: bytes) -> None:
    count = Frames(masked=False)
    count.feed(b"\x81\x02hi")
    count.feed(data)
    count.feed(b"\x81\x02hi")
    assert (count.messages, count.is_lost, count.is_between) == (1, True, False)


def test_a_message_counts_when_it_is_whole() -> None:
    count = Frames(masked=False)
    for data, messages, is_between in (
        (b"", 0, True),
        (b"\x01", 0, False),
        (b"\x03ab", 0, False),
        (b"c", 0, True),
        (b"\x89\x01!", 0, True),
        (b"\x80\x02d", 0, False),
        (b"e\x82\x00", 2, True),
    ):
        count.feed(data)
        assert (count.messages, count.is_between) == (messages, is_between)


def test_callers_mask_and_servers_do_not() -> None:
    conversation = Conversation()
    conversation.ingress.feed(Frame(Opcode.TEXT, b"hi").serialize(mask=True))
    conversation.egress.feed(Frame(Opcode.TEXT, b"hi").serialize(mask=False))
    assert (conversation.ingress.messages, conversation.egress.messages) == (1, 1)


def test_our_close_frame_is_understood() -> None:
    peer = Protocol(Side.CLIENT)
    peer.receive_data(close_frame(POLICY_VIOLATION, "unauthenticated"))
    assert peer.close_rcvd == Close(1008, "unauthenticated")


# -- bounded -----------------------------------------------------------------------------------------------


def bounded(stream: list[Frame], most: int, cuts: list[int]) -> tuple[bytes, int]:
    """What passes of a caller's frames, and the close code (0: none)."""
    count, passed = BoundedFrames(most, masked=True), b""
    for piece in pieces(on_the_wire(stream, masked=True), cuts):
        try:
            passed += count.feed(piece)
        except FramesRefused as refused:
            return passed + refused.passed, refused.code
    assert count.is_between
    return passed, 0


def head_bytes(frame: Frame) -> int:
    return 6 + (len(frame.data) > 125) * 2 + (len(frame.data) > 65535) * 6


@given(
    st.lists(frames, max_size=12),
    st.sampled_from((0, 10, 121, 131, 300, 65_535, 70_000, 10**6)),
    st.lists(st.integers(0, 10**6), max_size=20),
)
def test_what_passes_is_whole_frames_of_messages_within_the_bound(
    drawn: list[Frame], most: int, cuts: list[int]
) -> None:
    stream, size, fits = in_order(drawn), 0, 0
    for frame in stream:
        if frame.opcode is Opcode.CONT:
            size += head_bytes(frame) + len(frame.data)
        elif frame.opcode is Opcode.BINARY:
            size = len(frame.data)
        if frame.opcode not in (Opcode.PING, Opcode.PONG) and size > most:
            break
        fits += 1
    passed, code = bounded(stream, most, cuts)
    lengths = [len(frame.data) for frame in stream[:fits]]
    assert len(passed) == sum(map(head_bytes, stream[:fits])) + sum(lengths)
    assert code == (0 if fits == len(stream) else MESSAGE_TOO_BIG)


@given(st.lists(frames, max_size=6), st.lists(st.integers(0, 10**6), max_size=20))
def test_a_bound_that_is_not_reached_changes_nothing_but_where_heads_are_cut(
    drawn: list[Frame], cuts: list[int]
) -> None:
    data = on_the_wire(in_order(drawn), masked=False)
    free, count = Frames(masked=False), BoundedFrames(10**9, masked=False)
    passed = b""
    for piece in pieces(data, cuts):
        assert free.feed(piece) is piece
        passed += count.feed(piece)
        assert count.messages == free.messages
    assert passed == data


def test_a_message_of_empty_fragments_ends() -> None:
    count = BoundedFrames(1000, masked=False)
    assert count.feed(b"\x01\x00") == b"\x01\x00"
    for _ in range(500):
        count.feed(b"\x00\x00")
    with pytest.raises(FramesRefused) as refused:
        count.feed(b"\x00\x00")
    assert (refused.value.code, refused.value.reason) == (1009, "message_too_large")


def test_pings_within_a_message_count_for_nothing() -> None:
    count = BoundedFrames(10, masked=False)
    for data in (b"\x01\x04four", b"\x89\x05hello", b"\x00\x01x", b"\x8a\x05hello", b"\x80\x01y"):
        assert count.feed(data) == data
    assert count.messages == 1


@pytest.mark.parametrize(
    ("case", "data", "passed"),
    [
        ("another protocol", b"SSH-2.0", b""),
        ("a reserved opcode", b"\x83\x00", b""),
        ("a mask that should not be", b"\x81\x80mask", b""),
        ("a ping in pieces", b"\x09\x00", b""),
        ("a close frame in pieces", b"\x08\x00", b""),
        ("a close frame that is too long", b"\x88\x7e\x00\x7e", b""),
        ("a message behind a close frame", b"\x88\x02\x03\xe8\x81\x02hi", b"\x88\x02\x03\xe8"),
        ("a fragment of nothing", b"\x80\x00", b""),
    ],
)
def test_what_is_no_frame_is_not_taken_where_messages_are_bounded(
    case: str, data: bytes, passed: bytes
) -> None:
    count = BoundedFrames(10, masked=False)
    with pytest.raises(FramesRefused) as refused:
        count.feed(b"\x81\x02hi" + data)
    assert refused.value.passed == b"\x81\x02hi" + passed
    assert (refused.value.code, refused.value.reason) == (1002, "frames_invalid")
    assert not count.is_between


def test_nothing_can_be_put_in_behind_an_end() -> None:
    for count in (Frames(masked=False), BoundedFrames(10, masked=False)):
        assert count.is_between
        count.end()
        assert not count.is_between


def test_a_bound_is_for_its_direction() -> None:
    conversation = Conversation(MessageBounds(egress=10))
    assert type(conversation.ingress) is Frames
    assert type(conversation.egress) is BoundedFrames
    assert type(Conversation().egress) is Frames


def test_our_masked_close_frame_is_understood() -> None:
    peer = Protocol(Side.SERVER)
    peer.receive_data(close_frame(MESSAGE_TOO_BIG, "message_too_large", masked=True))
    assert peer.close_rcvd == Close(1009, "message_too_large")
