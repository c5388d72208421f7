"""`/admin/v1/policies` and `/admin/v1/workers`: what this gateway runs with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.clock import Clock
from gateway.controlplane import wording
from gateway.controlplane.accounts_api import Page
from gateway.controlplane.bodies import answer, read_query
from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.processes import Process, read_all, read_report
from gateway.model.policies import PolicySet, Route
from gateway.policy.folder import PolicyFolder

Name = Annotated[str, Field(max_length=255, pattern=r"^[!-~]*$")]


class SideDocument(TypedDict):
    """One of several upstreams that share the calls of a route."""

    upstream: str
    weight: int


class RouteDocument(TypedDict):
    """A route, with an upstream or with several that share its calls."""

    name: str
    path: str
    methods: list[str]
    hosts: list[str]
    upstream: str | None
    split: list[SideDocument]
    requires: list[str]
    scopes: list[str]
    charges: dict[str, int | wording.CostDocument]
    cost: int | wording.CostDocument
    forward_credentials: bool


class MeterDocument(TypedDict):
    """What is counted."""

    name: str
    unit: str
    scale: int  # parts of a unit; what is counted are parts


class PoliciesDocument(TypedDict):
    """The snapshot in use."""

    digest: str
    folder_digest: str
    admission_mode: str
    on_store_loss: str
    meters: list[MeterDocument]
    tiers: list[dict[str, object]]
    routes: list[RouteDocument]


class ProcessDocument(TypedDict):
    """One process of this gateway."""

    name: str
    state: str
    heartbeat_at: str | None
    policy_generation: int
    lacks: str | None
    pid: int | None
    policies: str | None
    connections: int
    memory_bytes: int
    switches: int
    overloaded: bool
    recorder_lag_s: float


class TargetDocument(TypedDict):
    """One target of an upstream, as one worker sees it."""

    worker: str
    upstream: str
    target: str
    up: bool
    failed_calls: bool
    failed_checks: bool
    connections: int
    in_use: int


class TargetList(TypedDict):
    """Every target, once for each worker."""

    data: list[TargetDocument]
    next: str | None


class ProcessList(TypedDict):
    """Every process."""

    data: list[ProcessDocument]
    next: str | None


class WorkersQuestion(Page):
    """Which processes."""

    state: Name | None = None


class UpstreamsQuestion(Page):
    """Which targets."""

    upstream: Name | None = None
    worker: Name | None = None
    up: Literal["yes", "no"] | None = None


class SnapshotApi:
    """The policies in use and the processes that use them."""

    def __init__(
        self, policies: Callable[[], PolicySet], files: PolicyFolder, folder: Path, clock: Clock
    ) -> None:
        self._policies, self._files, self._folder, self._clock = policies, files, folder, clock

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint("GET", "/policies", self.get_policies, "policies:read", PoliciesDocument),
            Endpoint(
                "GET", "/workers", self.list_workers, "gateway:read", ProcessList, query=WorkersQuestion
            ),
            Endpoint(
                "GET",
                "/upstreams",
                self.list_upstreams,
                "gateway:read",
                TargetList,
                query=UpstreamsQuestion,
            ),
        ]

    async def get_policies(self, _: web.Request) -> web.Response:
        """Digest, tiers and routes of the snapshot in use; the ETag is that of the files on disk."""
        on_disk = self._files.digest()
        return answer(policies_document(self._policies(), on_disk), headers={"ETag": f'"{on_disk}"'})

    async def list_workers(self, request: web.Request) -> web.Response:
        """Every process of this gateway, with what it lacks to be counted on."""
        page = read_query(request, WorkersQuestion)
        found = process_documents(self._folder, self._clock.monotonic_us())
        fitting = [one for one in found if page.state in (None, one["state"])]
        return answer(page.cut([(one["name"], one) for one in fitting]))

    async def list_upstreams(self, request: web.Request) -> web.Response:
        """Every target of every upstream as each worker sees it: health differs until all have noticed."""
        page = read_query(request, UpstreamsQuestion)
        fitting = [
            one
            for one in target_documents(self._folder)
            if page.upstream in (None, one["upstream"])
            and page.worker in (None, one["worker"])
            and page.up in (None, "yes" if one["up"] else "no")
        ]
        return answer(page.cut([(_cursor(one), one) for one in fitting]))


def policies_document(policies: PolicySet, on_disk: str) -> PoliciesDocument:
    """A snapshot, as the API and the command line show it; `on_disk` is the digest of the files."""
    return {
        "digest": policies.digest,
        "folder_digest": on_disk,
        "admission_mode": policies.admission_mode.value,
        "on_store_loss": policies.on_store_loss.value,
        "meters": [
            {"name": one.name, "unit": one.unit, "scale": one.scale} for one in policies.meters.values()
        ],
        "tiers": [wording.tier(one, shadows=True) for one in policies.tiers.values()],
        "routes": [_route(one) for one in policies.routes],
    }


def process_documents(folder: Path, now_us: int) -> list[ProcessDocument]:
    """Every process that counts in `folder`. `now_us` is monotonic."""
    return [_process(one, read_report(folder, name), now_us) for name, one in read_all(folder).items()]


def target_documents(folder: Path) -> list[TargetDocument]:
    """Every target, once for each worker that counts in `folder`."""
    targets: list[TargetDocument] = []
    for name in read_all(folder):
        found = read_report(folder, name).get("targets", [])
        targets += [cast("TargetDocument", {"worker": name, **target}) for target in found]
    return sorted(targets, key=lambda one: (one["upstream"], one["target"], one["worker"]))


def _cursor(one: TargetDocument) -> str:
    return f"{one['upstream']} {one['target']} {one['worker']}"


def _route(one: Route) -> RouteDocument:
    return {
        "name": one.name,
        "path": one.path,
        "methods": sorted(one.methods),
        "hosts": sorted(one.hosts),
        "upstream": one.upstream.name if not one.split else None,
        "split": [{"upstream": side.route.upstream.name, "weight": side.weight} for side in one.split],
        "requires": sorted(one.requires),
        "scopes": sorted(one.access.scopes),
        "charges": {
            **one.charges,
            **{meter: wording.cost(cost) for meter, cost in one.varying.items()},
        },
        "cost": wording.cost(one.cost),
        "forward_credentials": one.forward_credentials,
    }


def _process(one: Process, told: Mapping[str, Any], now_us: int) -> ProcessDocument:
    return {
        "name": one.name,
        "state": one.state,
        "heartbeat_at": wording.instant_us(one.heartbeat_at_us),
        "policy_generation": one.generation,
        "lacks": one.lacks(now_us),
        "pid": told.get("pid"),
        "policies": told.get("policies"),
        "connections": one.connections,
        "memory_bytes": one.memory_bytes,
        "switches": one.shadow_switches + one.off_switches,
        "overloaded": one.overloaded_since_us > 0,
        "recorder_lag_s": one.recorder_lag_us / 1_000_000,
    }
