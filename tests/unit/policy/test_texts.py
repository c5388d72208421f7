from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import texts

CHECKS: list[tuple[str, Callable[[object], str], str, list[str], list[object]]] = [
    (
        "names",
        texts.check_name,
        texts.NAME,
        ["a", "team", "private_projects", "tier-2", "a" * 63],
        ["", "A", "1a", "-a", "a b", "a\n", "é", "a" * 64, "a.b", None, 1],
    ),
    (
        "durations",
        texts.check_duration,
        texts.DURATION,
        ["1ms", "500ms", "2s", "1m", "24h"],
        ["0s", "2", "1.5s", "-1s", "1d", "s", "2S", " 2s", "2s\n", 2, 2.0, None],
    ),
    (
        "sizes",
        texts.check_size,
        texts.SIZE,
        ["0B", "1B", "500kB", "10MB", "2GB", "1KiB", "1MiB", "999999999GiB", "none"],
        ["", "10", "10mb", "10M", "-1B", "1.5MB", "01MB", "10 MB", "1B\n", "None", 10, None],
    ),
    (
        "rates",
        texts.check_rate,
        texts.RATE,
        ["60/minute", "5/second", "1000/hour", "1/day"],
        ["0/second", "60/min", "60", "60/month", "-1/second", "1.5/second", "60/minute\n", 60, None],
    ),
    ("currencies", texts.check_currency, texts.CURRENCY, ["USD", "EUR"], ["usd", "US", "USDT", "U$D", 840]),
    (
        "methods",
        texts.check_method,
        texts.METHOD,
        ["GET", "HEAD", "PROPFIND", "M-SEARCH"],
        ["get", "", "GET ", "G3T", "G\n", 1],
    ),
    (
        "hosts",
        texts.check_host,
        texts.HOST,
        ["localhost", "api.example.com", "my_api", "10.0.0.1", "xn--caf-dma.example"],
        ["API.example.com", "a.example.com:80", "*.example.com", "a..b", ".a", "a.", "é.com", "a b", "[::1]"],
    ),
    (
        "hosts of a route",
        texts.check_host_or_below,
        texts.HOST_OR_BELOW,
        ["localhost", "api.example.com", "*.example.com", "*.localhost"],
        ["*", "*.", "*example.com", "a.*.example.com", "**.example.com", "*.*.a", "*.A", "*.a:80", "", None],
    ),
    (
        "links",
        texts.check_link,
        texts.LINK,
        ["https://example.com", "http://127.0.0.1:8091/tiers?upgrade={tier}", "https://a.b/{tier}/{tier}#x"],
        ["javascript:alert(1)", "ftp://a", "https://a b", "https://a\n", "https://é", "example.com", None],
    ),
    (
        "paths",
        texts.check_path,
        texts.PATH,
        [
            "/",
            "/**",
            "/*",
            "/api",
            "/api/**",
            "/a/*/b",
            "/caf%C3%A9",
            "/a:b/@me/x,y;z".replace(";", "="),
            "/a%20b",
            "/users/{id}/**",
            "/{a}/*/{b_2}",
        ],
        [
            "/{",
            "/}",
            "/{}",
            "/{A}",
            "/{1}",
            "/a{b}",
            "/{a}b",
            "/{a}{b}",
            "/{a",
            "/{" + "a" * 33 + "}",
            "",
            "a",
            "/a b",
            "/a?b",
            "/a#b",
            "/a;b",
            "/a\\b",
            "/é",
            "/a*",
            "/a%zz",
            "/a%c3%a9",
            "/***",
            None,
            1,
        ],
    ),
    (
        "new paths",
        texts.check_new_path,
        texts.NEW_PATH,
        ["/", "/a", "/**", "/a/{id}/**", "/{id}", "/caf%C3%A9"],
        ["", "a", "/*", "/a/*/b", "/**/a", "/a/", "//", "/a?b", "/{a}{b}", "/é", "/a%2F", None, 1],
    ),
    (
        "prefixes",
        texts.check_prefix,
        texts.PREFIX,
        ["/v1", "/a/b", "/caf%C3%A9"],
        ["", "/", "a", "/a/", "/a/**", "/*", "/{a}", "//a", "/a?b", "/../a", None, 1],
    ),
]


@pytest.mark.parametrize(
    ("check", "pattern", "text"),
    [(check, pattern, text) for _, check, pattern, good, _ in CHECKS for text in good],
)
def test_good_texts_pass_and_fit_the_pattern_of_the_schema(
    check: Callable[[object], str], pattern: str, text: str
) -> None:
    assert check(text) == text
    assert re.search(pattern, text)


@pytest.mark.parametrize(
    ("check", "value"), [(check, value) for _, check, _, _, bad in CHECKS for value in bad]
)
def test_bad_texts_are_refused_in_words(check: Callable[[object], str], value: object) -> None:
    with pytest.raises(ValueError, match=r"^(must|may|holds)"):
        check(value)


@pytest.mark.parametrize(
    ("case", "check", "value", "message"),
    [
        ("too long a wait", texts.check_duration, "25h", "at most 24h"),
        ("credentials in a link", texts.check_link, "https://u:p@a", "without credentials"),
        ("no host in a link", texts.check_link, "https:///a", "with a host"),
        ("an unknown placeholder", texts.check_link, "https://a/{plan}", "no placeholder but {tier}"),
        ("a method that is never relayed", texts.check_method, "CONNECT", "never relayed"),
        ("a path that climbs", texts.check_path, "/a/../b", "canonical"),
        ("an empty segment", texts.check_path, "/a//b", "canonical"),
        ("a slash at the end", texts.check_path, "/a/", "write /a,"),
        ("only slashes", texts.check_path, "//", "write /,"),
        ("an escape that is not needed", texts.check_path, "/%61", "write a instead of %61"),
        ("an escape in lower case", texts.check_path, "/%c3%a9", "write %C3"),
        ("an escaped slash", texts.check_path, "/a%2fb", "refused"),
        ("an escaped percent sign", texts.check_path, "/a%25b", "%25"),
        ("bytes that are not UTF-8", texts.check_path, "/%FF", "UTF-8"),
        ("two stars within", texts.check_path, "/**/a", "only as its last"),
        ("a star within a segment", texts.check_path, "/a*/b", "whole segment"),
        ("a name twice", texts.check_path, "/{a}/{a}", "{a} twice"),
        ("a name within a segment", texts.check_path, "/v{a}", "whole segment such as {id}"),
        ("a star in a new path", texts.check_new_path, "/*", "a name in match.path"),
        ("a path without end", texts.check_path, "/" + "a" * 2000, "at most 1024"),
    ],
)
def test_refusals_say_what_to_write_instead(
    case: str, check: Callable[[object], str], value: str, message: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        check(value)


@pytest.mark.parametrize("secret", ["http://user:canary@host", "https://user:canary@host", "canary://x"])
@pytest.mark.parametrize("check", [check for _, check, _, _, _ in CHECKS])
def test_no_refusal_repeats_a_url(check: Callable[[object], str], secret: str) -> None:
    with pytest.raises(ValueError) as refusal:
        check(secret)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "ms"), [("1ms", 1), ("500ms", 500), ("2s", 2000), ("1m", 60_000), ("24h", 86_400_000)]
)
def test_durations_have_a_length(text: str, ms: int) -> None:
    assert texts.duration_ms(text) == ms


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0B", 0),
        ("7B", 7),
        ("1kB", 1000),
        ("1KiB", 1024),
        ("20MB", 20_000_000),
        ("1GiB", 2**30),
        ("none", None),
    ],
)
def test_size_in_bytes(text: str, count: int | None) -> None:
    assert texts.size_bytes(text) == count


def test_rates_have_tokens_and_a_period() -> None:
    assert texts.rate_parts("60/minute") == (60, 60_000)
    assert texts.rate_parts("5/second") == (5, 1000)


@given(st.text(max_size=40))
def test_whatever_is_accepted_fits_the_pattern_of_the_schema(text: str) -> None:
    for _, check, pattern, _, _ in CHECKS:
        try:
            check(text)
        except ValueError:
            continue
        assert re.search(pattern, text)
