"""The JSON Schema of policy files, for editors: made from the very types that read them.

`python -m gateway.policy.schema` writes it to `policies/tollway.schema.json`; a test fails when that file is
stale.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from gateway.policy.documents import PolicyFile

SCHEMA_FILE = Path("policies/tollway.schema.json")


class _PolicySchema(GenerateJsonSchema):
    """Leaves out what the reader refuses: nulls, and names that do not fit their pattern."""

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def dict_schema(self, schema: core_schema.DictSchema) -> JsonSchemaValue:
        return {**super().dict_schema(schema), "additionalProperties": False}


def policy_schema() -> dict[str, Any]:
    """The schema of one policy file."""
    schema = PolicyFile.model_json_schema(schema_generator=_PolicySchema)
    _tidy(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Tollway policies"}


def _tidy(part: Any) -> None:
    """Drop generated titles and null defaults: editors show them as noise."""
    if isinstance(part, dict):
        if "type" in part or "$ref" in part:
            if isinstance(part.get("title"), str):
                del part["title"]
            if part.get("default", "") is None:
                del part["default"]
        for value in part.values():
            _tidy(value)
    elif isinstance(part, list):
        for value in part:
            _tidy(value)


def schema_text() -> str:
    """The schema as the file holds it."""
    return json.dumps(policy_schema(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMA_FILE
    target.write_text(schema_text(), encoding="utf-8")
