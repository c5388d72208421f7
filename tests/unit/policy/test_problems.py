from __future__ import annotations

import pytest

from gateway.policy.problems import MOST_PROBLEMS, Problem, Problems, meant, shown


@pytest.mark.parametrize(
    ("case", "problem", "text"),
    [
        (
            "a place within a file",
            Problem("a.yaml", 3, "tiers.free", "is bad"),
            "a.yaml:3: tiers.free: is bad",
        ),
        ("a line without a key", Problem("a.yaml", 3, "", "is bad"), "a.yaml:3: is bad"),
        ("a whole folder", Problem("policies", 0, "", "is bad"), "policies: is bad"),
    ],
)
def test_a_problem_reads_as_one_line(case: str, problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_problems_come_by_file_and_line_and_each_once() -> None:
    problems = Problems()
    for file, line in [("b.yaml", 1), ("a.yaml", 10), ("a.yaml", 9), ("a.yaml", 9)]:
        problems.add(Problem(file, line, "", "is bad"))
    assert [(problem.file, problem.line) for problem in problems.sorted()] == [
        ("a.yaml", 9),
        ("a.yaml", 10),
        ("b.yaml", 1),
    ]


def test_a_flood_of_problems_ends_and_says_so() -> None:
    problems = Problems()
    for line in range(10 * MOST_PROBLEMS):
        problems.add(Problem("a.yaml", line, "", "is bad"))
    assert problems.full
    listed = problems.sorted()
    assert len(listed) == MOST_PROBLEMS + 1
    assert "there may be more" in listed[-1].message


@pytest.mark.parametrize(
    ("case", "value", "text"),
    [
        ("a number", 12, "12"),
        ("YAML's own word for true", True, "true"),
        ("a URL may hold a password", "http://user:secret@host", "a URL"),
        ("escape codes do not reach the terminal", "\x1b[2J\r\n", "?[2J??"),
        ("a long text is cut", "x" * 1000, "x" * 48 + "..."),
        ("an empty text", "", "nothing"),
        ("collections are not printed", [1, {2: 3}], "a list"),
        ("nor are mappings", {"a": 1}, "keys and values"),
    ],
)
def test_values_are_shown_short_and_harmless(case: str, value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    ("case", "name", "known", "text"),
    [
        ("a slip of the finger", "exprot", ["export", "read"], " Did you mean `export`?"),
        ("nothing alike", "zzz", ["export", "read"], " There is: `export`, `read`."),
        ("nothing there at all", "zzz", [], ""),
    ],
)
def test_a_wrong_name_is_answered_with_a_right_one(case: str, name: str, known: list[str], text: str) -> None:
    assert meant(name, known) == text
