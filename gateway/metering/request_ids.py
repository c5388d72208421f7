"""Request ids: UUIDs that a worker counts up, unique over all workers and machines without asking anybody.

Version 8 of RFC 9562: 48 bits milliseconds of the worker's start, 26 random bits drawn then, 48 bits
sequence. The first ten bytes name the worker's journal, so an id leads to the journal it was written in.
"""

from __future__ import annotations

import secrets

SEQUENCE_BYTES = 6


class RequestIds:
    """The id space of one worker instance."""

    def __init__(self, prefix: bytes) -> None:
        self.prefix = prefix  # the first 10 of 16 bytes
        digits = prefix.hex()
        self.text_prefix = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:]}-".encode()

    @classmethod
    def make(cls, now_us: int) -> RequestIds:
        """A new space. Two made in the same millisecond are equal once in 67 million times."""
        random = secrets.randbits(26)
        return cls(
            (now_us // 1000).to_bytes(6, "big")
            + (0x8000 | random >> 14).to_bytes(2, "big")
            + (0x8000 | random & 0x3FFF).to_bytes(2, "big")
        )

    def text(self, sequence: int) -> bytes:
        """The usual form with hyphens, lower case."""
        return b"%b%012x" % (self.text_prefix, sequence)

    def binary(self, sequence: int) -> bytes:
        """The 16 bytes."""
        return self.prefix + sequence.to_bytes(SEQUENCE_BYTES, "big")
