"""The reference of an API as a page. Self-contained: no scripts, no fonts, nothing loaded from anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from gateway.controlplane.html_pages import content_security_policy, html_page

_STYLE = (Path(__file__).parent / "reference.css").read_text(encoding="utf-8")

CONTENT_SECURITY_POLICY = content_security_policy(_STYLE)

Json = Mapping[str, Any]


def render_reference(described: Json) -> str:
    """The page, from the OpenAPI document."""
    groups: dict[str, list[str]] = {}
    for path, operations in described["paths"].items():
        for method, operation in operations.items():
            groups.setdefault(operation["tags"][0], []).append(_operation(path, method, operation, described))
    sections = "\n".join(f"<h2>{escape(name)}</h2>\n{''.join(groups[name])}" for name in sorted(groups))
    title, version = described["info"]["title"], escape(described["info"]["version"])
    body = f"""<h1>{escape(title)}</h1>
<p>Version {version}. For programs: <a href="/openapi.json">openapi.json</a>.
Requests carry <code>Authorization: Bearer &lt;token&gt;</code>, unless they are for everybody.</p>
{sections}"""
    return html_page(title, _STYLE, body)


def _operation(path: str, method: str, operation: Json, described: Json) -> str:
    statuses = ", ".join(operation["responses"])
    parts = [
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> ",
        f"{escape(operation['summary'])}</summary>",
        "".join(f"<p>{escape(words)}</p>" for words in operation["description"].split("\n\n")),
        _parameters(operation["parameters"]),
    ]
    if "requestBody" in operation:
        parts.append(f"<p>Sent:</p>{_schema(operation['requestBody'], described)}")
    good = next(one for status, one in operation["responses"].items() if status.startswith("2"))
    parts.append(f"<p>Answered:</p>{_schema(good, described)}<p>Statuses: {statuses}</p></details>\n")
    return "".join(parts)


def _parameters(parameters: list[Json]) -> str:
    rows = "".join(map(_parameter, parameters))
    return f"<table><tr><th>name</th><th>in</th><th>schema</th></tr>{rows}</table>" if rows else ""


def _parameter(one: Json) -> str:
    place = f"{one['in']}, required" if one["required"] else one["in"]
    schema = json.dumps(one["schema"])
    return (
        f"<tr><td><code>{escape(one['name'])}</code></td><td>{escape(place)}</td>"
        f"<td><code>{escape(schema)}</code></td></tr>"
    )


def _schema(content: Json, described: Json) -> str:
    schema = content["content"]["application/json"]["schema"]
    name = schema.get("$ref", "").rpartition("/")[2]
    told = described["components"]["schemas"].get(name, schema)
    return f"<pre>{escape(json.dumps(told, indent=2))}</pre>"
