from __future__ import annotations

import pytest
from aiohttp.test_utils import make_mocked_request

from gateway.controlplane.csv_answers import csv_text, wants_csv


@pytest.mark.parametrize(
    ("case", "value", "cell"),
    [
        ("a number", -5, "-5"),
        ("nothing", None, ""),
        ("a name", "builds", "builds"),
        ("a formula", "=1+1", "'=1+1"),
        ("another", "@SUM(A1)", "'@SUM(A1)"),
        ("text that begins like a number", "-cmd", "'-cmd"),
        ("plus", "+49", "'+49"),
        ("a tab", "\tx", "'\tx"),
        ("commas and quotes", 'a,"b"', '"a,""b"""'),
        ("a line end", "a\nb", '"a\nb"'),
        ("units by meter", {"a": 1}, '"{""a"": 1}"'),
    ],
)
def test_no_cell_is_a_formula(case: str, value: object, cell: str) -> None:
    assert csv_text(["x", "y"], [{"x": value, "y": 1}]) == f"x,y\r\n{cell},1\r\n", case


@pytest.mark.parametrize(
    ("form", "accept", "wanted"),
    [
        (None, "application/json", False),
        (None, "text/csv", True),
        (None, "application/json;q=0.5, Text/CSV;q=1", True),
        ("json", "text/csv", False),
        ("csv", "*/*", True),
    ],
)
def test_who_gets_csv(form: str | None, accept: str, wanted: bool) -> None:
    assert wants_csv(make_mocked_request("GET", "/", {"Accept": accept}), form) is wanted
