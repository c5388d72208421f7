"""What a call costs, as the policy files write it: one number, or numbers by method and size."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gateway.policy.problems import shown
from gateway.policy.values import LARGEST, Cost, Document, Method

LARGEST_PER_KIB = 10**6
"""Times the KiB of the largest body there can be, it stays an exact number everywhere."""


class OrUnits:
    """A cost may also be written as a number alone."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_cost, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 0, "maximum": LARGEST}
        return {"anyOf": [number, handler(schema)]}


def _as_cost(value: object) -> object:
    if isinstance(value, dict | CostDocument):
        return value
    if not isinstance(value, int) or isinstance(value, bool):
        message = f"must be a whole number in plain digits without quotes, got {shown(value)}"
        raise ValueError(message)  # noqa: TRY004 - pydantic takes ValueError for a problem
    if not 0 <= value <= LARGEST:
        bound = f"at least 0, got {value}" if value < 0 else f"at most {LARGEST}, got {value}"
        raise ValueError(f"must be {bound}")
    return {"units": value}


class CostDocument(Document):
    """What one call costs. A number alone is `units`."""

    units: Cost = Field(default=1, description="What a call costs.", examples=[1])
    methods: dict[Method, Cost] = Field(
        default={},
        max_length=32,
        description="What calls with these methods cost instead. GET includes HEAD.",
        examples=[{"POST": 5}],
    )
    per_kib: int = Field(
        default=0,
        ge=0,
        le=LARGEST_PER_KIB,
        description=(
            "What each begun KiB of the request's body costs on top. "
            "A body whose length is not announced is refused with 411."
        ),
        examples=[1],
    )


AnyCost = Annotated[CostDocument, OrUnits()]
