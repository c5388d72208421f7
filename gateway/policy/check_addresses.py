"""Rules by address that contradict themselves."""

from __future__ import annotations

from gateway.model.networks import Network, Networks, parse_network
from gateway.policy.documents import RouteDocument
from gateway.policy.merge import Entry
from gateway.policy.problems import Problems


def check_addresses(entry: Entry[RouteDocument], route: RouteDocument, problems: Problems) -> None:
    """Note ranges that are listed twice, or allowed and denied."""
    rules = route.addresses
    if rules is None:
        return
    denied = Networks(map(parse_network, rules.deny or ()))
    for key, texts in (("allow", rules.allow or ()), ("deny", rules.deny or ())):
        seen: set[Network] = set()
        for position, text in enumerate(texts):
            network = parse_network(text)
            message = None
            if network in seen:
                message = "is listed twice; remove one"
            elif key == "allow" and denied.covers(network):
                message = f"{text} is denied as a whole, so nothing of it could pass; remove it here or there"
            seen.add(network)
            if message:
                problems.add(entry.problem(message, "addresses", key, position))
