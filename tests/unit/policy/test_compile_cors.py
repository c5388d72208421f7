from __future__ import annotations

import pytest

from gateway.policy.compile_cors import compile_cors
from gateway.policy.cors_documents import CorsDocument


def _document(**said: object) -> CorsDocument:
    return CorsDocument.model_validate({"origins": ["https://app.example.com"], **said})


def test_a_profile_that_says_no_more_than_its_origins() -> None:
    cors = compile_cors(_document(), None)
    assert cors.answer_lines == (
        b"Access-Control-Expose-Headers: RateLimit, RateLimit-Policy, Retry-After, Tollway-Request-Id\r\n"
    )
    assert cors.preflight_lines == (
        b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n"
        b"Access-Control-Allow-Headers: Authorization, Content-Type, X-API-Key\r\n"
        b"Access-Control-Max-Age: 600\r\n"
    )


def test_a_profile_that_says_everything() -> None:
    said = {"methods": ["GET", "PURGE"], "headers": ["X-A"], "expose": ["Link"], "credentials": True}
    cors = compile_cors(_document(**said, max_age="1500ms"), None)
    assert cors.answer_lines == (
        b"Access-Control-Allow-Credentials: true\r\n"
        b"Access-Control-Expose-Headers: "
        b"RateLimit, RateLimit-Policy, Retry-After, Tollway-Request-Id, Link\r\n"
    )
    assert cors.preflight_lines == (
        b"Access-Control-Allow-Credentials: true\r\n"
        b"Access-Control-Allow-Methods: GET, PURGE\r\n"
        b"Access-Control-Allow-Headers: X-A\r\n"
        b"Access-Control-Max-Age: 1\r\n"
    )


@pytest.mark.parametrize(
    ("case", "route", "profile", "allowed"),
    [
        ("those of the route", ["GET", "POST"], None, b"GET, POST, HEAD"),
        ("those of both", ["GET", "POST", "PUT"], ["PUT", "DELETE", "GET"], b"PUT, GET"),
        ("GET includes HEAD", ["GET"], ["HEAD"], b"HEAD"),
    ],
)
def test_methods_that_are_allowed(
    case: str, route: list[str], profile: list[str] | None, allowed: bytes
) -> None:
    cors = compile_cors(_document(methods=profile), route)
    assert cors.preflight_lines.startswith(b"Access-Control-Allow-Methods: " + allowed + b"\r\n")


def test_stars() -> None:
    cors = compile_cors(_document(origins=["*"], headers=["*"], expose=["*"]), None)
    assert cors.origins is None
    assert cors.any_header
    assert cors.answer_lines == b"Access-Control-Expose-Headers: *\r\n"
    assert b"Allow-Headers" not in cors.preflight_lines


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        (b"https://app.example.com", True),
        (b"https://a.example.org", True),
        (b"https://a.b-c.example.org", True),
        (b"http://[::1]:3000", True),
        (b"https://example.org", False),
        (b"http://a.example.org", False),
        (b"https://a.example.org:8443", False),
        (b"https://aexample.org", False),
        (b"https://.example.org", False),
        (b"https://evil.example/a.example.org", False),
        (b"https://a.example.org.evil.example", False),
        (b"https://appXexample.com", False),
        (b"https://app.example.com\n", False),
        (b"null", False),
        (b"*", False),
        (b"", False),
    ],
)
def test_which_origins_match(origin: bytes, allowed: bool) -> None:
    origins = ["https://app.example.com", "https://*.example.org", "http://[::1]:3000"]
    cors = compile_cors(_document(origins=origins), None)
    assert cors.origins is not None
    assert (cors.origins.fullmatch(origin) is not None) is allowed
