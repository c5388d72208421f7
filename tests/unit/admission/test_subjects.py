"""Whose bucket a call pays into."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.admission.subjects import counter_keys
from gateway.model.exchange import Exchange
from gateway.model.networks import address_block
from gateway.model.policies import Limit, Route, Scope, Upstream
from gateway.model.principal import Mode
from tests.unit.admission.plans import call, plan, principal

ROUTE = Route("exports", "/**", frozenset(), frozenset(), Upstream("u", ()), frozenset(), {})


def made(
    *lines: bytes, account_id: int = 7, mode: Mode = Mode.LIVE, address: str = "203.0.113.9"
) -> Exchange:
    exchange = call(account_id, mode)
    exchange.client_address = address
    exchange.route = ROUTE
    exchange.head.lines = list(lines)
    return exchange


def key(scope: Scope, exchange: Exchange) -> str:
    (name,) = counter_keys(plan(Limit("x", 5, 1000, 9, scope)), exchange)
    return name


@pytest.mark.parametrize(
    ("case", "scope", "name"),
    [
        ("the account's own", ("account",), "b:x"),
        ("a key's", ("account", "key"), "b:x:key=1"),
        ("an account's on a route", ("account", "route"), "b:x:route=exports"),
        ("an address within an account", ("account", "ip"), "b:x:ip=203.0.113.9"),
        ("all of them", ("account", "ip", "key", "route"), "b:x:ip=203.0.113.9,key=1,route=exports"),
        ("an address, whoever calls", ("ip",), "{ip=203.0.113.9,l}:b:x:5/1000/9"),
        ("a route, whoever calls", ("route",), "{route=exports,l}:b:x:5/1000/9"),
    ],
)
def test_names(case: str, scope: Scope, name: str) -> None:
    assert key(scope, made()) == name


def test_live_and_test_calls_share_nothing() -> None:
    assert key(("ip",), made(mode=Mode.TEST)) == "{ip=203.0.113.9,t}:b:x:5/1000/9"


TENANT = ("header:x-tenant",)


def test_a_header_counts_by_its_value_whatever_its_case_and_pieces() -> None:
    plain = key(TENANT, made(b"X-Tenant: blue\r\n"))
    assert plain == key(
        TENANT, made(b"Accept", b": ", b"*/*", b"\r\n", b"x-TENANT", b": ", b" blue ", b"\r\n")
    )
    assert plain != key(TENANT, made(b"X-Tenant: red\r\n"))
    assert plain != key(("header:x-other",), made(b"X-Other: blue\r\n"))
    assert "blue" not in plain


def test_a_name_within_another_line_is_not_the_header() -> None:
    lines = (b"X-Note: X-Tenant: blue\r\nMy-X-Tenant: blue\r\n",)
    assert key(TENANT, made(*lines)) == key(TENANT, made())


def test_several_lines_are_one_value() -> None:
    both = key(TENANT, made(b"X-Tenant: a\r\nX-Tenant: b\r\n"))
    assert both == key(TENANT, made(b"X-Tenant: a,b\r\n")), "as RFC 9110, section 5.3 has it"
    assert both != key(TENANT, made(b"X-Tenant: a\r\n"))


def test_without_the_header_an_account_is_by_itself() -> None:
    assert key(TENANT, made()) == "{account=7,l}:b:x:5/1000/9"
    assert key(TENANT, made(account_id=8)) != key(TENANT, made())
    assert key(("account", "header:x-tenant"), made()) == "b:x:"
    assert key(("account", "header:x-tenant"), made()) != key(
        ("account", "header:x-tenant"), made(b"X-Tenant:\r\n")
    )


ORG = "claim:https://acme.example/org"


def test_a_claim_counts_by_its_value() -> None:
    def by(*claims: tuple[str, str], scope: Scope = (ORG,)) -> str:
        exchange = made()
        exchange.principal = replace(principal(), claims=claims)
        return key(scope, exchange)

    one = ("https://acme.example/org", "d1")
    assert by(one) == "{claim=d1,l}:b:x:5/1000/9"
    assert by(("other", "d9"), one) == by(one)
    assert by(one, scope=("account", ORG)) == "b:x:claim=d1"
    assert by(("other", "d1")) == by() == "{account=7,l}:b:x:5/1000/9", "without it an account is by itself"
    assert by(scope=("account", ORG)) == "b:x:"


@pytest.mark.parametrize(
    ("address", "block"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("unix", "unix"),
        ("{odd}", "unknown"),
        ("", "unknown"),
    ],
)
def test_what_an_address_counts_as(address: str, block: str) -> None:
    assert address_block(address) == block
