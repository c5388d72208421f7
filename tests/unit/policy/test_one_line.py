"""No text of a policy file can end a line of a header: it is refused, or it never becomes part of one."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.policy import header_texts, target_texts, texts
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources

EVERYTHING = Path(__file__).parents[2] / "policies" / "valid" / "everything.yaml"
ENDS = ["\r\nX-Evil: 1", "\nX-Evil: 1", "\rX-Evil: 1", "\0X-Evil: 1"]
NEVER_SENT = re.compile(r"issuers\.\w+\.(issuer|audience|pems|required|account_claim|tier_claim)\b")
"""Only compared with what tokens say."""

Place = tuple[str | int, ...]


def leaves(value: object, place: Place = ()) -> Iterator[Place]:
    """Where all texts are."""
    if isinstance(value, str):
        yield place
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from leaves(one, (*place, name))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from leaves(one, (*place, at))


def names(value: object, place: Place = ()) -> Iterator[Place]:
    """Where all keys are."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield (*place, name)
            yield from names(one, (*place, name))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from names(one, (*place, at))


def spoiled(place: Place, end: str, *, key: bool) -> dict[str, Any]:
    document: Any = copy.deepcopy(DOCUMENT)
    inner = document
    for step in place[:-1]:
        inner = inner[step]
    if key:
        inner[f"{place[-1]}{end}"] = inner.pop(place[-1])
    else:
        inner[place[-1]] += end
    made: dict[str, Any] = document
    return made


def sent(value: object) -> Iterator[bytes]:
    """Every piece of bytes in a compiled snapshot: header lines are nothing else by then."""
    if isinstance(value, bytes):
        yield value
    elif isinstance(value, re.Pattern):
        yield value.pattern if isinstance(value.pattern, bytes) else value.pattern.encode()
    elif is_dataclass(value) and not isinstance(value, Enum):
        for field in fields(value):
            yield from sent(getattr(value, field.name))
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from sent(name)
            yield from sent(one)
    elif isinstance(value, tuple | list | frozenset):
        for one in value:
            yield from sent(one)


DOCUMENT = yaml.load(EVERYTHING.read_text(), Loader=yaml.CSafeLoader)
CASES = [(place, False) for place in leaves(DOCUMENT)] + [(place, True) for place in names(DOCUMENT)]


@pytest.mark.parametrize("part", range(8))
def test_whatever_text_ends_a_line_is_refused_or_never_sent(part: int) -> None:
    assert len(CASES) > 300
    for at, (place, key) in enumerate(CASES):
        if at % 8 != part:
            continue
        content = yaml.safe_dump(spoiled(place, ENDS[at // 8 % len(ENDS)], key=key), sort_keys=False)
        loaded = compile_sources(Sources((("a.yaml", content.encode()),)))
        if loaded.policies is None:
            assert loaded.problems
            continue
        assert NEVER_SENT.search(".".join(map(str, place))), place
        assert not any(b"Evil" in piece for piece in sent(loaded.policies))


def test_the_lines_of_a_snapshot_are_found() -> None:
    """Else the test above would look at nothing."""
    policies = compile_sources(Sources((("a.yaml", EVERYTHING.read_bytes()),))).policies
    found = b"".join(sent(policies))
    for line in (
        b"X-Gateway: tollway\r\n",
        b"X-Forwarded-Prefix: /v2\r\n",
        b"Access-Control-Max-Age: 3600\r\n",
    ):
        assert line in found


CHECKS = [
    (texts.check_name, texts.NAME),
    (texts.check_title, ".{1,5}"),
    (texts.check_method, texts.METHOD),
    (texts.check_host, texts.HOST),
    (texts.check_host_or_below, texts.HOST_OR_BELOW),
    (texts.check_link, texts.LINK),
    (texts.check_path, texts.PATH),
    (texts.check_new_path, texts.NEW_PATH),
    (texts.check_prefix, texts.PREFIX),
    (header_texts.check_header_name, header_texts.HEADER_NAME),
    (header_texts.check_header_value, header_texts.HEADER_VALUE),
    (target_texts.check_target, target_texts.TARGET),
    (target_texts.check_request_target, target_texts.REQUEST_TARGET),
]


@pytest.mark.parametrize(("check", "pattern"), CHECKS, ids=[check.__name__ for check, _ in CHECKS])
def test_what_a_check_lets_pass_is_one_line(check: Callable[[object], str], pattern: str) -> None:
    """The pattern alone, as others might apply it, lets a line feed pass behind the text."""
    likely = some.from_regex(pattern)
    spoilt = some.tuples(likely, some.sampled_from(["", *ENDS, "\n", "\r", "\0", "\x85", "\u2028"])).map(
        "".join
    )

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(some.one_of(likely, spoilt, some.text()))
    def holds(text: str) -> None:
        try:
            passed = check(text)
        except ValueError:
            return
        assert passed == text
        assert not re.search(r"[\x00-\x08\x0a-\x1f\x7f\x85\u2028\u2029]", passed)

    holds()
