"""Which request lines are of HTTP, and which could be of RTSP."""

from __future__ import annotations

import pytest

from gateway.dataplane.rtsp import (
    begins_rtsp,
    first_line,
    requests_of_rtsp,
    what_may_be_one,
    with_its_end,
)


@pytest.mark.parametrize(
    ("begun", "is_rtsp"),
    [
        (b"GET /a HTTP/1.1\r\nHost: x", False),
        (b"\r\n\r\nGET  /a   HTTP/1.0\r\n", False),
        (b"GET /a\r\n\r\n", False),
        (b"GET /a RTSP/1.1\r\nHost: GET /a HTTP/1.1", True),
        (b"\r\nGET /a RTSP/1.0\r\nGET /a HTTP/1.1\r\n", True),
    ],
)
def test_the_line_that_a_head_begins_with_counts(begun: bytes, is_rtsp: bool) -> None:
    assert begins_rtsp(begun, b"GET", b"/a") is is_rtsp


def test_the_line_is_kept_up_to_its_end() -> None:
    assert first_line(b"\r\nGET /a HT") == b"GET /a HT"
    assert first_line(b"GET /a HTTP/1.1\r\nHost: x\r\n") == b"GET /a HTTP/1.1\r\n"


def test_requests_behind_other_messages_are_found_wherever_they_stand() -> None:
    data = b"bodyGET /a RTSP/1.0\r\n\nGET OPTIONS  *  RTSP/1.1 x\r\nGET /b HTTP/1.1\r\n"
    data += b"GET /c\r\nRTSP/1.0 POST /d RT"
    found = frozenset(((b"GET", b"/a"), (b"OPTIONS", b"*")))
    assert requests_of_rtsp(data) == found
    kept = what_may_be_one(data)
    assert requests_of_rtsp(kept) == found
    kept = with_its_end(kept, b"SP/1.0\r\nGET /e RTSP/1.0\r\n")
    assert with_its_end(kept, b"GET /f RTSP/1.0\r\n") == kept
    assert requests_of_rtsp(kept) == {*found, (b"POST", b"/d")}
    assert requests_of_rtsp(b"GET /a HTTP/1.1\r\n") == frozenset()
