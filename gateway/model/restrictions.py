"""What a key may be used for."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.model.networks import ANYWHERE, AddressRules


@dataclass(frozen=True, slots=True)
class Restrictions:
    """An empty set restricts nothing. Routes are names of the policies; addresses are those of callers."""

    routes: frozenset[str] = frozenset()
    methods: frozenset[str] = frozenset()
    addresses: AddressRules = ANYWHERE

    def refusal(self, route: str, method: str, address: str) -> str:
        """What is not allowed about a call, for the caller to read; empty if it is allowed."""
        if self.routes and route not in self.routes:
            return "This key may not be used for this route."
        if self.methods and method not in self.methods:
            return f"This key may not be used for {method}."
        if not self.addresses.admits(address):
            return "This key may not be used from this address."
        return ""
