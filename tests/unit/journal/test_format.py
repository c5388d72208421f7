from __future__ import annotations

from zlib import crc32

import pytest

from gateway.journal.format import (
    FORMAT_VERSION,
    HEADER_BYTES,
    SegmentHeader,
    SegmentRefused,
    decode_header,
    encode_header,
    frame_at,
    next_frame,
    seal,
)
from gateway.journal.records import encode_closed

HEADER = SegmentHeader(b"0123456789", 3, 1_700_000_000_000_000, "worker-1")
FRAME = seal(encode_closed(1))


def test_a_header_comes_back_as_written() -> None:
    raw = encode_header(HEADER)
    assert len(raw) == HEADER_BYTES
    assert decode_header(raw, "x.seg") == HEADER


def test_a_newer_format_is_refused_in_words_that_help() -> None:
    raw = bytearray(encode_header(HEADER))
    raw[8] = FORMAT_VERSION + 1
    raw[-4:] = crc32(raw[:-4]).to_bytes(4, "little")
    refused = rf"a/1\.seg is in journal format {FORMAT_VERSION + 1}, .* left untouched"
    with pytest.raises(SegmentRefused, match=refused):
        decode_header(bytes(raw), "a/1.seg")


@pytest.mark.parametrize("version", range(1, FORMAT_VERSION))
def test_what_older_formats_wrote_is_read(version: int) -> None:
    raw = bytearray(encode_header(HEADER))
    raw[8] = version
    raw[-4:] = crc32(raw[:-4]).to_bytes(4, "little")
    assert decode_header(bytes(raw), "x.seg") == HEADER


@pytest.mark.parametrize("at", range(HEADER_BYTES))
def test_a_damaged_header_is_none(at: int) -> None:
    raw = bytearray(encode_header(HEADER))
    raw[at] ^= 0x10
    assert decode_header(bytes(raw), "x.seg") is None


def test_a_cut_header_is_none() -> None:
    assert decode_header(encode_header(HEADER)[:20], "x.seg") is None


@pytest.mark.parametrize(
    ("case", "data", "expected"),
    [
        ("nothing there", b"", None),
        ("zeros", bytes(64), None),
        ("only behind damage", b"\xa5" * 20 + FRAME, 20),
        ("cut off", b"\xa5" * 20 + FRAME[:-1], None),
        ("the second of two", FRAME + FRAME, len(FRAME)),
    ],
)
def test_reading_starts_again_at_the_next_intact_frame(case: str, data: bytes, expected: int | None) -> None:
    assert next_frame(data, 0) == expected


def test_a_frame_has_a_type_and_an_end() -> None:
    assert frame_at(b"??" + FRAME, 2) == (4, 2 + len(FRAME))
