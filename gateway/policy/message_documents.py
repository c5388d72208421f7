"""How large the messages of a WebSocket may be, as it is written: one size, or one each way."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from gateway.policy.texts import MESSAGE_SIZE, check_message_size
from gateway.policy.values import Document

MessageSize = Annotated[
    str, BeforeValidator(check_message_size), Field(json_schema_extra={"pattern": MESSAGE_SIZE})
]


class _OrSize:
    """Both ways may be written as one size."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(_as_message, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [{"type": "string", "pattern": MESSAGE_SIZE}, handler(schema)]}


def _as_message(value: object) -> object:
    if isinstance(value, dict | MessageDocument):
        return value
    size = check_message_size(value)
    return {"ingress": size, "egress": size}


class MessageDocument(Document):
    """The largest message of a WebSocket. A size alone is both."""

    ingress: MessageSize = Field(
        default="none", description="What a caller may send in one message.", examples=["64KiB"]
    )
    egress: MessageSize = Field(
        default="none", description="What the upstream may send in one message.", examples=["1MiB"]
    )


AnyMessage = Annotated[MessageDocument, _OrSize()]
