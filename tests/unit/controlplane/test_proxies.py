"""Who asks, where proxies are in front of the portal."""

from __future__ import annotations

import pytest

from gateway.controlplane.proxies import Proxies
from gateway.model.forwarded import forwarded
from gateway.model.networks import parse_networks

TRUSTED = parse_networks("10.0.0.0/8, 2001:db8::/32")


@pytest.mark.parametrize(
    ("case", "peer", "said", "caller"),
    [
        ("nobody said anything", "10.0.0.1", (), "10.0.0.1"),
        ("a proxy names the caller", "10.0.0.1", (b"192.0.2.7",), "192.0.2.7"),
        ("what the caller claims is not reached", "10.0.0.1", (b"198.51.100.1, 192.0.2.7",), "192.0.2.7"),
        ("two proxies in a row", "10.0.0.1", (b"192.0.2.7", b"10.0.0.2"), "192.0.2.7"),
        ("a stranger's word does not count", "192.0.2.7", (b"198.51.100.1",), "192.0.2.7"),
        ("what is no address ends it", "10.0.0.1", (b"192.0.2.7, nonsense",), "10.0.0.1"),
        ("IPv6", "2001:db8::1", (b"2001:DB9::7",), "2001:db9::7"),
    ],
)
def test_the_caller(case: str, peer: str, said: tuple[bytes, ...], caller: str) -> None:
    fields = tuple((b"x-forwarded-for", value) for value in said)
    assert Proxies(TRUSTED).caller(peer, fields) == caller, case


def test_the_other_header() -> None:
    fields = ((b"x-forwarded-for", b"198.51.100.1"), (b"forwarded", b"for=192.0.2.7"))
    assert Proxies(TRUSTED, forwarded).caller("10.0.0.1", fields) == "192.0.2.7"


def test_without_trusted_proxies_the_peer_is_the_caller() -> None:
    assert Proxies().caller("10.0.0.1", ((b"x-forwarded-for", b"192.0.2.7"),)) == "10.0.0.1"
