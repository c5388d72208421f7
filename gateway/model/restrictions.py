"""What a key may be used for."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Restrictions:
    """An empty set restricts nothing. Routes are names of the policies; networks are those of callers."""

    routes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()

    def refusal(self, route: str, method: str, address: str) -> str:
        """What is not allowed about a call, for the caller to read; empty if it is allowed."""
        if self.routes and route not in self.routes:
            return "This key may not be used for this route."
        if self.methods and method not in self.methods:
            return f"This key may not be used for {method}."
        if not self.lets_in(address):
            return "This key may not be used from this address."
        return ""

    def lets_in(self, address: str) -> bool:
        """Whether the key may be used from this address."""
        return not self.networks or self._knows(address)

    def _knows(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False  # a unix socket has none
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
            ip = ip.ipv4_mapped
        return any(ip.version == network.version and ip in network for network in self.networks)
