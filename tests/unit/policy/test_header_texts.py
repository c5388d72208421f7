from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.dataplane.head import HOP_BY_HOP
from gateway.policy.header_texts import HEADER_NAME, HEADER_VALUE, check_header_name, check_header_value


@pytest.mark.parametrize(
    "name", ["Server", "x-api-version", "Authorization", "X_Odd", "!#$%&'*+.^_`|~-9", "Via"]
)
def test_headers_that_policies_may_change(name: str) -> None:
    assert check_header_name(name) == name
    assert re.search(HEADER_NAME, name)


@pytest.mark.parametrize("name", ["", " ", "A B", "A:", "A\r\n", "Ä", "a" * 101, None, 5, "A\0"])
def test_what_is_no_name(name: object) -> None:
    with pytest.raises(ValueError, match="must be the name of a header"):
        check_header_name(name)


OURS = [
    *(name.decode() for name in sorted(HOP_BY_HOP)), "Host", "Content-Length", "Expect", "Forwarded",
    "X-Real-IP", "X-Forwarded-For", "X-Forwarded-Prefix", "X-Forwarded-Anything", "Tollway-Account",
    "Tollway-Anything", "RateLimit", "RateLimit-Policy", "RateLimit-Reset",
]  # fmt: skip


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("spell", [str.lower, str.upper, lambda name: name.replace("-", "_"),
                                   lambda name: name.replace("-", ".")])  # fmt: skip
def test_what_the_gateway_answers_for_in_any_spelling(name: str, spell: object) -> None:
    assert callable(spell)
    with pytest.raises(ValueError, match="may not be"):
        check_header_name(spell(name))


@pytest.mark.parametrize("value", ["a", "!", "a b", "a\tb", "~" * 4096, "https://example.com/?a=b"])
def test_values(value: str) -> None:
    assert check_header_value(value) == value
    assert re.search(HEADER_VALUE, value)


@given(st.text() | st.integers() | st.none() | st.lists(st.text()))
@example(409)  # within the 4096 that every refusal names
def test_no_value_breaks_its_line_and_no_refusal_repeats_one(value: object) -> None:
    try:
        text = check_header_value(value)
    except ValueError as refusal:
        with pytest.raises(ValueError, match="printable ASCII") as other:
            check_header_value("" if isinstance(value, str) else None)
        assert str(refusal) == str(other.value)  # noqa: PT017  either way is right
    else:
        assert text.isascii()
        assert text.strip() == text
        assert not set(text) & set("\r\n\0\x7f")


@pytest.mark.parametrize(
    "value", ["a\r\nB: c", "a\nb", "a\0", "a\n", " a", "a ", "\t", "", "é", "a" * 4097, 5, None]
)
def test_what_is_no_value(value: object) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        check_header_value(value)
