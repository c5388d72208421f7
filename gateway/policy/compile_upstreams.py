"""From checked upstream documents to what the workers call."""

from __future__ import annotations

from dataclasses import replace

from gateway.model.policies import (
    Balance,
    Ejection,
    Health,
    HostHeader,
    Keepalive,
    Retries,
    Target,
    Timeouts,
    Tls,
    Upstream,
)
from gateway.policy.target_texts import target_parts
from gateway.policy.texts import duration_ms
from gateway.policy.upstream_documents import (
    EjectionDocument,
    HealthDocument,
    KeepaliveDocument,
    RetriesDocument,
    RouteTimeoutsDocument,
    TargetDocument,
    TimeoutsDocument,
    TlsDocument,
    UpstreamDocument,
)


def compile_upstream(name: str, document: UpstreamDocument) -> Upstream:
    """The upstream of that name."""
    return Upstream(
        name=name,
        targets=tuple(_target(target) for target in document.targets),
        timeouts=_timeouts(document.timeouts),
        host_header=HostHeader(document.host_header),
        max_connections=document.max_connections,
        max_waiting=document.max_waiting,
        keepalive=_keepalive(document.keepalive),
        balance=Balance(document.balance),
        tls=_tls(document.tls),
        retries=_retries(document.retries),
        ejection=_ejection(document.ejection),
        health=_health(document.health) if document.health is not None else None,
    )


def seconds(duration: str) -> float:
    """A checked duration."""
    return duration_ms(duration) / 1000


def _target(document: TargetDocument) -> Target:
    parts = target_parts(document.url)
    return Target(parts.host, parts.port, document.weight, tls=parts.tls, socket=parts.socket)


def _timeouts(document: TimeoutsDocument) -> Timeouts:
    return Timeouts(
        connect_s=seconds(document.connect),
        response_s=seconds(document.response),
        idle_s=seconds(document.idle),
        total_s=seconds(document.total) if document.total is not None else None,
        queue_s=seconds(document.queue),
    )


def _keepalive(document: KeepaliveDocument) -> Keepalive:
    return Keepalive(
        max_idle=document.max_idle,
        idle_s=seconds(document.idle_timeout),
        max_age_s=seconds(document.max_age) if document.max_age is not None else None,
        max_calls=document.max_calls,
        reuse_after_body=document.reuse_after_body,
    )


def route_timeouts(document: RouteTimeoutsDocument | None, upstream: Timeouts) -> Timeouts | None:
    """The upstream's with what the route says instead; None when it says nothing."""
    said = document.model_dump(exclude_none=True, exclude={"min_bytes_per_s"}) if document is not None else {}
    if not said:
        return None
    return replace(upstream, **{f"{key}_s": seconds(duration) for key, duration in said.items()})


def _retries(document: RetriesDocument) -> Retries:
    return Retries(
        attempts=document.attempts,
        connect="connect" in document.on,
        stale="stale" in document.on,
        percent=document.percent,
        at_least=document.at_least,
    )


def _ejection(document: EjectionDocument) -> Ejection:
    return Ejection(document.failures, seconds(document.time), seconds(document.max_time))


def _health(document: HealthDocument) -> Health:
    return Health(
        path=document.path,
        interval_s=seconds(document.interval),
        timeout_s=seconds(document.timeout),
        healthy_after=document.healthy_after,
        unhealthy_after=document.unhealthy_after,
    )


def _tls(document: TlsDocument) -> Tls:
    return Tls(
        ca=document.ca,
        client_cert=document.client_cert,
        client_key=document.client_key,
        server_name=document.server_name,
        verify=document.verify,
    )
