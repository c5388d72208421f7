from __future__ import annotations

import re

import pytest

from gateway.model.cors import Cors

ORIGIN = b"https://app.example.com"
LISTED = Cors(re.compile(re.escape(ORIGIN)), b"E: a\r\n", b"P: b\r\n")
EVERY = Cors(None, b"E: a\r\n", b"P: b\r\n")
VARY = b"Vary: Origin\r\n"
ASKED = b"Vary: Access-Control-Request-Method, Access-Control-Request-Headers\r\n"
ALLOWED = b"Access-Control-Allow-Origin: https://app.example.com\r\n"
ANYBODY = b"Access-Control-Allow-Origin: *\r\n"


@pytest.mark.parametrize(
    ("case", "cors", "origin", "lines"),
    [
        ("an allowed origin", LISTED, ORIGIN, VARY + ALLOWED + b"E: a\r\n"),
        ("another origin", LISTED, b"https://evil.example", VARY),
        ("more than an allowed origin", LISTED, ORIGIN + b".evil.example", VARY),
        ("no origin: caches must know all the same", LISTED, None, VARY),
        ("every origin", EVERY, ORIGIN, ANYBODY + b"E: a\r\n"),
        ("no origin where every one is allowed", EVERY, None, ANYBODY + b"E: a\r\n"),
    ],
)
def test_lines_of_an_answer(case: str, cors: Cors, origin: bytes | None, lines: bytes) -> None:
    assert cors.of_answer(origin) == lines


@pytest.mark.parametrize(
    ("case", "cors", "origin", "lines"),
    [
        ("an allowed origin", LISTED, ORIGIN, VARY + ASKED + ALLOWED + b"P: b\r\n"),
        ("another origin", LISTED, b"null", VARY + ASKED),
        ("every origin", EVERY, ORIGIN, ASKED + ANYBODY + b"P: b\r\n"),
    ],
)
def test_lines_of_a_preflight(case: str, cors: Cors, origin: bytes, lines: bytes) -> None:
    assert cors.of_preflight(origin, b"x-a") == lines


@pytest.mark.parametrize(
    ("asked", "lines"),
    [
        (b"authorization,x-a", b"Access-Control-Allow-Headers: authorization,x-a\r\n"),
        (b"x-a , \tx-b", b"Access-Control-Allow-Headers: x-a , \tx-b\r\n"),
        (b"x-a;x-b", b""),
        (b"x\xffa", b""),
        (b"", b""),
        (None, b""),
    ],
)
def test_every_header_is_the_ones_that_are_asked_for(asked: bytes | None, lines: bytes) -> None:
    cors = Cors(None, b"", b"P: b\r\n", any_header=True)
    assert cors.of_preflight(ORIGIN, asked) == ASKED + lines + ANYBODY + b"P: b\r\n"
