from __future__ import annotations

from textwrap import dedent

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import tree as tree_module
from gateway.policy.problems import Problems
from gateway.policy.tree import Tree, read_tree


def _read(text: str) -> tuple[Tree | None, list[str]]:
    problems = Problems()
    tree = read_tree("a.yaml", dedent(text), problems)
    return tree, [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("case", "text", "value"),
    [
        ("an integer", "1000", 1000),
        ("a negative integer", "-5", -5),
        ("a fraction", "1.5", 1.5),
        ("infinity", "-.inf", float("-inf")),
        ("true", "true", True),
        ("yes is a word", "yes", "yes"),
        ("off is a word", "off", "off"),
        ("octal digits are a text", "0100", "0100"),
        ("so are digits by sixties", "1:30", "1:30"),
        ("and digits with underscores", "1_000", "1_000"),
        ("and hexadecimal ones", "0xff", "0xff"),
        ("and more digits than any amount has", "9" * 5000, "9" * 5000),
        ("and dates", "2026-01-01", "2026-01-01"),
        ("quotes make a text", '"1000"', "1000"),
        ("either of them", "'true'", "true"),
        ("a rate", "60/minute", "60/minute"),
        ("a URL", "http://a:1", "http://a:1"),
        ("a block", "|\n  x\n", "x\n"),
        ("collections", "[1, {b: c}]", [1, {"b": "c"}]),
    ],
)
def test_scalars_mean_what_they_look_like(case: str, text: str, value: object) -> None:
    tree, problems = _read(f"a: {text}\n")
    assert problems == []
    assert tree is not None
    assert tree.value["a"] == value
    assert type(tree.value["a"]) is type(value)


def test_every_key_and_item_knows_its_line() -> None:
    tree, _ = _read(
        """\
        # A comment.
        tiers:
          free:
            limits:
              - {name: burst,
                 rate: 1/second}
              - name: other
        """
    )
    assert tree is not None
    assert tree.lines == {
        ("tiers",): 2,
        ("tiers", "free"): 3,
        ("tiers", "free", "limits"): 4,
        ("tiers", "free", "limits", 0): 5,
        ("tiers", "free", "limits", 0, "name"): 5,
        ("tiers", "free", "limits", 0, "rate"): 6,
        ("tiers", "free", "limits", 1): 7,
        ("tiers", "free", "limits", 1, "name"): 7,
    }
    assert tree.where(("tiers", "free", "limits", 0, "rate")) == "tiers.free.limits[burst].rate"
    missing = tree.problem(("tiers", "free", "limits", 1, "burst"), "is required")
    assert str(missing) == "a.yaml:7: tiers.free.limits[other].burst: is required"


@pytest.mark.parametrize(
    ("case", "text", "problem"),
    [
        ("an alias", "a: {x: 1}\nb: *a\n", "a.yaml:2: b: is the alias `*a`"),
        ("an anchor", "a: &x 1\n", "a.yaml:1: a: has the anchor `&x`"),
        ("a tag", "a: !!python/object:os.system []\n", "a.yaml:1: a: has the tag"),
        ("even a harmless tag", "a: !!str 1\n", "a.yaml:1: a: has the tag"),
        ("a bare tag", "a: ! 1\n", "a.yaml:1: a: has the tag `!`"),
        ("a tagged key", "!!str a: 1\n", "a.yaml:1: a: has an anchor or a tag"),
        ("no value", "a:\n  b:\n", "a.yaml:2: a.b: has no value"),
        ("null", "a: null\n", "a.yaml:1: a: has no value"),
        ("a key twice", "a: 1\nb: 2\na: 3\n", "a.yaml:3: a: is already written at a.yaml:1"),
    ],
)
def test_what_can_be_passed_over_is_noted(case: str, text: str, problem: str) -> None:
    tree, problems = _read(text)
    assert tree is not None
    assert len(problems) == 1
    assert problems[0].startswith(problem)


@pytest.mark.parametrize(
    ("case", "text", "problem"),
    [
        ("a tab", "a:\n \tb: 1\n", "a.yaml:2: is indented with a tab"),
        ("a list", "- a\n", "a.yaml:1: must hold keys"),
        ("a text", "a\n", "a.yaml:1: must hold keys"),
        ("nothing between markers", "---\n...\n", "a.yaml:1: must hold keys"),
        ("two documents", "a: 1\n---\nb: 1\n", "a.yaml:2: holds several documents"),
        ("a control character", "a: \x07\n", "a.yaml:1: holds the character U+0007"),
        ("a key that is a list", "[a]: 1\n", "a.yaml:1: has a key that is not plain text"),
        ("a file cut off", "a: [1,\n", "a.yaml:1: is not valid YAML"),
        ("an alias nobody can follow", "*a : 1\n", "a.yaml:1: has a key that is not plain text"),
        ("an unknown tag handle", "a: !e!x 1\n", "a.yaml:1: is not valid YAML"),
    ],
)
@pytest.mark.parametrize("loader", [yaml.SafeLoader, yaml.CSafeLoader], ids=["python", "libyaml"])
def test_what_can_not_be_read_is_one_problem(
    monkeypatch: pytest.MonkeyPatch, loader: type, case: str, text: str, problem: str
) -> None:
    monkeypatch.setattr(tree_module, "_LOADER", loader)
    tree, problems = _read(text)
    assert tree is None
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_tabs_in_comments_and_texts_are_fine() -> None:
    tree, problems = _read('a: 1 #\tnote\nb: "x\ty"\n')
    assert problems == []
    assert tree is not None


@pytest.mark.parametrize(
    ("case", "text", "problem"),
    [
        ("lists within lists", "a: " + "[" * 500_000, "nests deeper"),
        ("mappings within mappings", "a: " + "{a: " * 200_000, "nests deeper"),
        ("blocks within blocks", "\n".join(" " * depth + "a:" for depth in range(1000)), "nests deeper"),
        ("very many values", "a: [" + "1," * 500_000 + "]", "holds more than"),
        (
            "aliases of aliases",
            "a0: &a0 [x]\n"
            + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 50)}]\n" for n in range(200)),
            "is read no further",
        ),
    ],
)
def test_bombs_end_early(case: str, text: str, problem: str) -> None:
    tree, problems = _read(text)
    assert tree is None
    assert len(problems) <= 200
    assert any(problem in line for line in problems) or len(problems) == 200


@given(st.text(alphabet="ab:-[]{}&*!#|>'\"%@,? \n\t~.0", max_size=60))
def test_any_text_is_a_tree_or_a_problem(text: str) -> None:
    tree, problems = _read(text)
    assert tree is not None or problems
