"""Requests of RTSP, some of which the parser takes for ours.

It reads GET, POST and OPTIONS in that protocol, too, and does not say in which it did. So the request line is
looked at once more where a head begins what is parsed. Where one begins behind another message, only the
parser knows, since a body may end anywhere: there whatever reads like a request of RTSP with its method and
target is taken for it.
"""

from __future__ import annotations

import re

_BEGINS_RTSP = re.compile(rb"[\r\n]*[^ \r\n]+ +[^ \r\n]+ +RTSP/")
_OF_RTSP = re.compile(rb"(?=(GET|POST|OPTIONS) +([^ \r\n]+) +RTSP/)")

RequestLine = tuple[bytes, bytes]
"""A method and the target behind it."""


def begins_rtsp(begun: bytes, method: bytes, target: bytes) -> bool:
    """Whether a head that begins like this, in which the parser found these two, is one of RTSP."""
    return not begun.startswith(b"%b %b HTTP/" % (method, target)) and _BEGINS_RTSP.match(begun) is not None


def first_line(begun: bytes) -> bytes:
    """What there is of the request line of a head."""
    line, end, _ = begun.lstrip(b"\r\n").partition(b"\n")
    return line + end


def requests_of_rtsp(data: bytes) -> frozenset[RequestLine]:
    """All that could begin one; each may as well be part of a body."""
    return frozenset(_OF_RTSP.findall(data)) if b" RTSP/" in data else frozenset()


def what_may_be_one(data: bytes) -> bytes:
    """The same again, and the last line, which may become one."""
    found = b"".join(b"%b %b RTSP/\n" % line for line in requests_of_rtsp(data))
    return found + data[data.rfind(b"\n") + 1 :]


def with_its_end(kept: bytes, data: bytes) -> bytes:
    """The last line with what there is more of it. A head does not begin with any line behind that."""
    if kept.endswith(b"\n"):
        return kept
    line, end, _ = data.partition(b"\n")
    return kept + line + end
