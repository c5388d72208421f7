"""A policy folder in, a snapshot or every problem out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gateway.model.policies import PolicySet
from gateway.policy.check import check
from gateway.policy.check_upstreams import Objection, no_objection
from gateway.policy.compile import compile_policies
from gateway.policy.merge import merge
from gateway.policy.problems import Problem, Problems
from gateway.policy.sources import Sources, read_folder, shown_path
from gateway.policy.tree import Tree, read_tree


@dataclass(frozen=True, slots=True)
class Loaded:
    """What came of a folder: either policies and no problem, or problems and no policies."""

    policies: PolicySet | None
    problems: tuple[Problem, ...]
    sources: Sources


def load_folder(folder: Path, objection: Objection = no_objection) -> Loaded:
    """Read, check and compile every policy file below a folder. Never raises for what is in it.

    `objection` may add what is wrong with a target that only a running gateway can know.
    """
    problems = Problems()
    sources = read_folder(folder, problems)
    if not sources.files:
        return Loaded(None, problems.sorted(), sources)
    return _compile(sources, shown_path(folder), problems, objection)


def load_sources(sources: Sources, objection: Objection) -> Loaded:
    """The same for files that are not in a folder (yet)."""
    return _compile(sources, "", Problems(), objection)


def compile_sources(sources: Sources) -> Loaded:
    """Check and compile policies whose files were read before, as workers do with the accepted bundle."""
    return _compile(sources, "", Problems())


def _compile(
    sources: Sources, folder: str, problems: Problems, objection: Objection = no_objection
) -> Loaded:
    unreadable = len(problems)
    trees = list(_trees(sources, folder, problems))
    whole = not unreadable and len(trees) == len(sources.files)
    merged = merge(trees, folder or ".", problems, whole=whole)
    check(merged, problems, objection)
    policies = None if len(problems) else compile_policies(merged, sources.digest)
    return Loaded(policies, problems.sorted(), sources)


def _trees(sources: Sources, folder: str, problems: Problems) -> Iterator[Tree]:
    for name, content in sources.files:
        if problems.full:
            return
        file = shown_path(Path(folder) / name) if folder else shown_path(Path(name))
        try:
            text = content.decode("utf-8").removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            problems.add(Problem(file, line, "", "is not UTF-8; save it in that encoding"))
            continue
        if not text.strip():
            problems.add(Problem(file, 0, "", "is empty; was it cut off? Write policies or remove the file"))
            continue
        tree = read_tree(file, text, problems)
        if tree is not None:
            yield tree
