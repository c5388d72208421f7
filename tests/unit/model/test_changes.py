from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.changes import HeaderChange, PathChange, RequestChange, folded

RULES = HeaderChange(frozenset((b"x-one", b"x-two")), b"X-One: ours\r\n")


@pytest.mark.parametrize(
    ("name", "same"),
    [
        (b"X-Api-Version", b"x-api-version"),
        (b"x_API_version", b"x-api-version"),
        (b"x.api~version", b"x-api-version"),
        (b"X-Api--Version", b"x-api--version"),
        (b"ETag2", b"etag2"),
    ],
)
def test_what_spellings_have_in_common(name: bytes, same: bytes) -> None:
    assert folded(name) == same


@pytest.mark.parametrize(
    ("case", "pieces", "kept"),
    [
        ("nothing there", [], b""),
        ("something else", [b"X-Three: 3\r\n"], b"X-Three: 3\r\n"),
        ("the name", [b"X-Two: 2\r\n", b"A: b\r\n"], b"A: b\r\n"),
        ("every line of it", [b"X-Two: 1\r\nA: b\r\nX-Two: 2\r\n"], b"A: b\r\n"),
        ("in any case", [b"x-TWO: 2\r\n"], b""),
        ("in the spelling of variables", [b"X_Two: 2\r\n"], b""),
        ("in pieces of a line", [b"X-Two", b": ", b"2", b"\r\n", b"A", b": ", b"b", b"\r\n"], b"A: b\r\n"),
        ("in pieces of any kind", [b"A: b\r", b"\nX-T", b"wo: 2\r\nC: d\r\n"], b"A: b\r\nC: d\r\n"),
        ("without a value", [b"X-Two: \r\n"], b""),
        ("a longer name stays", [b"X-Two-Three: 2\r\n"], b"X-Two-Three: 2\r\n"),
        ("a value like it stays", [b"A: X-Two: 2\r\n"], b"A: X-Two: 2\r\n"),
        ("bytes of any kind stay", [b"A: \xff\xfe\t b \r\n"], b"A: \xff\xfe\t b \r\n"),
    ],
)
def test_lines_that_are_dropped(case: str, pieces: list[bytes], kept: bytes) -> None:
    before = list(pieces)
    assert b"".join(RULES.without_dropped(pieces)) == kept
    assert b"".join(RULES.apply(pieces)) == kept + b"X-One: ours\r\n"
    assert pieces == before, "a retry begins with the same lines"


def test_rules_that_only_add_touch_nothing() -> None:
    lines = [b"X-One: 1\r", b"\n"]
    assert HeaderChange(frozenset(), b"X-One: 2\r\n").apply(lines) == [b"X-One: 1\r", b"\n", b"X-One: 2\r\n"]


NAMES = st.from_regex(rb"\A[A-Za-z0-9!#$%&'*+.^_`|~-]{1,12}\Z") | st.sampled_from(
    [b"X-One", b"x_one", b"X.ONE", b"x-two", b"X_TWO", b"XTwo", b"X-One-", b"-X-One"]
)
VALUES = st.binary(max_size=20).map(lambda raw: bytes(b for b in raw if b not in b"\r\n\0"))


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.data())
def test_no_caller_gets_a_line_past_the_rules_under_another_spelling(
    lines: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    raw = b"".join(b"%b: %b\r\n" % line for line in lines)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(raw)), max_size=6)))
    pieces = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]
    made = b"".join(RULES.apply(pieces))
    stay = [line for line in lines if folded(line[0]) not in RULES.dropped]
    assert made == b"".join(b"%b: %b\r\n" % line for line in stay) + RULES.added
    environ = [b"HTTP_" + name.upper().replace(b"-", b"_") for name, _ in stay]  # as WSGI and CGI have it
    assert b"HTTP_X_ONE" not in environ
    assert b"HTTP_X_TWO" not in environ


@pytest.mark.parametrize(
    ("case", "change", "path", "made"),
    [
        ("a prefix goes", PathChange((), 2), "/v1/a/b", "/a/b"),
        ("all goes", PathChange((), 2), "/v1", "/"),
        ("all but the slash goes", PathChange((), 2), "/v1/", "/"),
        ("another comes", PathChange(("x", "y"), 2), "/v1/a/", "/x/y/a/"),
        ("before the root", PathChange(("x",), 1), "/", "/x/"),
        ("only the new one", PathChange(("x",), None), "/v1/a/", "/x"),
        ("only the root", PathChange((), None), "/v1/a/", "/"),
        ("segments change places", PathChange((2, "x", 1), None), "/a/b", "/b/x/a"),
        ("the rest follows", PathChange((2, 1), 3), "/a/b/c/d", "/b/a/c/d"),
    ],
)
def test_a_new_path(case: str, change: PathChange, path: str, made: str) -> None:
    assert change.apply(path) == made


def test_what_is_not_to_change_stays() -> None:
    lines = [b"A: b\r\n"]
    assert RequestChange(None, None).lines(lines) is lines
    assert RequestChange(None, None).target("/a", b"?b=%2F..&c=/../d") == b"/a?b=%2F..&c=/../d"
    assert RequestChange(PathChange((), 2), None).target("/a/b", b"?a=/a") == b"/b?a=/a"
