from __future__ import annotations

import pytest

from gateway.model.exchange import RequestHead


@pytest.mark.parametrize(
    ("case", "lines", "value"),
    [
        ("four pieces a line", [b"A", b": ", b"1", b"\r\n", b"ORIGIN", b": ", b"x", b"\r\n"], b"x"),
        ("several lines in a piece", [b"A: 1\r\nOrigin: x\r\n", b"", b"B: 2\r\n"], b"x"),
        ("with colons", [b"Origin: http://x:80\r\n"], b"http://x:80"),
        ("without a value", [b"Origin: \r\n"], b""),
        ("not there", [b"A: Origin: x\r\nOriginal: x\r\n"], None),
        ("twice", [b"Origin: x\r\norigin: x\r\n"], None),
        ("nothing at all", [], None),
    ],
)
def test_a_field_among_those_that_only_travel(case: str, lines: list[bytes], value: bytes | None) -> None:
    head = RequestHead()
    head.lines = lines
    assert head.field(b"origin") == value
