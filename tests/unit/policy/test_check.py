from __future__ import annotations

import pytest

from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources

UPSTREAMS = "upstreams: {u: {targets: [http://u]}}\n"
ROUTES = "routes: [{name: r, match: {path: /**}, upstream: u}]\n"


def _problems(text: str, name: str = "a.yaml") -> list[str]:
    return [str(problem) for problem in compile_sources(Sources(((name, text.encode()),))).problems]


def test_the_exact_messages_are_kept_with_the_broken_files() -> None:
    """`tests/policies/broken` holds one file per rule; here is only what a file can not show."""
    assert _problems(UPSTREAMS + ROUTES + "tiers: {t: {}}\n") == []


@pytest.mark.parametrize("section", ["upstreams", "tiers", "routes"])
def test_a_folder_needs_all_three(section: str) -> None:
    parts = {"upstreams": UPSTREAMS, "routes": ROUTES, "tiers": "tiers: {t: {}}\n"}
    del parts[section]
    problems = _problems("".join(parts.values()))
    assert f".: {section}: no file has any; at least one is needed" in problems


def test_nothing_is_said_that_only_follows_from_another_problem() -> None:
    text = (
        "upstreams: {u: {}}\n"
        "tiers: {t: {features: [1]}, s: {extends: t}}\n"
        "meters: {tokens: {}}\n"
        "routes:\n"
        "  - {name: a, match: {path: /**, methods: [get]}, "
        "upstream: u, requires: [x], charges: {tokens: 1}}\n"
        "  - {name: b, match: {path: /b}, upstream: u, requires: [x]}\n"
    )
    places = [problem.split(": ")[1] for problem in _problems(text)]
    assert places == [
        "upstreams.u.targets",
        "tiers.t.features[0]",
        "meters.tokens.unit",
        "routes[a].match.methods[0]",
    ]


def test_one_broken_entry_does_not_hide_what_else_is_wrong_in_it() -> None:
    text = UPSTREAMS + "tiers: {t: {}}\nroutes: [{name: a, match: {path: /}, upstream: v, colour: red}]\n"
    assert len(_problems(text)) == 2


def test_an_inherited_name_clash_is_seen() -> None:
    text = (
        UPSTREAMS
        + ROUTES
        + "tiers:\n  a: {limits: [{name: x, rate: 1/second, burst: 1}]}\n"
        + "  b: {extends: a, quotas: [{name: x, meter: api_calls, amount: 1, per: day}]}\n"
    )
    problems = _problems(text)
    assert len(problems) == 1
    assert "tiers.b: a limit and a quota are both called `x`" in problems[0]
