from __future__ import annotations

import pytest

from gateway.policy.cors_documents import check_field, check_origin


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "https://app.example.com",
        "http://localhost:3000",
        "https://*.example.com",
        "https://*.example.com:8443",
        "http://127.0.0.1:8080",
        "http://[::1]:3000",
        "capacitor://localhost",
        "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
        "https://xn--caf-dma.example",
    ],
)
def test_origins_that_browsers_send(origin: str) -> None:
    assert check_origin(origin) == origin


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("https://app.example.com/", "without path or slash"),
        ("https://app.example.com/app", "without path or slash"),
        ("https://App.example.com", "in lower case"),
        ("app.example.com", "must be an origin"),
        ("https://app.*.com", "must be an origin"),
        ("https://*", "must be an origin"),
        ("https://*example.com", "must be an origin"),
        ("http://localhost:*", "must be an origin"),
        ("https://user@example.com", "must be an origin"),
        ("https://café.example", "must be an origin"),
        ("https://example.com\n", "must be an origin"),
        ("https://a..example", "must be an origin"),
        ("https://example.com:443", "leave out the usual port"),
        ("http://example.com:80", "leave out the usual port"),
        ("null", "any page can make itself"),
        (None, "must be an origin"),
    ],
)
def test_origins_that_no_browser_sends(origin: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        check_origin(origin)


@pytest.mark.parametrize("name", ["*", "X-Trace", "authorization", "a_b"])
def test_names_of_header_fields(name: str) -> None:
    assert check_field(name) == name


@pytest.mark.parametrize("name", ["", "X Trace", "X-A:", "X-A\n", "é", "a,b", 1])
def test_what_is_no_name_of_a_header_field(name: object) -> None:
    with pytest.raises(ValueError, match="must be a header name"):
        check_field(name)
