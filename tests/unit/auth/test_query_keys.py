"""A key in the query becomes one like any other, and nothing else of the request changes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.auth.query_keys import take_from_query
from gateway.errors import BadRequest, GatewayError, Unauthenticated
from gateway.model.exchange import RequestHead

NAME = b"api_key"


def head(query: bytes, api_key: bytes | None = None, lines: bytes = b"") -> RequestHead:
    made = RequestHead()
    made.path, made.query, made.target, made.api_key = "/a", query, b"/a" + query, api_key
    made.lines = [lines] if lines else []
    return made


@pytest.mark.parametrize(
    ("query", "key", "rest"),
    [
        (b"", None, b""),
        (b"?", None, b"?"),
        (b"?a=1", None, b"?a=1"),
        (b"?api_key=k", b"k", b""),
        (b"?api_key=k&a=1", b"k", b"?a=1"),
        (b"?a=%31&api_key=k&b=+&c", b"k", b"?a=%31&b=+&c"),
        (b"?&api_key=k&", b"k", b"?&"),
        (b"?api%5Fkey=k", b"k", b""),
        (b"?%61pi_key=%6b%2D", b"k-", b""),
        (b"?api_key=a=b", b"a=b", b""),
        (b"?api_key", b"", b""),
        (b"?api_key=", b"", b""),
        (b"?API_KEY=k", None, b"?API_KEY=k"),
        (b"?api_key[]=k", None, b"?api_key[]=k"),
        (b"?x=api_key=k", None, b"?x=api_key=k"),
        (b"?api_keys=k", None, b"?api_keys=k"),
        (b"?a=1;api_key=k", None, b"?a=1;api_key=k"),
        (b"??api_key=k", None, b"??api_key=k"),
    ],
)
def test_the_parameter_is_taken_out(query: bytes, key: bytes | None, rest: bytes) -> None:
    made = head(query)
    take_from_query(made, NAME)
    assert (made.api_key, made.query, made.target) == (key, rest, b"/a" + rest)


@pytest.mark.parametrize(
    ("case", "query", "header", "refusal"),
    [
        ("two", b"?api_key=k&api_key=k", None, BadRequest),
        ("two spellings", b"?api_key=k&api%5fkey=l", None, BadRequest),
        ("a line end", b"?api_key=k%0D%0ATollway-Account:%20evil", None, BadRequest),
        ("NUL", b"?api_key=k%00", None, BadRequest),
        ("a space", b"?api_key=k+", None, BadRequest),
        ("bytes outside ASCII", b"?api_key=%C3%A4", None, BadRequest),
        ("another key in the header", b"?api_key=k", b"l", Unauthenticated),
    ],
)
def test_what_can_not_be_told_apart_is_refused(
    case: str, query: bytes, header: bytes | None, refusal: type[GatewayError]
) -> None:
    with pytest.raises(refusal) as caught:
        take_from_query(head(query, header), NAME)
    assert "evil" not in str(caught.value)


def test_the_same_key_in_both_places_is_one() -> None:
    made = head(b"?api_key=k&a", b"k")
    take_from_query(made, NAME)
    assert (made.api_key, made.query) == (b"k", b"?a")


@pytest.mark.parametrize(
    ("referer", "stays"),
    [
        (b"https://a.example/?api_key=k", False),
        (b"https://a.example/?a=1&api%5Fkey=k#x", False),
        (b"https://a.example/api_key?a=1", True),
        (b"https://a.example/?a=1", True),
        (b"https://a.example/?api_key=k\r\nreferer: twice", False),
    ],
)
def test_a_referer_that_holds_a_key_goes_no_further(referer: bytes, stays: bool) -> None:
    lines = b"Accept: */*\r\nReferer: " + referer + b"\r\nX-A: api_key\r\n"
    made = head(b"", lines=lines)
    take_from_query(made, NAME)
    assert b"".join(made.lines) == (lines if stays else b"Accept: */*\r\nX-A: api_key\r\n")


@given(some.lists(some.from_regex(rb"[a-z]{0,3}(=[!-%'-~]{0,5})?", fullmatch=True)), some.integers(0, 9))
def test_everything_else_stays_byte_for_byte(others: list[bytes], at: int) -> None:
    parameters = [*others[:at], b"api_key=k", *others[at:]]
    made = head(b"?" + b"&".join(parameters))
    take_from_query(made, NAME)
    assert made.api_key == b"k"
    assert made.query == (b"?" + b"&".join(others) if others else b"")
