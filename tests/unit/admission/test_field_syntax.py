"""Whatever the policies say: the RateLimit fields are Lists (RFC 9651), and what they say is sane."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.admission.charges import Charges
from gateway.admission.decider import Decider
from gateway.admission.fields import granted_lines, leased_lines, refused_lines
from gateway.admission.memory_store import MemoryStore
from gateway.admission.refusal import refusal
from gateway.admission.store import EXACT, Ask, Decision, Status
from gateway.clock import ManualClock
from gateway.inline import drive
from gateway.model.policies import ChargePlan, Limit, Quota
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources
from gateway.policy.texts import NAME
from gateway.policy.values import LARGEST
from gateway.routing.plans import Plans, Upgrades
from tests.unit.admission.structured import Item, parse_list

NOON_US = 1_784_030_400_000_000  # 2026-07-14 12:00:00
WINDOWS_S = {"hour": 3600, "day": 86_400, "month": None}
LONGEST_S = 31 * 86_400

names = st.from_regex(re.compile(NAME), fullmatch=True)
amounts = st.one_of(st.integers(1, 1000), st.integers(1, LARGEST))
limits = st.tuples(
    st.one_of(st.integers(1, 100), st.integers(1, 999_999_999)),
    st.sampled_from(["second", "minute", "hour", "day"]),
    st.one_of(st.integers(1, 100), st.integers(1, 10**9)),
)
quotas = st.tuples(amounts, st.sampled_from(sorted(WINDOWS_S)), st.booleans())


@st.composite
def plans(draw: st.DrawFn) -> ChargePlan:
    """What a call pays under policies that the checks let pass."""
    some_limits = draw(st.lists(limits, max_size=4))
    counters = st.lists(quotas, min_size=0 if some_limits else 1, max_size=4, unique_by=lambda one: one[1:])
    some_quotas = draw(counters)
    count = len(some_limits) + len(some_quotas)
    called = draw(st.lists(names, min_size=count, max_size=count, unique=True))
    tier = {
        "limits": [
            {"name": called.pop(), "rate": f"{tokens}/{per}", "burst": burst}
            for tokens, per, burst in some_limits
        ],
        "quotas": [
            {"name": called.pop(), "meter": "tokens" if own else "api_calls", "amount": amount, "per": per}
            for amount, per, own in some_quotas
        ],
    }
    least = min([amount for amount, _, _ in some_quotas], default=1)
    cost = draw(st.integers(1, least))
    charges = {"api_calls": cost, "tokens": draw(st.integers(1, least))}
    document = {
        "upstreams": {"u": {"targets": ["http://u"]}},
        "meters": {"tokens": {"unit": draw(names)}},
        "tiers": {"t": tier},
        "routes": [{"name": "r", "match": {"path": "/**"}, "upstream": "u", "charges": charges}],
    }
    loaded = compile_sources(Sources((("a.yaml", json.dumps(document).encode()),)))
    assert loaded.policies is not None, loaded.problems
    policies = loaded.policies
    return Plans(policies, Upgrades(policies, "http://portal")).plan(policies.tiers["t"], policies.routes[0])


def fields(lines: bytes) -> tuple[list[Item], list[Item]]:
    """Both lists, from complete header lines."""
    policy, limit = lines.removesuffix(b"\r\n").split(b"\r\n")
    assert policy.startswith(b"RateLimit-Policy: ")
    assert limit.startswith(b"RateLimit: ")
    return parse_list(policy.partition(b": ")[2]), parse_list(limit.partition(b": ")[2])


class Counters:
    """Counters of one account, asked without an event loop."""

    def __init__(self) -> None:
        self.clock = ManualClock(NOON_US)
        self._decider = Decider(MemoryStore(self.clock))

    def ask(self, plan: ChargePlan, ask: Ask) -> tuple[Charges, Decision]:
        answers: list[tuple[Charges, Decision]] = []

        async def look() -> None:
            answers.append(await self._decider.decide("7l", plan, ask))

        drive(look(), lambda error: None)
        return answers[0]

    def use_up(self, plan: ChargePlan) -> None:
        """Make as many calls as pass now."""
        charges, standing = self.ask(plan, Ask(calls=0))
        calls = min(left // cost for left, cost in zip(standing.left, charges.costs, strict=True))
        assert self.ask(plan, Ask(calls=calls))[1].status is Status.ADMITTED


def expect_sane(plan: ChargePlan, lines: bytes) -> None:
    """Both lists name every policy once; figures are within what the policies say."""
    policies, standings = fields(lines)
    known: list[Limit | Quota] = [*plan.limits, *(quota for quota, _ in plan.quotas)]
    assert [name for name, _ in policies] == [one.name for one in known]
    assert sorted(name for name, _ in standings) == sorted(one.name for one in known)
    by_name = dict(standings)
    for one, (name, policy) in zip(known, policies, strict=True):
        standing = by_name[name]
        most = one.burst if isinstance(one, Limit) else one.amount
        assert policy["q"] == (one.tokens if isinstance(one, Limit) else one.amount)
        assert policy.get("w", 1) in {1, 60, 3600, 86_400}
        assert set(standing) == {"r", "t"}
        assert 0 <= int(standing["r"]) <= most
        assert int(standing["t"]) >= 1
        if isinstance(one, Quota):
            assert int(standing["t"]) <= LONGEST_S


@given(plans(), st.integers(0, 256), st.integers(0, 10**7))
def test_the_fields_of_admitted_calls(plan: ChargePlan, wanted: int, later_ms: int) -> None:
    counters = Counters()
    counters.clock.advance(later_ms / 1000)
    charges, decision = counters.ask(plan, Ask("w1", 1, wanted))
    assert decision.status is Status.ADMITTED
    expect_sane(plan, granted_lines(charges, decision))
    template = leased_lines(charges, decision, decision.extra)
    for calls in {0, decision.extra // 2, decision.extra}:
        lefts = [decision.left[one] + calls * charges.costs[one] for one in template.shown]
        expect_sane(plan, template.lines % tuple(lefts))


@given(plans(), st.integers(0, 10**7))
def test_who_waits_as_long_as_told_is_let_in(plan: ChargePlan, later_ms: int) -> None:
    counters = Counters()
    counters.clock.advance(later_ms / 1000)
    for _ in range(3):  # when one period has ended, a longer one may still refuse
        counters.use_up(plan)
        charges, decision = counters.ask(plan, EXACT)
        assert decision.status is Status.REFUSED
        expect_sane(plan, refused_lines(charges, decision))
        error = refusal(plan, charges, decision)
        retry_after_s = int(error.headers.partition(b"Retry-After: ")[2])
        json.dumps(dict(error.extensions))
        standings = dict(fields(refused_lines(charges, decision))[1])
        violated = error.extensions["violated-policies"]
        assert isinstance(violated, list)
        assert retry_after_s == max(standings[name]["t"] for name in violated)
        counters.clock.advance(retry_after_s)
        assert counters.ask(plan, EXACT)[1].status is Status.ADMITTED


@pytest.mark.parametrize(
    ("case", "field"),
    [
        ("sixteen digits", b'"a";q=1000000000000000'),
        ("a quotation mark", b'"a"b";q=1'),
        ("a decimal", b'"a";r=1.5'),
        ("a trailing comma", b'"a";r=1,'),
        ("a capital letter", b'"a";R=1'),
        ("space before a parameter", b'"a" ;r=1'),
        ("nothing", b""),
        ("a token", b"a;r=1"),
    ],
)
def test_the_reader_is_strict(case: str, field: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_list(field)
