from __future__ import annotations

from gateway.dataplane.cross_origin import with_cors
from gateway.model.cors import Cors
from gateway.model.exchange import RequestHead


def test_what_the_upstream_says_about_other_origins_is_replaced() -> None:
    lines = [
        b"ETag",
        b": ",
        b"access-control-x: 1",
        b"\r\n",
        b"access-CONTROL-Allow-Origin",
        b": ",
        b"*",
        b"\r\n",
    ]
    lines += [b"Vary: Accept\r\n", b"Access-Control-Expose-Headers: X\r\nX-Access-Control-A: 1\r\n"]
    told = b"".join(with_cors(lines, RequestHead(), Cors(None, b"E: a\r\n", b"")))
    assert told == (
        b"ETag: access-control-x: 1\r\nVary: Accept\r\nX-Access-Control-A: 1\r\n"
        b"Access-Control-Allow-Origin: *\r\nE: a\r\n"
    )
