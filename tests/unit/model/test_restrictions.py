"""What a key may be used for."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from gateway.model.restrictions import Restrictions

NETWORKS = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
OFFICE = Restrictions(networks=NETWORKS)


@pytest.mark.parametrize(
    ("case", "restrictions", "allowed"),
    [
        ("nothing is restricted", Restrictions(), True),
        ("its route", Restrictions(routes=frozenset({"reports", "export"})), True),
        ("another route", Restrictions(routes=frozenset({"export"})), False),
        ("its method", Restrictions(methods=frozenset({"GET", "HEAD"})), True),
        ("another method", Restrictions(methods=frozenset({"POST"})), False),
        ("its network", OFFICE, True),
        ("another network", Restrictions(networks=(ip_network("198.51.100.0/24"),)), False),
        ("all of them", Restrictions(frozenset({"reports"}), frozenset({"GET"}), NETWORKS), True),
        ("all but one", Restrictions(frozenset({"reports"}), frozenset({"PUT"}), NETWORKS), False),
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
