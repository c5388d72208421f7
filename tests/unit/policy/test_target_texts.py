from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy.target_texts import (
    FILE,
    REQUEST_TARGET,
    TARGET,
    TargetParts,
    check_file,
    check_request_target,
    check_target,
    target_parts,
)

GOOD = [
    "http://127.0.0.1:9000",
    "http://api",
    "https://api.internal",
    "https://[::1]:8443",
    "http://[::1]",
    "http://a_b.internal:65535",
    "unix:/run/api.sock",
    "unix:/a",
]
BAD = ["http://", "ftp://a", "//a", "a:80", "http://a/", "http://a?b", "http://u@a", "http://a:", 80, None]


@pytest.mark.parametrize("text", GOOD)
def test_good_targets_pass_and_fit_the_pattern_of_the_schema(text: str) -> None:
    assert check_target(text) == text
    assert re.search(TARGET, text)


@pytest.mark.parametrize("value", [*BAD, "unix:", "unix:/", "unix://a", "unix:a", "unix:/a b", "unix:/a\n"])
def test_bad_targets_are_refused_in_words(value: object) -> None:
    with pytest.raises(ValueError, match=r"^must be http://host"):
        check_target(value)


@pytest.mark.parametrize(
    ("case", "text", "message"),
    [
        ("a port that can not be", "https://a:70000", "at most 65535"),
        ("half an address", "http://127.1", "IP address"),
        ("an address as one number", "http://2130706433", "IP address"),
        ("a wrong IPv6 address", "https://[:::]", "IP address"),
        ("two dots", "http://a..b", "valid host"),
        ("a path no socket can have", "unix:/" + "a" * 100, "at most 100"),
    ],
)
def test_refusals_say_what_is_wrong(case: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check_target(text)


@pytest.mark.parametrize("secret", ["http://user:canary@host", "https://user:canary@host", "canary://x"])
@pytest.mark.parametrize("check", [check_target, check_file])
def test_no_refusal_repeats_a_url(check: Callable[[object], str], secret: str) -> None:
    with pytest.raises(ValueError) as refusal:
        check(secret)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("http://127.0.0.1:9000", TargetParts("127.0.0.1", 9000)),
        ("http://API.internal", TargetParts("api.internal", 80)),
        ("https://API.internal", TargetParts("api.internal", 443, tls=True)),
        ("http://[::1]", TargetParts("::1", 80)),
        ("https://[::1]:81", TargetParts("::1", 81, tls=True)),
        ("unix:/run/Api.sock", TargetParts("localhost", 80, socket="/run/Api.sock")),
    ],
)
def test_targets_have_their_parts(text: str, parts: TargetParts) -> None:
    assert target_parts(check_target(text)) == parts


@pytest.mark.parametrize("text", ["/etc/a.pem", "/a", "/with space/é.pem"])
def test_files_are_absolute_paths(text: str) -> None:
    assert check_file(text) == text
    assert re.search(FILE, text)


@pytest.mark.parametrize("value", ["", "/", "a.pem", "./a", "/a\n", "/a\0b", "/" + "a" * 1024, 1, None])
def test_other_files_are_refused_in_words(value: object) -> None:
    with pytest.raises(ValueError, match="must be an absolute path"):
        check_file(value)


@pytest.mark.parametrize("text", ["/", "/healthz", "/a/b?c=%20d"])
def test_checks_ask_for_a_path(text: str) -> None:
    assert check_request_target(text) == text


@pytest.mark.parametrize(
    "value", ["", "healthz", "http://a/", "/a b", "/a#b", "/é", "/a\r\nX: y", "/" + "a" * 1024, 1]
)
def test_nothing_else_can_be_asked_for(value: object) -> None:
    with pytest.raises(ValueError, match="must be a path such as /healthz"):
        check_request_target(value)


@given(st.text(max_size=40))
def test_whatever_is_accepted_fits_the_pattern_of_the_schema(text: str) -> None:
    for check, pattern in (
        (check_target, TARGET),
        (check_file, FILE),
        (check_request_target, REQUEST_TARGET),
    ):
        try:
            check(text)
        except ValueError:
            continue
        assert re.search(pattern, text)
