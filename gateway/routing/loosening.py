"""A tier as it is left by what operators switched."""

from __future__ import annotations

from dataclasses import replace

from gateway.model.enforcement import Enforcement, Enforcing
from gateway.model.policies import Tier


def loosened(tier: Tier, route: str, enforcement: Enforcement) -> Tier:
    """The tier for calls on a route: what is switched to shadow refuses nobody, what is off is not there."""

    def left(name: str) -> Enforcing:
        return enforcement.of(name, tier.name, route)

    return replace(
        tier,
        limits=tuple(
            one if left(one.name) is Enforcing.ENFORCE else replace(one, enforce=0)
            for one in tier.limits
            if left(one.name) is not Enforcing.OFF
        ),
        quotas=tuple(
            one if left(one.name) is Enforcing.ENFORCE else replace(one, enforce=0)
            for one in tier.quotas
            if left(one.name) is not Enforcing.OFF
        ),
        concurrency=tuple(
            one if left(one.name) is Enforcing.ENFORCE else replace(one, enforce=0)
            for one in tier.concurrency
            if left(one.name) is not Enforcing.OFF
        ),
    )
