"""One address has one spelling and one rule, however it is written."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.model.networks import AddressRules, Network, Networks, parse_network, read_address


def networks(*texts: str) -> Networks:
    return Networks(map(parse_network, texts))


@pytest.mark.parametrize(
    ("text", "network"),
    [
        ("10.0.0.0/8", IPv4Network("10.0.0.0/8")),
        ("192.0.2.1", IPv4Network("192.0.2.1/32")),
        ("0.0.0.0/0", IPv4Network("0.0.0.0/0")),
        ("2001:DB8::/32", IPv6Network("2001:db8::/32")),
        ("::1", IPv6Network("::1/128")),
        ("::/0", IPv6Network("::/0")),
        ("::ffff:192.0.2.0/120", IPv4Network("192.0.2.0/24")),
        ("::ffff:192.0.2.1", IPv4Network("192.0.2.1/32")),
        ("::ffff:0:0/96", IPv4Network("0.0.0.0/0")),
    ],
)
def test_a_range_is_read(text: str, network: Network) -> None:
    assert parse_network(text) == network


@pytest.mark.parametrize(
    ("case", "text", "said"),
    [
        ("nothing", "", "must be an IP range such as"),
        ("a name", "localhost", "must be an IP range such as"),
        ("a part of an address", "10", "must be an IP range such as"),
        ("a netmask", "10.0.0.0/255.0.0.0", "must be an IP range such as"),
        ("a prefix too long", "10.0.0.0/33", "must be an IP range such as"),
        ("a prefix with a zero", "10.0.0.0/08", "must be an IP range such as"),
        ("a negative prefix", "10.0.0.0/-1", "must be an IP range such as"),
        ("leading zeros", "010.0.0.1", "must be an IP range such as"),
        ("a zone", "fe80::1%eth0", "must be an IP range such as"),
        ("brackets", "[::1]", "must be an IP range such as"),
        ("a port", "10.0.0.1:80", "must be an IP range such as"),
        ("spaces", " 10.0.0.1", "must be an IP range such as"),
        ("a line end", "10.0.0.1\n", "must be an IP range such as"),
        ("digits that are not ASCII", "10.0.0.\u0661", "must be an IP range such as"),
        ("not its first address", "10.1.2.3/8", "must begin with the first address of its range"),
        ("the same in IPv6", "2001:db8::1/32", "write 2001:db8::/32"),
    ],
)
def test_what_is_no_range_is_refused_in_words(case: str, text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_network(text)


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", None),
        ("192.0.2.01", None),
        ("192.0.2", None),
        ("", None),
        ("3221225985", None),
    ],
)
def test_an_address_has_one_spelling(text: str, spelling: str | None) -> None:
    assert read_address(text) == spelling


RANGES = ("10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::ffff:198.51.100.0/120")


@pytest.mark.parametrize(
    ("address", "inside"),
    [
        ("10.255.0.1", True), ("11.0.0.0", False), ("192.0.2.1", True), ("192.0.2.2", False),
        ("::ffff:10.0.0.1", True), ("::ffff:11.0.0.1", False), ("2001:db8:ffff::", True),
        ("2001:db9::", False), ("198.51.100.7", True), ("::ffff:198.51.100.7", True), ("::10.0.0.1", False),
        ("unix", False), ("", False), ("10.0.0.1 ", False), ("010.0.0.1", False),
    ],
)  # fmt: skip
def test_whether_an_address_is_in_a_range(address: str, inside: bool) -> None:
    known = networks(*RANGES)
    assert (address in known) is inside
    assert (address in known) is inside, "asked again, it is remembered"


def test_what_is_remembered_of_addresses_is_bounded_and_never_wrong() -> None:
    known = networks("10.0.0.0/9")
    for number in range(20_000):
        address = f"10.{number % 256}.{number // 256}.1"
        assert (address in known) is (number % 256 < 128)
    assert len(known._known) <= 4096


def test_sets_of_which_there_are_many_remember_less() -> None:
    known = Networks([parse_network("2001:db8::/64")], remembered=32)
    for number in range(1000):
        assert f"2001:db8::{number:x}" in known
        assert f"2001:db9::{number:x}" not in known
        assert len(known._known) <= 32


def test_no_range_holds_nobody() -> None:
    assert not networks()
    assert "10.0.0.1" not in networks()
    assert "::1" not in networks("0.0.0.0/0")
    assert "127.0.0.1" not in networks("::/0")


def test_ranges_cover_ranges() -> None:
    known = networks("10.0.0.0/8", "2001:db8::/32")
    covered = [known.covers(parse_network(text)) for text in ("10.0.0.0/8", "10.1.0.0/16", "2001:db8::1")]
    assert covered == [True] * 3
    assert not known.covers(parse_network("0.0.0.0/0"))
    assert not known.covers(parse_network("11.0.0.0/8"))


@pytest.mark.parametrize(
    ("allow", "deny", "admitted"),
    [
        (None, (), {"192.0.2.1", "192.0.2.2", "::1", "unix"}),
        (("192.0.2.0/24",), (), {"192.0.2.1", "192.0.2.2"}),
        (("192.0.2.0/24",), ("192.0.2.2",), {"192.0.2.1"}),
        (None, ("192.0.2.0/24",), {"::1", "unix"}),
        (("192.0.2.2",), ("192.0.2.0/24",), set()),
    ],
)
def test_rules(allow: tuple[str, ...] | None, deny: tuple[str, ...], admitted: set[str]) -> None:
    rules = AddressRules(None if allow is None else networks(*allow), networks(*deny))
    assert {one for one in ("192.0.2.1", "192.0.2.2", "::1", "unix") if rules.admits(one)} == admitted


_V4 = some.ip_addresses(v=4)
_V6 = some.ip_addresses(v=6)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(some.lists(some.tuples(_V4 | _V6, some.integers(0, 128)), max_size=4), _V4 | _V6)
def test_as_the_standard_library_says(
    starts: list[tuple[IPv4Address | IPv6Address, int]], address: IPv4Address | IPv6Address
) -> None:
    ranges: list[Network] = []
    for start, bits in starts:
        if isinstance(start, IPv4Address):
            ranges.append(IPv4Network((int(start), min(bits, 32)), strict=False))
        else:
            ranges.append(IPv6Network((int(start), bits), strict=False))
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    asked = mapped or address
    assert (str(address) in Networks(ranges)) is any(
        asked in one for one in ranges if one.version == asked.version
    )
