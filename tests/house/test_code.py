"""The rules of the house that no linter knows: sizes, names, what every room must say of itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 400
DOCSTRING_LINES_MAX = 6
BANNED_NAMES = {"utils", "common", "helpers", "manager", "core"}

CODE = sorted([*(ROOT / "gateway").rglob("*.py"), *(ROOT / "bench").rglob("*.py")])
ALL_PYTHON = sorted([*CODE, *(ROOT / "tests").rglob("*.py")])
ROOMS = sorted(path for path in (ROOT / "gateway").rglob("__init__.py"))


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("path", CODE, ids=named)
def test_files_and_functions_stay_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX
    long = [
        f"{function.name}: {lines} lines"
        for function in functions(path)
        if (lines := (function.end_lineno or 0) - function.lineno + 1) > FUNCTION_LINES_MAX
    ]
    assert long == []


@pytest.mark.parametrize("path", CODE, ids=named)
def test_everything_has_an_owner(path: Path) -> None:
    """A thing that only fits into `utils` has no room."""
    assert not BANNED_NAMES & {part.removesuffix(".py") for part in path.relative_to(ROOT).parts}


@pytest.mark.parametrize("path", ROOMS, ids=named)
def test_every_room_says_in_a_few_lines_what_it_owns(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text()))
    assert docstring, "what does this room own, and what not?"
    assert len(docstring.splitlines()) <= DOCSTRING_LINES_MAX


@pytest.mark.parametrize("path", CODE, ids=named)
def test_every_file_begins_with_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", ALL_PYTHON, ids=named)
def test_exceptions_to_the_rules_give_a_reason(path: Path) -> None:
    bare = [
        f"{number}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if re.search(r"#\s*(noqa|type:\s*ignore)", line)
        and not re.search(r"#\s*(noqa: [A-Z0-9, ]*[0-9]|type: ignore\[[a-z, -]+\])\s+[-#]*\s*\S", line)
    ]
    assert bare == []


@pytest.mark.parametrize("path", ALL_PYTHON, ids=named)
def test_nothing_is_left_for_later_without_a_number(path: Path) -> None:
    if path != Path(__file__):
        left = re.findall(r"#.*\b(?:TODO(?!\(#\d+\))|FIXME|XXX)\b.*", path.read_text())
        assert left == []


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=named)
def test_no_test_sleeps_instead_of_waiting(path: Path) -> None:
    """Waiting is for something: an event, a line, an answer. `asyncio.sleep(0)` gives way, which is fine."""
    slept = re.findall(r"\btime\.sleep\([^)]*\)", path.read_text())
    if path != Path(__file__):
        assert slept == []
