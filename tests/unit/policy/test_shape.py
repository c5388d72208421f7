from __future__ import annotations

import pytest

from gateway.policy.problems import MOST_PROBLEMS, Problems
from gateway.policy.shape import part_schema, read_part
from gateway.policy.tree import Loc, Tree, read_tree


def _tree(text: str, problems: Problems) -> Tree:
    tree = read_tree("a.yaml", text, problems)
    assert tree is not None
    return tree


def test_a_good_entry_becomes_a_document() -> None:
    problems = Problems()
    tree = _tree("tiers:\n  free: {title: Free}\n", problems)
    read = read_part(tree, tree.value, problems)
    assert read.document is not None
    assert read.document.tiers["free"].title == "Free"
    assert not read.partial
    assert not list(problems)


@pytest.mark.parametrize(
    ("case", "entry", "partial", "left"),
    [
        ("an unknown key takes nothing away", "{extends: a, titel: x}", False, {"extends": "a"}),
        ("a wrong value goes", "{extends: a, title: 1}", True, {"extends": "a"}),
        ("a wrong item takes its list along", "{extends: a, features: [b, 1]}", True, {"extends": "a"}),
        ("so does one that lacks something", "{extends: a, limits: [{name: b}]}", True, {"extends": "a"}),
        ("a price without an amount goes", "{price: {currency: USD}, extends: a}", True, {"extends": "a"}),
    ],
)
def test_what_is_good_of_a_broken_entry_is_kept(
    case: str, entry: str, partial: bool, left: dict[str, object]
) -> None:
    problems = Problems()
    tree = _tree(f"tiers:\n  free: {entry}\n", problems)
    read = read_part(tree, tree.value, problems)
    assert len(problems) >= 1
    assert read.partial is partial
    assert read.document is not None
    assert read.document.tiers["free"].model_dump(exclude_unset=True) == left


@pytest.mark.parametrize(
    ("case", "text"),
    [
        ("a route without a name", "routes: [{match: {path: /}, upstream: a}]\n"),
        ("a route without a path", "routes: [{name: a, match: {}, upstream: a}]\n"),
        ("an upstream without targets", "upstreams: {a: {}}\n"),
        ("a section of the wrong kind", "tiers: []\n"),
        ("an unknown section", "tier: {}\n"),
        ("a name that is none", "tiers: {A B: {}}\n"),
    ],
)
def test_nothing_is_left_without_what_is_required(case: str, text: str) -> None:
    problems = Problems()
    tree = _tree(text, problems)
    assert read_part(tree, tree.value, problems).document is None
    assert len(problems) == 1


def test_a_place_that_had_its_problem_gets_no_second_one() -> None:
    problems = Problems()
    tree = _tree("tiers:\n  free: {features: ~, limits: [&x 1]}\n", problems)
    before = len(problems)
    assert read_part(tree, tree.value, problems).partial
    assert len(problems) == before


def test_a_route_is_named_by_its_place_in_the_file() -> None:
    problems = Problems()
    tree = _tree("routes:\n  - {}\n  - {}\n  - {upstream: a, match: {path: /}, name: 1}\n", problems)
    routes = tree.value["routes"]
    assert isinstance(routes, list)
    read_part(tree, {"routes": routes[2:]}, problems, route=2)
    assert [(problem.line, problem.where) for problem in problems] == [(4, "routes[2].name")]


def test_a_flood_of_wrong_keys_is_cut() -> None:
    problems = Problems()
    tree = _tree("tiers: {free: {" + ",".join(f"x{n}: 1" for n in range(5000)) + "}}\n", problems)
    read_part(tree, tree.value, problems)
    assert len(problems) == MOST_PROBLEMS


@pytest.mark.parametrize(
    ("loc", "key"),
    [
        ((), "tiers"),
        (("tiers", "any-name"), "extends"),
        (("tiers", "any-name", "limits", 7), "burst"),
        (("routes", 3, "match"), "path"),
        (("upstreams", "x", "timeouts"), "connect"),
    ],
)
def test_the_schema_of_a_place_lists_its_keys(loc: Loc, key: str) -> None:
    assert key in part_schema(loc)["properties"]


def test_a_place_that_is_not_in_the_schema_has_none() -> None:
    assert part_schema(("tiers", "x", "nowhere", 1, "at", "all")) == {}
