"""Policy folders that must pass and files that must not, each with the exact problems beside it.

`python tests/policies/test_policies.py` writes the `.txt` files anew: read the difference before
you commit it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.policy.load import Loaded, compile_sources, load_folder
from gateway.policy.problems import Problems
from gateway.policy.sources import Sources, read_folder

HERE = Path(__file__).parent
VALID = sorted(path for path in (HERE / "valid").iterdir())
BROKEN = sorted(path for path in (HERE / "broken").iterdir() if path.suffix != ".txt")


def _load(path: Path) -> Loaded:
    """Names in problems are relative, so that they are the same on every machine."""
    if path.is_dir():
        return compile_sources(read_folder(path, Problems()))
    return compile_sources(Sources(((path.name, path.read_bytes()),)))


def _problems(path: Path) -> str:
    return "".join(f"{problem}\n" for problem in _load(path).problems)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_valid_policies_have_no_problem(path: Path) -> None:
    loaded = _load(path)
    assert loaded.problems == ()
    assert loaded.policies is not None
    assert loaded.policies.digest == loaded.sources.digest


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_broken_policies_have_exactly_these_problems(path: Path) -> None:
    assert _load(path).policies is None
    assert _problems(path) == path.with_suffix(".txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", BROKEN, ids=lambda path: path.stem)
def test_no_problem_repeats_a_secret(path: Path) -> None:
    assert "canary" not in _problems(path)


def test_every_expectation_belongs_to_a_case() -> None:
    cases = {path.stem for path in BROKEN}
    assert {path.stem for path in (HERE / "broken").glob("*.txt")} == cases


def test_the_example_folder_is_valid() -> None:
    loaded = load_folder(HERE.parents[1] / "policies")
    assert loaded.problems == ()
    assert loaded.policies is not None
    assert list(loaded.policies.tiers) == ["community", "team", "scale"]
    assert [route.name for route in loaded.policies.routes][-1] == "everything-else"


if __name__ == "__main__":
    for case in BROKEN:
        case.with_suffix(".txt").write_text(_problems(case), encoding="utf-8")
