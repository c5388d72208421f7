"""The order of the product: one request through all stages."""

from __future__ import annotations

import logging

from gateway.dataplane.body_limit import limit_body
from gateway.dataplane.own_answers import answer_itself
from gateway.dataplane.refusal import refuse
from gateway.dataplane.simulation import simulate
from gateway.dataplane.stages import (
    Admission,
    Authentication,
    CurrentPolicies,
    Forwarding,
    Metering,
    Shedding,
)
from gateway.errors import AddressRefused, GatewayError, Overloaded
from gateway.model.exchange import Exchange
from gateway.model.own_answer import OwnAnswer
from gateway.model.policies import NO_LIMIT

log = logging.getLogger("tollway.dataplane")


class Pipeline:
    """Takes every request of a worker through its stages."""

    def __init__(
        self,
        policies: CurrentPolicies,
        auth: Authentication,
        admission: Admission,
        meter: Metering,
        upstream: Forwarding,
        *,
        overload: Shedding,
        max_body_bytes: int = NO_LIMIT,
    ) -> None:
        self.policies = policies
        self.auth = auth
        self.admission = admission
        self.meter = meter
        self.upstream = upstream
        self.max_body_bytes = max_body_bytes  # where a route says nothing
        self.overload = overload

    async def handle(self, exchange: Exchange) -> None:
        """The life of one request. However it ends, it has exactly one outcome. Never raises."""
        policies = self.policies.current()  # one snapshot, even if a reload lands midway
        self.meter.identify(exchange)
        try:
            if exchange.broken is not None:
                raise exchange.broken
            if self.overload.share and self.overload.sheds():
                raise Overloaded
            route = exchange.route = policies.match(exchange.head)
            if route.addresses is not None and not route.addresses.admits(exchange.client_address):
                raise AddressRefused
            if exchange.ingress_bytes or not exchange.body_done:  # there is a body
                limit_body(exchange, self.max_body_bytes)
            exchange.principal = await self.auth.authenticate(exchange)
            if exchange.head.simulate is not None:
                simulate(exchange)
            exchange.grant = await self.admission.admit(
                exchange.principal, policies.charges(exchange), exchange
            )
            self.meter.begin(exchange)
            await self.upstream.forward(exchange)
        except OwnAnswer as own:
            answer_itself(exchange, own)
        except GatewayError as error:
            refuse(exchange, error)
        except Exception:
            log.exception("a request failed unexpectedly", extra={"request_id": exchange.request_id.decode()})
            refuse(exchange, GatewayError())
        finally:
            self.meter.end(exchange)
            self.admission.settle(exchange)
