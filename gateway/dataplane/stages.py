"""What the pipeline asks of the stages it takes requests through."""

from __future__ import annotations

from typing import Protocol

from gateway.model.exchange import Exchange, Grant, RequestHead
from gateway.model.policies import ChargePlan, Route
from gateway.model.principal import Principal


class Policies(Protocol):
    """One snapshot of them."""

    def match(self, head: RequestHead) -> Route:
        """Where the call goes, or a GatewayError; OwnAnswer for what goes nowhere."""

    def charges(self, exchange: Exchange) -> ChargePlan:
        """What it costs its principal, or a GatewayError."""


class CurrentPolicies(Protocol):
    """Where the snapshot in use is found."""

    def current(self) -> Policies:
        """The newest accepted snapshot."""


class Authentication(Protocol):
    """Who calls."""

    async def authenticate(self, exchange: Exchange) -> Principal:
        """The caller, or a GatewayError."""


class Admission(Protocol):
    """May this call pass?"""

    async def admit(self, principal: Principal, plan: ChargePlan, exchange: Exchange) -> Grant:
        """Charge the call, or raise why not."""

    def settle(self, exchange: Exchange) -> None:
        """The call is over, however it ended."""


class Metering(Protocol):
    """Notes every request."""

    def identify(self, exchange: Exchange) -> None:
        """Give it its id and start."""

    def begin(self, exchange: Exchange) -> None:
        """It is about to go upstream."""

    def end(self, exchange: Exchange) -> None:
        """It is over."""


class Forwarding(Protocol):
    """Makes the call."""

    async def forward(self, exchange: Exchange) -> None:
        """Relay it to the upstream and the answer back."""


class Shedding(Protocol):
    """Turns calls away while there are too many."""

    @property
    def share(self) -> float:
        """Of new calls, to be turned away."""

    def sheds(self) -> bool:
        """Whether this one is."""
