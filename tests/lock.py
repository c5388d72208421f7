"""Is what `make` installs still what `pyproject.toml` asks for? Answered offline, from the files alone."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
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


GROUPS = {"run.txt": ("build",), "compile.txt": ("build", "compile"), "dev.txt": ("build", "compile", "dev")}
"""What each lock file answers beside the dependencies proper."""

WITHOUT_SERVERS = "compile.txt"
"""For the image, which embeds none."""


def problems_of(project: dict[str, dict[str, object]], locks: Mapping[str, str]) -> list[str]:
    """All disagreements between `pyproject.toml` and the lock files, given by their names."""
    problems = []
    pins_of = {}
    for name, groups in GROUPS.items():
        pins_of[name], bare = read_pins(locks[name])
        asked = _texts(project["project"]["dependencies"])
        if name != WITHOUT_SERVERS:
            asked += _texts(project["project"]["optional-dependencies"], "embedded")
        for group in groups:
            asked += _texts(project["dependency-groups"], group)
        problems += [f"{name}: {problem}" for problem in unmet(asked, pins_of[name])]
        problems += [f"{name}: {one} has no hash" for one in bare]
    for name in ("run.txt", "compile.txt"):
        problems += [
            f"{one} differs between {name} and dev.txt"
            for one, versions in pins_of[name].items()
            if pins_of["dev.txt"].get(one) != versions
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
    locks = {name: (ROOT / "requirements" / name).read_text() for name in GROUPS}
    problems = problems_of(tomllib.loads((ROOT / "pyproject.toml").read_text()), locks)
    for problem in problems:
        print(f"requirements: {problem}; `make lock` mends it")
    sys.exit(1 if problems else 0)


if __name__ == "__main__":
    main()
