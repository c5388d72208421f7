from __future__ import annotations

import pytest

from gateway.dataplane.head import travels
from gateway.policy.scope_texts import NOT_SEEN, NOT_SEEN_PREFIXES, check_scope, claims_in, scope


@pytest.mark.parametrize(
    ("case", "written", "meant"),
    [
        ("one part", "account", ("account",)),
        ("a key is one of an account", "key", ("account", "key")),
        ("in any order", ["route", "account"], ("account", "route")),
        ("headers have no case", "header:X-Tenant", ("header:x-tenant",)),
        ("claims have", "claim:Org_Id", ("claim:Org_Id",)),
        ("a claim may be an address", "claim:https://acme.example/org", ("claim:https://acme.example/org",)),
        ("several", ["header:B", "ip", "header:A"], ("header:a", "header:b", "ip")),
    ],
)
def test_what_a_scope_means(case: str, written: str | list[str], meant: tuple[str, ...]) -> None:
    assert check_scope(written) == written
    assert scope(written) == meant


@pytest.mark.parametrize("name", sorted(NOT_SEEN))
def test_headers_that_are_refused_do_not_travel(name: str) -> None:
    assert not travels(name.encode())


@pytest.mark.parametrize("name", NOT_SEEN_PREFIXES)
def test_nor_do_those_refused_by_their_prefix(name: str) -> None:
    assert not travels(name.encode() + b"x")


def test_claims_that_a_scope_goes_by() -> None:
    assert claims_in(["claim:org", "account", "claim:Org"]) == ["Org", "org"]
    assert claims_in("header:claim") == []


def test_claims_in_two_cases_are_two() -> None:
    assert check_scope(["claim:a", "claim:A"]) == ["claim:a", "claim:A"]
    with pytest.raises(ValueError, match="twice"):
        check_scope(["claim:a", "claim:a"])


@pytest.mark.parametrize("written", ["claim:", "claim:a b", "claim:é", "claim:" + "x" * 201, "Claim:a"])
def test_what_is_no_claim(written: str) -> None:
    with pytest.raises(ValueError, match="claim:<name>"):
        check_scope(written)


def test_one_header_twice_is_refused_in_any_case() -> None:
    with pytest.raises(ValueError, match="twice"):
        check_scope(["header:x-a", "header:X-A"])
