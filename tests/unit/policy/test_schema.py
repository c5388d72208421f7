from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gateway.policy.schema import SCHEMA_FILE, policy_schema, schema_text

ROOT = Path(__file__).parents[3]


def _parts(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, dict):
        return [value, *(part for child in value.values() for part in _parts(child))]
    return [part for child in value for part in _parts(child)] if isinstance(value, list) else []


def test_the_schema_file_is_fresh() -> None:
    written = (ROOT / SCHEMA_FILE).read_text(encoding="utf-8")
    assert written == schema_text(), "run: python -m gateway.policy.schema"


def test_every_example_file_names_the_schema() -> None:
    for file in (ROOT / "policies").glob("*.yaml"):
        assert file.read_text(encoding="utf-8").startswith(
            f"# yaml-language-server: $schema={SCHEMA_FILE.name}\n"
        )


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    parts = _parts(policy_schema())
    assert all(part["additionalProperties"] is False for part in parts if part.get("type") == "object")
    assert not any(part.get("type") == "null" for part in parts)


def test_every_key_of_the_schema_is_described() -> None:
    for part in _parts(policy_schema()):
        for name, field in part.get("properties", {}).items():
            assert field.get("description"), name


def test_the_schema_is_plain_json() -> None:
    assert json.loads(schema_text())["$schema"].startswith("https://json-schema.org/")
