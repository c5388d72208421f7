"""Is what `make` installs still what `pyproject.toml` asks for? Answered offline, from the files alone."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
_PIN = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^\s;\\]+)")

Pins = dict[str, set[str]]


def read_pins(text: str) -> tuple[Pins, list[str]]:
    """Pinned versions by name (a marker may split one name), and the pins that carry no hash."""
    pins: Pins = {}
    without_hash = []
    for block in re.split(r"\n(?=[A-Za-z0-9])", text):
        if found := _PIN.match(block):
            pins.setdefault(canonicalize_name(found["name"]), set()).add(found["version"])
            if "--hash=sha256:" not in block:
                without_hash.append(found["name"])
    return pins, without_hash


def unmet(asked: Iterable[str], pins: Pins) -> list[str]:
    """Requirements that no pin, or a pin of another version, answers."""
    problems = []
    for text in asked:
        requirement = Requirement(text)
        pinned = pins.get(canonicalize_name(requirement.name), set())
        wrong = [
            version for version in pinned if not requirement.specifier.contains(version, prereleases=True)
        ]
        if not pinned:
            problems.append(f"{requirement.name} is asked for but not pinned")
        problems += [f"{requirement.name} is pinned at {version}, asked for: {text}" for version in wrong]
    return problems


def problems_of(project: dict[str, dict[str, object]], run: str, dev: str) -> list[str]:
    """All disagreements between `pyproject.toml` and the two lock files."""
    run_pins, run_bare = read_pins(run)
    dev_pins, dev_bare = read_pins(dev)
    asked = _texts(project["project"]["dependencies"])
    asked += _texts(project["project"]["optional-dependencies"], "embedded")
    asked += _texts(project["dependency-groups"], "build")
    problems = [f"run.txt: {problem}" for problem in unmet(asked, run_pins)]
    asked += _texts(project["dependency-groups"], "dev")
    problems += [f"dev.txt: {problem}" for problem in unmet(asked, dev_pins)]
    problems += [f"{name} has no hash" for name in run_bare + dev_bare]
    problems += [
        f"{name} differs between run.txt and dev.txt"
        for name, versions in run_pins.items()
        if dev_pins.get(name) != versions
    ]
    return problems


def _texts(node: object, name: str | None = None) -> list[str]:
    if name is not None:
        assert isinstance(node, dict)
        node = node[name]
    assert isinstance(node, list)
    return [str(text) for text in node]


def main() -> None:
    """Print the disagreements; exit 1 if there are any."""
    problems = problems_of(
        tomllib.loads((ROOT / "pyproject.toml").read_text()),
        (ROOT / "requirements/run.txt").read_text(),
        (ROOT / "requirements/dev.txt").read_text(),
    )
    for problem in problems:
        print(f"requirements: {problem}; `make lock` mends it")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
