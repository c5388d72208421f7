"""What a shell may offer for a value: names of the policies in use. Without policies it offers nothing."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

import click
from click.shell_completion import CompletionItem

from gateway.errors import TollwayError
from gateway.model.policies import PolicySet
from gateway.settings import read_settings

Suggest = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _names(of: Callable[[PolicySet], Iterable[str]]) -> Suggest:
    def suggest(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from gateway.cli.snapshot import policies_in_use  # noqa: PLC0415 - slow to load, and rarely needed

        try:
            names = of(policies_in_use(read_settings(os.environ)))
        except (TollwayError, OSError):  # somebody pressed Tab: that is no time for complaints
            return []
        return [CompletionItem(name) for name in sorted(set(names)) if name.startswith(incomplete)]

    return suggest


complete_tiers = _names(lambda policies: policies.tiers)
complete_routes = _names(lambda policies: (route.name for route in policies.routes))
complete_meters = _names(lambda policies: policies.meters)
complete_scopes = _names(lambda policies: (one for route in policies.routes for one in route.access.scopes))
complete_bounds = _names(lambda policies: (name for tier in policies.tiers.values() for name in tier.bounds))
complete_limits = _names(
    lambda policies: (
        name
        for tier in policies.tiers.values()
        for name in (*(one.name for one in tier.limits), *(one.name for one in tier.quotas))
    )
)
