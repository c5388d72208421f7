"""What a request begins with, when the parser has no name for it."""

from __future__ import annotations

import pytest

from gateway.dataplane.methods import LONGEST, may_become_one, method_of, with_stand_in


@pytest.mark.parametrize(
    ("case", "begun", "method"),
    [
        ("a made-up one", b"YOINK / HTTP/1.1", b"YOINK"),
        ("empty lines before it", b"\r\n\r\nYOINK / HTTP/1.1", b"YOINK"),
        ("with what else may be in it", b"X-Y /", b"X-Y"),
        ("the longest", b"Y" * LONGEST + b" /", b"Y" * LONGEST),
        ("longer", b"Y" * (LONGEST + 1) + b" /", None),
        ("in small letters", b"yoink /", None),
        ("with a digit", b"YOINK2 /", None),
        ("not yet whole", b"YOIN", None),
        ("followed by another space", b"YOINK\t/", None),
        ("nothing", b" / HTTP/1.1", None),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0", None),
    ],
)
def test_the_method(case: str, begun: bytes, method: bytes | None) -> None:
    assert method_of(begun) == method


@pytest.mark.parametrize(
    ("case", "begun", "may"),
    [
        ("a letter", b"Y", True),
        ("behind an empty line", b"\r\nYOI", True),
        ("whole", b"YOINK ", False),
        ("nothing of it", b"\r\n", False),
        ("no word", b"Y{", False),
        ("too long", b"Y" * (LONGEST + 1), False),
    ],
)
def test_what_may_become_one(case: str, begun: bytes, may: bool) -> None:
    assert may_become_one(begun) is may


def test_only_the_method_is_replaced() -> None:
    assert with_stand_in(b"\r\nY /Y HTTP/1.1\r\nY: Y\r\n", b"Y") == b"\r\nPUT /Y HTTP/1.1\r\nY: Y\r\n"
