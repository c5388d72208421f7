"""An API of ours as an OpenAPI 3.1 document, made of the declarations that make the router."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

from pydantic import TypeAdapter
from pydantic.json_schema import JsonSchemaMode

from gateway.controlplane.endpoints import Endpoint
from gateway.controlplane.repeats import LONGEST_KEY

_REF = "#/components/schemas/{model}"
_PATH_PARAMETER = re.compile(r"\{([a-z_]+):((?:[^{}]|\{[0-9,]+\})+)\}")
_ANY = (400, 401, 403, 429, 500, 503)
"""Statuses that every endpoint may answer with, beside its own."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flavour:
    """What one API has and another has not."""

    title: str
    needs: Callable[[str], str]  # what a scope asks of the caller, in words
    is_public: Callable[[str], bool]  # whether a scope asks for no token
    headers: Callable[[Endpoint], list[tuple[str, Json]]]  # optional request headers with their schemas
    also_refuses: Callable[[Endpoint], set[int]]  # further statuses


IDEMPOTENCY_KEY: tuple[str, Json] = (
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY, "pattern": "^[ -~]+$"},
)
ADMIN_FLAVOUR = Flavour(
    title="Tollway admin API",
    needs=lambda scope: f"Needs the scope `{scope}`.",
    is_public=lambda _: False,
    headers=lambda one: [IDEMPOTENCY_KEY] if one.method == "POST" and one.changes else [],
    also_refuses=lambda _: set(),
)


def describe(
    endpoints: Sequence[Endpoint], prefix: str, version: str, flavour: Flavour = ADMIN_FLAVOUR
) -> Json:
    """The document. Its schemas come from the very types that check what is sent and build the answers."""
    schemas = _schemas(endpoints)
    paths: Json = {}
    for endpoint in endpoints:
        path = prefix + _PATH_PARAMETER.sub(r"{\1}", endpoint.path)
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, schemas, flavour)
    return {
        "openapi": "3.1.0",
        "info": {"title": flavour.title, "version": version},
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**schemas.definitions, "Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "responses": {"Problem": _problem_response("What went wrong (RFC 9457).")},
        },
    }


class _Schemas:
    """Schemas by type, and the definitions they refer to."""

    def __init__(self, types: Sequence[tuple[object, JsonSchemaMode]]) -> None:
        inputs: list[tuple[tuple[object, JsonSchemaMode], JsonSchemaMode, TypeAdapter[Any]]] = [
            ((kind, mode), mode, TypeAdapter(cast("type[Any]", kind))) for kind, mode in types
        ]
        found, rest = TypeAdapter.json_schemas(inputs, ref_template=_REF)
        self._found = cast(
            "dict[tuple[object, JsonSchemaMode], Json]", {key[0]: value for key, value in found.items()}
        )
        self.definitions: Json = rest.get("$defs", {})

    def sent(self, kind: object) -> Json:
        return self._found[kind, "validation"]

    def answered(self, kind: object) -> Json:
        return self._found[kind, "serialization"]


def _schemas(endpoints: Sequence[Endpoint]) -> _Schemas:
    sent = {kind for one in endpoints for kind in (one.body, one.query) if kind is not None}
    answered = {one.answers for one in endpoints}
    return _Schemas([(kind, "validation") for kind in sent] + [(kind, "serialization") for kind in answered])


def _operation(endpoint: Endpoint, schemas: _Schemas, flavour: Flavour) -> Json:
    words = (endpoint.handler.__doc__ or "").strip()
    operation: Json = {
        "operationId": getattr(endpoint.handler, "__name__", ""),
        "tags": [endpoint.scope.partition(":")[0]],
        "summary": words.split(". ")[0].rstrip("."),
        "description": f"{words}\n\n{flavour.needs(endpoint.scope)}",
        "parameters": [*_path_parameters(endpoint), *_query(endpoint), *_headers(endpoint, flavour)],
        "responses": _responses(endpoint, schemas, flavour.also_refuses(endpoint)),
    }
    if flavour.is_public(endpoint.scope):
        operation["security"] = []
    if endpoint.body is not None:
        operation["requestBody"] = {
            "required": bool(schemas.definitions.get(endpoint.body.__name__, {}).get("required")),
            "content": {"application/json": {"schema": schemas.sent(endpoint.body)}},
        }
    return operation


def _path_parameters(endpoint: Endpoint) -> list[Json]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{pattern}$"},
        }
        for name, pattern in _PATH_PARAMETER.findall(endpoint.path)
    ]


def _query(endpoint: Endpoint) -> list[Json]:
    if endpoint.query is None:
        return []
    schemas: Json = endpoint.query.model_json_schema()["properties"]
    return [
        {
            "name": field.alias or name,
            "in": "query",
            "required": field.is_required(),
            "schema": _bare(schemas[field.alias or name]),
        }
        for name, field in endpoint.query.model_fields.items()
    ]


def _bare(schema: Json) -> Json:
    return {key: value for key, value in schema.items() if key not in ("title", "default")}


def _headers(endpoint: Endpoint, flavour: Flavour) -> list[Json]:
    headers = flavour.headers(endpoint)
    if 412 in endpoint.refuses:
        headers = [*headers, ("If-Match", {"type": "string"})]
    return [{"name": name, "in": "header", "required": False, "schema": schema} for name, schema in headers]


def _responses(endpoint: Endpoint, schemas: _Schemas, further: set[int]) -> Json:
    refused = {*_ANY, *endpoint.refuses, *further}
    if _PATH_PARAMETER.search(endpoint.path):
        refused.add(404)
    if endpoint.body is not None or endpoint.query is not None:
        refused.add(422)
    if endpoint.changes or endpoint.asks:
        refused |= {408, 413, 415}
    if endpoint.changes:
        refused.add(409)
    content = {"application/json": {"schema": schemas.answered(endpoint.answers)}}
    if endpoint.csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    good = {"description": HTTPStatus(endpoint.status).phrase, "content": content}
    problems = {str(status): _problem_response(HTTPStatus(status).phrase) for status in sorted(refused)}
    return {str(endpoint.status): good, **problems}


def _problem_response(description: str) -> Json:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": description, "content": {"application/problem+json": {"schema": schema}}}


_PROBLEM: Json = {
    "type": "object",
    "title": "Problem",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
