"""IP addresses and ranges of them, for what is decided by where a call comes from.

IPv4 in IPv6 (`::ffff:192.0.2.1`) is the IPv4 address everywhere: one caller has one address and one rule.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

NETWORK = r"^[0-9A-Fa-f:.]{2,45}(/(0|[1-9][0-9]{0,2}))?$"
EXAMPLE = "203.0.113.0/24 or 2001:db8::/32"
_MAPPED_BITS = 96
_REMEMBERED = 4096
"""Addresses whose answer is kept: callers come again, and strangers can not make us keep more."""


def parse_network(text: str) -> Network:
    """One range, `203.0.113.0/24`, or one address. ValueError says what is wrong."""
    if re.fullmatch(NETWORK, text) is None:
        raise ValueError(f"must be an IP range such as {EXAMPLE}")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"must be an IP range such as {EXAMPLE}") from None
    if network.network_address != ip_address(text.partition("/")[0]):
        raise ValueError(f"must begin with the first address of its range: write {network}")
    first = network.network_address
    if isinstance(first, IPv6Address) and first.ipv4_mapped and network.prefixlen >= _MAPPED_BITS:
        return IPv4Network((int(first.ipv4_mapped), network.prefixlen - _MAPPED_BITS))
    return network


@lru_cache(_REMEMBERED)
def read_address(text: str) -> str | None:
    """The one spelling of an address; None if it is not one. A zone (`fe80::1%eth0`) belongs to none."""
    address = _parsed(text)
    return None if address is None else str(address)


@lru_cache(_REMEMBERED)
def address_block(text: str) -> str:
    """What one caller can easily have many of counts as one: an IPv6 address stands for its /64."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return text if text.isalnum() else "unknown"  # a unix socket
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return f"{IPv6Address(int(address) >> 64 << 64)}/64"


def _parsed(text: str) -> Address | None:
    if "%" in text:
        return None
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


class Networks:
    """A set of ranges. Asking costs one look-up for an address seen lately, however many ranges there are."""

    __slots__ = ("_known", "_remembered", "_starts", "ranges")

    def __init__(self, ranges: Iterable[Network] = (), *, remembered: int = _REMEMBERED) -> None:
        self.ranges = tuple(ranges)
        self._remembered = remembered  # addresses whose answer is kept
        self._known: dict[str, bool] = {}
        starts: dict[int, dict[int, set[int]]] = {4: {}, 6: {}}
        for one in self.ranges:
            starts[one.version].setdefault(int(one.netmask), set()).add(int(one.network_address))
        self._starts: Mapping[int, Mapping[int, set[int]]] = starts  # by version and mask

    def __contains__(self, address: str) -> bool:
        """Whether an address, in any spelling, lies in one of the ranges; what is no address does not."""
        known = self._known.get(address)
        if known is None:
            parsed = _parsed(address)
            known = parsed is not None and self._holds(parsed.version, int(parsed), parsed.max_prefixlen)
            if len(self._known) >= self._remembered:
                self._known.clear()
            self._known[address] = known
        return known

    def covers(self, network: Network) -> bool:
        """Whether all of `network` lies within one of the ranges."""
        return self._holds(network.version, int(network.network_address), network.prefixlen)

    def _holds(self, version: int, start: int, bits: int) -> bool:
        return any(
            start & mask in starts and mask.bit_count() <= bits
            for mask, starts in self._starts[version].items()
        )

    def __bool__(self) -> bool:
        return bool(self.ranges)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Networks) and self.ranges == other.ranges

    def __hash__(self) -> int:
        return hash(self.ranges)

    def __repr__(self) -> str:
        return f"Networks({', '.join(map(str, self.ranges))})"


NO_NETWORKS = Networks()


def parse_networks(text: str) -> Networks:
    """Ranges with commas between. ValueError says which one is wrong, and how."""
    ranges = []
    for one in filter(None, re.split(r"[,\s]+", text)):
        try:
            ranges.append(parse_network(one))
        except ValueError as error:
            raise ValueError(f"{error}, got {one!r}; put commas between ranges") from None
    return Networks(ranges)


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Who may call, by address: nobody in `deny`; with `allow` only who is in it."""

    allow: Networks | None = None
    deny: Networks = NO_NETWORKS

    def admits(self, address: str) -> bool:
        """Whether calls from `address` are let in."""
        return (self.allow is None or address in self.allow) and address not in self.deny


ANYWHERE = AddressRules()
