"""Counts the messages of a WebSocket (RFC 6455) as their bytes pass, without changing any, and bounds them.

Only what counting needs is read of a frame: opcode, FIN, mask bit and length. Payloads, compressed ones
(RFC 7692) included, are skipped by their length.
"""

from __future__ import annotations

from dataclasses import dataclass

_CONTINUATION, _TEXT, _BINARY = 0, 1, 2
_CLOSE, _PING, _PONG = 8, 9, 10
_MOST_IN_CONTROL = 125

_HEAD_BYTES = tuple(2 + (second >> 7) * 4 + {126: 2, 127: 8}.get(second & 0x7F, 0) for second in range(256))
"""How long a frame's head is, by its second byte: mask bit and length."""

GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
POLICY_VIOLATION = 1008  # for a peer that may no longer do what it does
MESSAGE_TOO_BIG = 1009
BAD_GATEWAY = 1014  # like 502
"""Close codes: RFC 6455, section 7.4.1, and the registry of IANA."""


@dataclass(frozen=True, slots=True)
class MessageBounds:
    """The largest message each way, in bytes; None: whatever comes."""

    ingress: int | None = None
    egress: int | None = None


class FramesRefused(Exception):
    """A direction goes on no further. `passed`: whole frames from before that, which may go on."""

    def __init__(self, passed: bytes, code: int) -> None:
        self.passed = passed
        self.code = code  # of the close frame for who sent it
        self.reason = "message_too_large" if code == MESSAGE_TOO_BIG else "frames_invalid"
        super().__init__(self.reason)


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

    def end(self) -> None:
        """Nothing more will come, or can be put in."""
        self.is_lost = True

    def feed(self, data: bytes) -> bytes:
        """Take note of bytes, cut anywhere. What may pass of them: here, all."""
        if self.is_lost:
            return data
        skip = self._skip
        if skip > len(data):
            self._skip = skip - len(data)
            return data
        if skip:
            self._skip = 0
            self.messages += self._is_last
        head = self._head
        if head:
            self._head = b""
            self._count(head + data, 0)
        else:
            self._count(data, skip)
        return data

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
                self._lose(data[:at])
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

    def _lose(self, _passed: bytes) -> None:
        """What comes behind `_passed` is no frame that may come."""
        self.is_lost = True


class BoundedFrames(Frames):
    """One direction whose messages may have at most so many bytes. Holds back a frame's head at most.

    Counted is what passes of a message, compressed or not: the payload of its frames, and the heads of all
    but the first, so that a message of empty fragments ends, too. Unlike mere counting it takes no nonsense,
    or the rest would be unbounded.
    """

    __slots__ = ("_fault", "_has_closed", "_most", "_size")

    def __init__(self, most: int, *, masked: bool) -> None:
        super().__init__(masked=masked)
        self._most = most
        self._size = 0  # of the message that is passing
        self._has_closed = False  # a close frame has come: nothing may follow
        self._fault = PROTOCOL_ERROR

    @property
    def is_between(self) -> bool:
        return not (self._skip or self.is_lost or self._has_closed)  # the beginning of a head has not passed

    def feed(self, data: bytes) -> bytes:
        """What may pass now of these bytes and those held back. Raises FramesRefused."""
        held = self._head
        super().feed(data)
        if held:
            data = held + data
        return data[: -len(self._head)] if self._head else data

    def _accept(self, first: int, second: int, length: int) -> bool:
        self._fault = PROTOCOL_ERROR
        opcode = first & 0x0F
        if self._has_closed:
            return False
        if opcode == _CLOSE:
            self._has_closed = True
            return super()._accept(first & 0xF0 | _PING, second, length)  # alike in form
        if not super()._accept(first, second, length):
            return False
        if opcode in (_PING, _PONG):
            return True
        self._size = length if opcode != _CONTINUATION else self._size + _HEAD_BYTES[second] + length
        self._fault = MESSAGE_TOO_BIG
        return self._size <= self._most

    def _lose(self, passed: bytes) -> None:
        self.is_lost = True
        raise FramesRefused(passed, self._fault)


class Conversation:
    """Both directions of a WebSocket."""

    __slots__ = ("egress", "ingress")

    def __init__(self, bounds: MessageBounds | None = None) -> None:
        bounds = bounds or MessageBounds()
        self.ingress = _direction(bounds.ingress, masked=True)
        self.egress = _direction(bounds.egress, masked=False)


def _direction(most: int | None, *, masked: bool) -> Frames:
    return Frames(masked=masked) if most is None else BoundedFrames(most, masked=masked)


def close_frame(code: int, reason: str, *, masked: bool = False) -> bytes:
    """A close frame, `masked` as callers send it; `reason` is ASCII and at most 123 characters."""
    payload = code.to_bytes(2, "big") + reason.encode("ascii")
    assert len(payload) <= _MOST_IN_CONTROL
    if masked:
        return bytes((0x80 | _CLOSE, 0x80 | len(payload), 0, 0, 0, 0)) + payload  # a key that changes nothing
    return bytes((0x80 | _CLOSE, len(payload))) + payload
