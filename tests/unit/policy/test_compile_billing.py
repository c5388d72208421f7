from __future__ import annotations

from fractions import Fraction

import pytest

from gateway.model.billing import USUAL, Billing, Measure
from gateway.model.policies import PolicySet
from gateway.outcomes import Outcome
from gateway.policy.billing_documents import BillOnDocument
from gateway.policy.compile_billing import compile_bill_on
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources


def compiled(route: str, rest: str = "") -> PolicySet:
    text = f"""
upstreams: {{up: {{targets: [http://up]}}, next: {{targets: [http://next]}}}}
meters: {{tokens: {{unit: token}}, cents: {{unit: cent, scale: 1000000}}}}
tiers: {{free: {{}}}}
routes:
  - name: r
    match: {{path: /**}}
{route}
{rest}
"""
    loaded = compile_sources(Sources((("a.yaml", text.encode()),)))
    assert loaded.policies is not None, loaded.problems
    return loaded.policies


def billing(route: str, rest: str = "") -> Billing | None:
    return compiled(f"    upstream: up\n{route}", rest).routes[0].billing


@pytest.mark.parametrize(
    ("case", "ends", "outcome", "billed", "free"),
    [
        ("true is every one", True, Outcome.CLIENT_ABORTED, (0, 200, 408, 500), ()),
        ("false is none", False, Outcome.SERVED, (), (200, 404)),
        ("a class", ["2xx"], Outcome.SERVED, (200, 299), (199, 300, 404, 0)),
        ("a status", ["2xx", 404], Outcome.SERVED, (200, 404), (403, 405)),
        ("a class has not our own 408", ["4xx"], Outcome.CLIENT_ABORTED, (404,), (408, 0)),
        ("unless it is named", ["4xx", 408], Outcome.CLIENT_ABORTED, (404, 408), (0,)),
        ("a class has the upstream's 408", ["4xx"], Outcome.SERVED, (408,), ()),
    ],
)
def test_what_is_billed(
    case: str, ends: bool | list[str | int], outcome: Outcome, billed: tuple[int, ...], free: tuple[int, ...]
) -> None:
    document = BillOnDocument.model_validate({outcome.label: ends})
    bill_on = compile_bill_on(document, USUAL)
    assert all(bill_on.bills(outcome, status) for status in billed), case
    assert not any(bill_on.bills(outcome, status) for status in free), case


def test_a_route_that_bills_as_usual_has_nothing_to_decide() -> None:
    assert billing("") is None
    assert billing("    charges: {tokens: 5}") is None
    assert billing("    bill_on: {served: true, timeout: false}") is None
    written = "bill_on: {client_aborted: [1xx, 2xx, 3xx, 4xx], served: [1xx, 2xx, 3xx, 4xx, 5xx]}"
    assert billing("", written) is not None, (
        "what is written is the rule, though no answer shows a difference"
    )


def test_the_innermost_rule_decides_about_each_outcome() -> None:
    route = """
    bill_on: {timeout: true, served: [2xx]}
    charges: {api_calls: 1, tokens: {bill_on: {timeout: false}}}
"""
    found = billing(route, "bill_on: {timeout: false, upstream_error: true, served: [3xx]}")
    assert found is not None
    calls, tokens = found.rules["api_calls"].bill_on, found.rules["tokens"].bill_on
    assert (calls.bills(Outcome.TIMEOUT, 504), tokens.bills(Outcome.TIMEOUT, 504)) == (True, False)
    for bill_on in (calls, tokens):
        assert bill_on.bills(Outcome.UPSTREAM_ERROR, 500)
        assert (bill_on.bills(Outcome.SERVED, 200), bill_on.bills(Outcome.SERVED, 302)) == (True, False)
        assert bill_on.bills(Outcome.CLIENT_ABORTED, 200), "where nobody says anything it is as usual"


def test_values_with_all_that_is_said_of_them() -> None:
    found = billing("""
    charges:
      tokens:
        response_header: X-Tokens
        response_trailer: X-Tokens-Behind
        response_json: usage.total
        response_events: [usage.total, message.usage.total]
        times: 2
        per: 3
        default: 4
        reserve: 5
        max: 6
        within: 2KiB
      cents: {response_json: cost, times: 2}
""")
    assert found is not None
    assert found.reads
    assert found.headers == {b"x-tokens"}
    value, cents = found.rules["tokens"].value, found.rules["cents"].value
    assert value is not None
    assert cents is not None
    assert (value.header, value.trailer) == (b"x-tokens", b"x-tokens-behind")
    assert value.json == (("usage", "total"),)
    assert value.events == (("usage", "total"), ("message", "usage", "total"))
    assert (value.factor, value.default, value.reserve) == (Fraction(2, 3), 4, 5)
    assert (value.most, value.within) == (6, 2048)
    assert cents.factor == 2_000_000


def test_what_is_measured_needs_no_answer_to_be_read() -> None:
    found = billing("    charges: {tokens: {measured: seconds, per: 60}}")
    assert found is not None
    value = found.rules["tokens"].value
    assert value is not None
    assert (found.reads, value.measure, value.factor) == (False, Measure.SECONDS, Fraction(1, 60))


def test_all_sides_of_a_split_bill_alike() -> None:
    (route,) = compiled("""
    split: [{upstream: up, weight: 1}, {upstream: next, weight: 1}]
    bill_on: {timeout: true}
""").routes
    assert route.billing is not None
    assert [side.route.billing for side in route.split] == [route.billing] * 2
