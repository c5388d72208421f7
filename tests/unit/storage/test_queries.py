"""SQL files become attributes."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.storage.queries import load_queries


def write(folder: Path, text: str) -> str:
    (folder / "some.sql").write_text(text)
    return str(folder / "module.py")


def test_sections_become_queries_without_their_comments(tmp_path: Path) -> None:
    module = write(
        tmp_path,
        "-- first\n-- What it does.\n-- word\nSELECT 1\n  -- why\n  + 1;\n\n-- second\nSELECT 2;\n",
    )
    queries = load_queries(module, "some")
    assert queries.first == "SELECT 1\n  + 1;"
    assert queries.second == "SELECT 2;"
    assert dir(queries) == ["first", "second"]
    assert load_queries(module, "some.sql").second == "SELECT 2;"


def test_a_name_that_is_not_there_says_which_file_lacks_it(tmp_path: Path) -> None:
    queries = load_queries(write(tmp_path, "-- first\nSELECT 1;\n"), "some")
    with pytest.raises(AttributeError, match=r"some\.sql has no query `frist`"):
        _ = queries.frist


@pytest.mark.parametrize(
    ("case", "text", "message"),
    [
        ("a name twice", "-- one\nSELECT 1;\n\n-- one\nSELECT 2;\n", "two queries named `one`"),
        ("nothing behind a name", "-- one\n-- Comment.\n\n-- two\nSELECT 2;\n", "`one` is empty"),
        ("no name", "SELECT 1;\n", "SQL before its first"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, case: str, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_queries(write(tmp_path, text), "some")
