"""Refusals on request: callers with test keys ask for the answers they must be able to cope with."""

from __future__ import annotations

from gateway.errors import (
    AccountSuspended,
    AdmissionUnavailable,
    BadRequest,
    FeatureRequired,
    GatewayError,
    InsufficientScope,
    KeyRestricted,
    QuotaExceeded,
    RateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from gateway.model.exchange import Exchange
from gateway.model.principal import Mode

SIMULATED: dict[str, type[GatewayError]] = {
    kind.code: kind
    for kind in (
        AccountSuspended,
        AdmissionUnavailable,
        FeatureRequired,
        InsufficientScope,
        KeyRestricted,
        QuotaExceeded,
        RateLimited,
        UpstreamTimeout,
        UpstreamUnreachable,
    )
}
_COME_BACK = frozenset((429, 503))


def simulate(exchange: Exchange) -> None:
    """Raises what `Tollway-Simulate` asks for. With a live key the header means nothing."""
    wanted, principal = exchange.head.simulate, exchange.principal
    if wanted is None or principal is None or principal.mode is Mode.LIVE:
        return
    kind = SIMULATED.get(wanted.decode("ascii", "replace").strip().lower())
    if kind is None:
        raise BadRequest(f"Tollway-Simulate must be one of: {', '.join(sorted(SIMULATED))}.")
    raise kind(
        f"{kind.default_detail} This is a simulation, as Tollway-Simulate asked for.",
        headers=b"Retry-After: 1\r\n" if kind.status in _COME_BACK else b"",
        extensions={"simulated": True},
    )
