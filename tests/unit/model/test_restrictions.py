"""What a key may be used for."""

from __future__ import annotations

import pytest

from gateway.model.networks import AddressRules, parse_networks
from gateway.model.restrictions import Restrictions

NETWORKS = parse_networks("192.0.2.0/24, 2001:db8::/32")
OFFICE = Restrictions(addresses=AddressRules(NETWORKS))
ELSEWHERE = Restrictions(addresses=AddressRules(deny=NETWORKS))


def kept_to(allow: str, deny: str) -> Restrictions:
    rules = AddressRules(parse_networks(allow) if allow else None, parse_networks(deny))
    return Restrictions(addresses=rules)


@pytest.mark.parametrize(
    ("case", "restrictions", "allowed"),
    [
        ("nothing is restricted", Restrictions(), True),
        ("its route", Restrictions(routes=frozenset({"reports", "export"})), True),
        ("another route", Restrictions(routes=frozenset({"export"})), False),
        ("its method", Restrictions(methods=frozenset({"GET", "HEAD"})), True),
        ("another method", Restrictions(methods=frozenset({"POST"})), False),
        ("its network", OFFICE, True),
        ("another network", kept_to("198.51.100.0/24", ""), False),
        ("a network it does not work from", ELSEWHERE, False),
        ("outside of the network it does not work from", kept_to("", "198.51.100.0/24"), True),
        ("its network, another part left out", kept_to("192.0.2.0/24", "192.0.2.128/25"), True),
        ("its network, this part left out", kept_to("192.0.2.0/24", "192.0.2.0/25"), False),
        ("the very address, all around left out", kept_to("192.0.2.7", "192.0.2.0/24"), False),
        ("the same in both", kept_to("192.0.2.7", "192.0.2.7"), False),
        ("all of IPv6 left out", kept_to("", "::/0"), True),
        ("all of IPv4 left out", kept_to("", "0.0.0.0/0"), False),
        (
            "all of them",
            Restrictions(frozenset({"reports"}), frozenset({"GET"}), AddressRules(NETWORKS)),
            True,
        ),
        (
            "all but one",
            Restrictions(frozenset({"reports"}), frozenset({"PUT"}), AddressRules(NETWORKS)),
            False,
        ),
    ],
)
def test_a_call_is_allowed_or_told_why_not(case: str, restrictions: Restrictions, allowed: bool) -> None:
    assert (restrictions.refusal("reports", "GET", "192.0.2.7") == "") is allowed, case


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("192.0.2.255", True),
        ("192.0.3.0", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("::ffff:192.0.2.7", True),
        ("unix", False),
        ("", False),
    ],
)
def test_addresses(address: str, known: bool) -> None:
    assert (OFFICE.refusal("", "GET", address) == "") is known
    assert (ELSEWHERE.refusal("", "GET", address) == "") is not known, "what is no address is in no network"


def test_which_of_its_networks_refuses_is_not_told() -> None:
    refusals = {one.refusal("", "GET", "192.0.2.7") for one in (ELSEWHERE, kept_to("10.0.0.0/8", ""))}
    assert refusals == {"This key may not be used from this address."}
