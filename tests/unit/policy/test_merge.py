from __future__ import annotations

import pytest

from gateway.policy.merge import MOST, Merged, merge
from gateway.policy.problems import Problems
from gateway.policy.tree import read_tree


def _merge(*texts: str) -> tuple[Merged, list[str]]:
    problems = Problems()
    trees = [read_tree(f"{number}.yaml", text, problems) for number, text in enumerate(texts)]
    merged = merge([tree for tree in trees if tree], "policies", problems, whole=None not in trees)
    return merged, [str(problem) for problem in problems]


def test_files_add_up_in_their_order() -> None:
    merged, problems = _merge(
        "tiers: {b: {}}\nroutes: [{name: r1, match: {path: /1}, upstream: u}]\n",
        "tiers: {a: {}}\nmeters: {tokens: {unit: token}}\n",
        "routes: [{name: r0, match: {path: /0}, upstream: u}]\nadmission: {mode: exact}\n",
    )
    assert problems == []
    assert list(merged.tiers) == ["b", "a"]
    assert [entry.document.name for entry in merged.routes if entry.document] == ["r1", "r0"]
    assert list(merged.good_meters()) == ["tokens"]
    assert merged.admission is not None
    assert merged.admission.place == "2.yaml:2"


@pytest.mark.parametrize(
    ("case", "text", "where"),
    [
        ("a tier", "tiers: {a: {}}\n", "tiers.a"),
        ("a meter", "meters: {m: {unit: x}}\n", "meters.m"),
        ("an upstream", "upstreams: {u: {targets: [http://u]}}\n", "upstreams.u"),
        ("the admission", "admission: {}\n", "admission"),
        ("the link", "upgrade_url: https://example.com\n", "upgrade_url"),
    ],
)
def test_a_second_definition_names_both_places(case: str, text: str, where: str) -> None:
    _, problems = _merge(text, "# moved down\n" + text)
    assert len(problems) == 1
    assert problems[0].startswith(f"1.yaml:2: {where}: ")
    assert "at 0.yaml:1;" in problems[0]


def test_a_broken_entry_still_takes_its_name() -> None:
    merged, problems = _merge("upstreams: {u: {}}\n")
    assert len(problems) == 1
    assert merged.may_have("upstreams", "u")
    assert not merged.may_have("upstreams", "v")
    assert merged.good_upstreams() == {}


@pytest.mark.parametrize("text", ["tiers: []\n", "tier: {}\n", "tiers: {a\n"])
def test_with_a_part_missing_any_name_may_be_in_it(text: str) -> None:
    merged, _ = _merge("upstreams: {u: {targets: [http://u]}}\n", text)
    assert merged.may_have("upstreams", "v")


def test_there_is_an_end_to_routes_and_names() -> None:
    route = "  - {name: r, match: {path: /r}, upstream: u}\n"
    _, problems = _merge("routes:\n" + route * (MOST["routes"] + 1))
    assert problems == [
        f"0.yaml:{MOST['routes'] + 2}: routes[r]: is more than the {MOST['routes']} routes allowed"
    ]
    _, problems = _merge(
        "meters: {" + ",".join(f"m{n}: {{unit: x}}" for n in range(MOST["meters"] + 1)) + "}\n"
    )
    assert problems == [
        f"0.yaml:1: meters.m{MOST['meters']}: is more than the {MOST['meters']} meters allowed"
    ]
