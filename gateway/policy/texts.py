"""The small languages inside policy values: names, durations, rates, links, hosts, methods, paths.

Every `check_...` returns its text when it is good and raises `ValueError` with a message for the person who
wrote it; the documents and the compiler use the same functions. Messages never repeat a URL: it may hold a
password.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes, urlsplit

from gateway.model.networks import parse_network
from gateway.model.periods import LONGEST_HOURS, PERIOD, parse_period
from gateway.policy.problems import shown

NAME = r"^[a-z][a-z0-9_-]{0,62}$"
DURATION = r"^[1-9][0-9]{0,8}(ms|s|m|h)$"
RATE = r"^[1-9][0-9]{0,8}/(second|minute|hour|day)$"
HOST = r"^[a-z0-9_][a-z0-9_-]{0,62}(\.[a-z0-9_][a-z0-9_-]{0,62})*$"
HOST_OR_BELOW = rf"^(\*\.)?{HOST[1:]}"
METHOD = r"^[A-Z][A-Z-]{0,31}$"
SIZE = r"^(0|[1-9][0-9]{0,8})(B|kB|MB|GB|KiB|MiB|GiB)$|^none$"
MESSAGE_SIZE = r"^[1-9][0-9]{0,8}(B|kB|MB|GB|KiB|MiB|GiB)$|^none$"
CURRENCY = r"^[A-Z]{3}$"
LINK = r"^https?://[!-~]{1,2000}$"
_SEGMENT_CHARACTERS = r"([A-Za-z0-9._~!$&'()+,=:@-]|%[0-9A-F]{2})+"
_CAPTURE = r"\{[a-z][a-z0-9_]{0,31}\}"
PATH = rf"^/(((\*|{_CAPTURE}|{_SEGMENT_CHARACTERS})/)*(\*\*?|{_CAPTURE}|{_SEGMENT_CHARACTERS}))?$"
NEW_PATH = rf"^/((({_CAPTURE}|{_SEGMENT_CHARACTERS})/)*(\*\*|{_CAPTURE}|{_SEGMENT_CHARACTERS}))?$"
PREFIX = rf"^(/{_SEGMENT_CHARACTERS})+$"

UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
UNIT_BYTES = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "B": 1}
PERIOD_MS = {"second": 1000, "minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
LONGEST_MS = 24 * 3_600_000
LONGEST_PATH = 1024
NEVER_RELAYED = frozenset({"TRACE", "CONNECT"})

_SEGMENT = re.compile(_SEGMENT_CHARACTERS)
_CAPTURE_SEGMENT = re.compile(_CAPTURE)
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()+,=:@")
_REFUSED_ESCAPES = {"%00": "a NUL", "%2F": "a slash", "%5C": "a backslash"}


def _matching(pattern: str, value: object, wanted: str) -> str:
    if isinstance(value, str) and re.fullmatch(pattern, value):
        return value
    raise ValueError(f"must be {wanted}, got {shown(value)}")


def check_name(value: object) -> str:
    """A name: what tiers, limits, meters, features, upstreams and routes are called."""
    wanted = "a name (a lower-case letter, then at most 62 lower-case letters, digits, `-` or `_`)"
    return _matching(NAME, value, wanted)


def check_title(text: str) -> str:
    """What people call something, of whatever language: one line."""
    if text.isprintable():
        return text
    raise ValueError(f"must be one line of printable characters, got {shown(text)}")


def check_duration(value: object) -> str:
    """A whole number with its unit, up to a day."""
    text = _matching(DURATION, value, "a duration such as 500ms, 2s, 1m or 1h")
    if duration_ms(text) > LONGEST_MS:
        raise ValueError(f"must be at most 24h, got {text}")
    return text


def duration_ms(text: str) -> int:
    """The length of a checked duration."""
    digits = text.rstrip("msh")
    return int(digits) * UNIT_MS[text[len(digits) :]]


def check_size(value: object) -> str:
    """A whole number with its unit, or `none`."""
    return _matching(SIZE, value, "a size such as 0B, 500kB, 10MB or 1GiB, or none")


def check_message_size(value: object) -> str:
    """A size of something that has a byte at least, or `none`."""
    return _matching(MESSAGE_SIZE, value, "a size such as 500B, 64KiB, 1MB or 1GiB, or none")


def size_bytes(text: str) -> int | None:
    """How much a checked size is; None for `none`."""
    if text == "none":
        return None
    digits = text.rstrip("kKMGiB")
    return int(digits) * UNIT_BYTES[text[len(digits) :]]


def check_rate(value: object) -> str:
    """A number of calls per unit of time."""
    return _matching(RATE, value, "a rate such as 5/second, 60/minute, 1000/hour or 10000/day")


def rate_parts(text: str) -> tuple[int, int]:
    """Tokens and period in milliseconds of a checked rate."""
    tokens, _, period = text.partition("/")
    return int(tokens), PERIOD_MS[period]


def check_period(value: object) -> str:
    """How often a quota starts again."""
    wanted = (
        "hour, day, week, month or year, or a number of these such as 12 hours, 30 days, 2 weeks or 3 months"
    )
    text = _matching(PERIOD, value, wanted)
    if parse_period(text).hours > LONGEST_HOURS:
        raise ValueError(f"must be at most 10 years, got {shown(text)}")
    return text


def check_currency(value: object) -> str:
    """An ISO 4217 code."""
    return _matching(CURRENCY, value, "a currency code of three capital letters such as USD (ISO 4217)")


def check_method(value: object) -> str:
    """An HTTP method that can be relayed."""
    text = _matching(METHOD, value, "an HTTP method in capital letters such as GET")
    if text in NEVER_RELAYED:
        raise ValueError(f"{text} is never relayed; remove it")
    return text


def with_head(methods: Iterable[str]) -> list[str]:
    """The methods with HEAD if GET is among them."""
    named = list(methods)
    return [*named, "HEAD"] if "GET" in named and "HEAD" not in named else named


def check_host(value: object) -> str:
    """A host name as requests send it: lower case, no port, no wildcard."""
    wanted = "a host name in lower case without port or wildcard such as api.example.com"
    return _matching(HOST, value, wanted)


def check_host_or_below(value: object) -> str:
    """A host name, or `*.` and a name for every host below that."""
    text = value if isinstance(value, str) else ""
    if re.fullmatch(HOST_OR_BELOW, text):
        return text
    wanted = "a host name in lower case without port, such as api.example.com or *.example.com"
    raise ValueError(f"must be {wanted}, got {shown(value)}")


def check_network(value: object) -> str:
    """A range of IP addresses, or one address."""
    try:
        parse_network(value if isinstance(value, str) else "")
    except ValueError as error:
        raise ValueError(f"{error}, got {shown(value)}") from None
    return str(value)


def check_link(value: object) -> str:
    """An http(s) URL for people; may hold `{tier}` and no other braces."""
    text = value if isinstance(value, str) else ""
    if re.fullmatch(LINK, text) is None:
        raise ValueError(
            "must be a URL that starts with https:// or http://, in printable ASCII without spaces"
        )
    parts = urlsplit(text.replace("{tier}", "x"))
    if not parts.hostname or "@" in parts.netloc:
        raise ValueError("must be a URL with a host and without credentials")
    if set(text.replace("{tier}", "")) & set('{}<>"\\^`|'):
        raise ValueError('must hold no placeholder but {tier}, and none of < > " \\ ^ ` |')
    return text


def check_path(value: object) -> str:
    """A canonical path pattern: `*` stands for one segment, as does a name in braces; a last `**` for
    everything below.

    Requests are matched in canonical spelling, so a pattern in any other spelling could never match.
    """
    text = value if isinstance(value, str) else ""
    if not text.startswith("/"):
        raise ValueError(f"must be a path that starts with / such as /api/**, got {shown(value)}")
    if len(text) > LONGEST_PATH:
        raise ValueError(f"must be at most {LONGEST_PATH} characters long")
    if text != "/" and text.endswith("/"):
        raise ValueError(
            f"must not end in /: write {shown(text.rstrip('/') or '/')}, which also matches with one"
        )
    segments = segments_of(text)
    for position, segment in enumerate(segments):
        _check_segment(segment, last=position == len(segments) - 1)
        if segment.startswith("{") and segment in segments[:position]:
            raise ValueError(f"holds {segment} twice; a name stands for one segment")
    try:
        unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("must hold valid UTF-8 where it is percent-encoded") from error
    return text


def segments_of(path: str) -> list[str]:
    """The segments of a checked path; none of the root."""
    return [] if path == "/" else path[1:].split("/")


def check_new_path(value: object) -> str:
    """A canonical path whose segments may be names in braces, and the last one `**`."""
    text = check_path(value)
    if "*" in segments_of(text):
        raise ValueError("may not hold *: give that segment a name in match.path, {id}, and write it here")
    return text


def check_prefix(value: object) -> str:
    """The beginning of a canonical path: at least one segment, all of them text."""
    text = check_path(value)
    if text == "/" or any(segment[0] in "*{" for segment in segments_of(text)):
        raise ValueError("must be a path such as /v1, without *, ** or names in braces")
    return text


def _check_segment(segment: str, *, last: bool) -> None:
    if segment == "*" or (segment == "**" and last) or _CAPTURE_SEGMENT.fullmatch(segment):
        return
    if segment == "**":
        raise ValueError("may have ** only as its last segment; use * for one segment in between")
    if segment in {"", ".", ".."}:
        raise ValueError("must be canonical: no empty segment (//), no . and no .. segment")
    if "*" in segment:
        raise ValueError(f"may have * only as a whole segment, not within {shown(segment)}")
    if "{" in segment or "}" in segment:
        raise ValueError(
            "may have a name in braces only as a whole segment such as {id}, of at most 32 lower-case "
            f"letters, digits and _, not {shown(segment)}"
        )
    if not segment.isascii():
        raise ValueError("must be canonical: write characters outside ASCII percent-encoded, é as %C3%A9")
    for escape in _ESCAPE.finditer(segment):
        _check_escape(escape.group(), int(escape.group(1), 16))
    if _SEGMENT.fullmatch(segment) is None:
        raise ValueError(
            f"must be canonical: {shown(segment)} holds a character that paths can not, or a bad escape"
        )


def _check_escape(escape: str, code: int) -> None:
    if escape.upper() in _REFUSED_ESCAPES:
        raise ValueError(f"holds {_REFUSED_ESCAPES[escape.upper()]} as {escape}: such requests are refused")
    if chr(code) in _PLAIN:
        raise ValueError(f"must be canonical: write {chr(code)} instead of {escape}")
    if escape != escape.upper():
        raise ValueError(f"must be canonical: write {escape.upper()} instead of {escape}")
    if chr(code) == "%":
        raise ValueError("must not hold an encoded percent sign (%25); use * for that segment")
