"""Counts the messages of a WebSocket (RFC 6455) from the bytes that pass, without holding or changing any.

Only what counting needs is read of a frame: opcode, FIN, mask bit and length. Payloads, compressed ones
(RFC 7692) included, are skipped by their length.
"""

from __future__ import annotations

_CONTINUATION, _TEXT, _BINARY = 0, 1, 2
_CLOSE, _PING, _PONG = 8, 9, 10
_MOST_IN_CONTROL = 125

_HEAD_BYTES = tuple(2 + (second >> 7) * 4 + {126: 2, 127: 8}.get(second & 0x7F, 0) for second in range(256))
"""How long a frame's head is, by its second byte: mask bit and length."""

POLICY_VIOLATION = 1008
"""RFC 6455, section 7.4.1: the close code of a peer that may no longer do what it does."""


class Frames:
    """One direction of a WebSocket: how many whole messages have passed.

    Bytes that can not be frames, and whatever follows a close frame, end the counting and nothing else.
    """

    __slots__ = ("_head", "_in_message", "_is_last", "_masked", "_skip", "is_lost", "messages")

    def __init__(self, *, masked: bool) -> None:
        self.messages = 0
        self.is_lost = False  # what comes is not counted any more
        self._masked = 0x80 if masked else 0  # frames of callers are masked, those of servers are not
        self._head = b""  # the beginning of a frame's head that came in pieces
        self._skip = 0  # bytes of payload to come
        self._in_message = False  # fragments have passed, the last one has not
        self._is_last = False  # the payload to come ends a message

    @property
    def is_between(self) -> bool:
        """Whether a frame has just ended, so that another may be put in here."""
        return not (self.is_lost or self._skip or self._head)

    def feed(self, data: bytes) -> None:
        """Take note of bytes that pass, cut anywhere."""
        if self.is_lost:
            return
        skip = self._skip
        if skip > len(data):
            self._skip = skip - len(data)
            return
        if skip:
            self._skip = 0
            self.messages += self._is_last
        if self._head:
            data, skip = self._head + data[skip:], 0
            self._head = b""
        self._count(data, skip)

    def _count(self, data: bytes, at: int) -> None:
        """Go from frame to frame; `at` is where one begins."""
        end = len(data)
        while at < end:
            size = _HEAD_BYTES[data[at + 1]] if at + 1 < end else 2
            if at + size > end:
                self._head = data[at:]
                return
            length = data[at + 1] & 0x7F
            if length > _MOST_IN_CONTROL:
                length = int.from_bytes(data[at + 2 : at + (4 if length == 126 else 10)], "big")
            if not self._accept(data[at], data[at + 1], length):
                self.is_lost = True
                return
            at += size + length
            if at > end:
                self._skip = at - end
                return
            self.messages += self._is_last

    def _accept(self, first: int, second: int, length: int) -> bool:
        """Whether such a frame may come now. Notes whether it ends a message."""
        opcode, is_final = first & 0x0F, first >= 0x80
        self._is_last = False
        if second & 0x80 != self._masked or length >> 63:
            return False
        if opcode in (_PING, _PONG):
            return is_final and length <= _MOST_IN_CONTROL
        if opcode not in (_TEXT, _BINARY, _CONTINUATION) or (opcode == _CONTINUATION) is not self._in_message:
            return False  # a close frame as well: it is the last one
        self._in_message = not is_final
        self._is_last = is_final
        return True


class Conversation:
    """Both directions of a WebSocket."""

    __slots__ = ("egress", "ingress")

    def __init__(self) -> None:
        self.ingress = Frames(masked=True)
        self.egress = Frames(masked=False)


def close_frame(code: int, reason: str) -> bytes:
    """A server's close frame; `reason` is ASCII and at most 123 characters."""
    payload = code.to_bytes(2, "big") + reason.encode("ascii")
    assert len(payload) <= _MOST_IN_CONTROL
    return bytes((0x80 | _CLOSE, len(payload))) + payload
