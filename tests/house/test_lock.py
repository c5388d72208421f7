"""A lock that no longer fits `pyproject.toml` is noticed without a network."""

from __future__ import annotations

import pytest

from tests.lock import problems_of

PROJECT: dict[str, dict[str, object]] = {
    "project": {
        "dependencies": ["alpha>=2", "Split.Name>=1"],
        "optional-dependencies": {"embedded": ["beta>=1; python_version < '3.13'"]},
    },
    "dependency-groups": {"build": ["gamma"], "compile": ["epsilon"], "dev": ["delta>=3"]},
}
HASH = " \\\n    --hash=sha256:00\n    # via tollway\n"
RUN = (
    f"# made by make lock\nalpha==2.1{HASH}"
    f"beta==1.0 ; python_full_version < '3.13'{HASH}"
    f"gamma==5{HASH}"
    f"split-name==1.0 ; python_version < '3.12'{HASH}"
    f"split-name==1.1 ; python_version >= '3.12'{HASH}"
)
COMPILE = f"{RUN}epsilon==1{HASH}"
DEV = f"{COMPILE}delta==3.5{HASH}"


def test_a_lock_that_fits_has_no_problems() -> None:
    assert problems_of(PROJECT, {"run.txt": RUN, "compile.txt": COMPILE, "dev.txt": DEV}) == []


@pytest.mark.parametrize(
    ("case", "run", "dev", "said"),
    [
        ("a dependency is new", RUN.replace("gamma==5", "other==5"), DEV, "run.txt: gamma is asked for"),
        (
            "a floor was raised",
            RUN.replace("alpha==2.1", "alpha==1.9"),
            DEV,
            "run.txt: alpha is pinned at 1.9",
        ),
        (
            "one of two pins is old",
            RUN.replace("==1.1", "==0.9"),
            DEV,
            "run.txt: Split.Name is pinned at 0.9",
        ),
        ("a tool is new", RUN, DEV.replace("delta==3.5", "other==1"), "dev.txt: delta is asked for"),
        ("the files differ", RUN, DEV.replace("gamma==5", "gamma==6"), "gamma differs between"),
        (
            "a hash is missing",
            RUN.replace(f"gamma==5{HASH}", "gamma==5\n"),
            DEV,
            "run.txt: gamma has no hash",
        ),
    ],
)
def test_what_does_not_fit_is_named(case: str, run: str, dev: str, said: str) -> None:
    problems = problems_of(PROJECT, {"run.txt": run, "compile.txt": COMPILE, "dev.txt": dev})
    assert any(problem.startswith(said) for problem in problems), problems


def test_a_compiler_of_its_own_version_is_named() -> None:
    locks = {"run.txt": RUN, "compile.txt": COMPILE.replace("epsilon==1", "epsilon==2"), "dev.txt": DEV}
    assert problems_of(PROJECT, locks) == ["epsilon differs between compile.txt and dev.txt"]
