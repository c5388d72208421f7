"""Bytes of a segment file: a header, then frames. The README of this room has the picture.

A frame is `crc u32 · length u16 · type u8 · mark u8 · payload`, little endian; the checksum covers everything
behind it. Unwritten space is zero, so eight zero bytes where a frame should be are the end of the data.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from zlib import crc32

from gateway.errors import TollwayError

FORMAT_VERSION = 3
"""1: no progress and no messages. 2: no itemised ends. Newer releases read what older ones wrote, never the
other way round.
"""

PREFIX_BYTES = 10
"""A journal is named by the first ten bytes that all its request ids share."""

MAGIC = b"\x89TWJ\r\n\x1a\n"  # like PNG's: a text-mode copy or a cut-off eighth bit shows at once
MARK = 0xA5
"""In every frame, so that reading can start again behind a damaged one."""

FRAME = struct.Struct("<IHBB")
FRAME_BYTES = FRAME.size
_CRC = struct.Struct("<I").pack
MAX_PAYLOAD_BYTES = 0xFFFF

_HEADER = struct.Struct("<8sHH10sIQ30s")
HEADER_BYTES = _HEADER.size + 4
FIRST_OFFSET = HEADER_BYTES


class SegmentRefused(TollwayError):
    """A segment is from a newer gateway or another journal. It is left as it is."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """Which part of which journal a file is, and who wrote it."""

    prefix: bytes
    number: int
    created_at_us: int
    writer: str


def encode_header(header: SegmentHeader) -> bytes:
    """The first `HEADER_BYTES` of a segment."""
    body = _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        HEADER_BYTES,
        header.prefix,
        header.number,
        header.created_at_us,
        cut(header.writer, 30),
    )
    return body + crc32(body).to_bytes(4, "little")


def decode_header(raw: bytes, file: str) -> SegmentHeader | None:
    """What the header says; None if it is damaged (frames carry their own checksums). SegmentRefused."""
    if len(raw) < HEADER_BYTES or not raw.startswith(MAGIC):
        return None
    version = int.from_bytes(raw[8:10], "little")
    size = int.from_bytes(raw[10:12], "little")
    if size < 16 or crc32(raw[: size - 4]) != int.from_bytes(raw[size - 4 : size], "little"):
        return None
    if version > FORMAT_VERSION:
        raise SegmentRefused(
            f"{file} is in journal format {version}, this gateway reads up to {FORMAT_VERSION}. "
            "Run the recorder of the newer version to book it; the file is left untouched."
        )
    _, _, _, prefix, number, created_at_us, writer = _HEADER.unpack_from(raw)
    return SegmentHeader(prefix, number, created_at_us, writer.rstrip(b"\0").decode("utf-8", "replace"))


def seal(body: bytes) -> bytes:
    """A complete frame. `body` is `length · type · mark · payload`."""
    return _CRC(crc32(body)) + body


def frame_at(data: bytes, at: int) -> tuple[int, int] | None:
    """Type and end of the intact frame at `at`, or None if there is none."""
    if at + FRAME_BYTES > len(data):
        return None
    crc, length, kind, mark = FRAME.unpack_from(data, at)
    end = at + FRAME_BYTES + length
    if mark != MARK or end > len(data) or crc32(data[at + 4 : end]) != crc:
        return None
    return kind, end


def next_frame(data: bytes, after: int) -> int | None:
    """Where the first intact frame behind `after` begins."""
    at = data.find(MARK, after + FRAME_BYTES)
    while at >= 0:
        if frame_at(data, at - FRAME_BYTES + 1) is not None:
            return at - FRAME_BYTES + 1
        at = data.find(MARK, at + 1)
    return None


def cut(text: str, limit_bytes: int) -> bytes:
    """UTF-8 of `text`, at most so many bytes, never half a character."""
    raw = text.encode("utf-8", "replace")
    return raw if len(raw) <= limit_bytes else raw[:limit_bytes].decode("utf-8", "ignore").encode()
