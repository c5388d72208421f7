"""What the documents are made of: the types of single values, and what all documents have in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from gateway.model.networks import NETWORK
from gateway.model.periods import PERIOD
from gateway.policy import scope_texts, texts

LARGEST = 10**15 - 1
"""Amounts fit integers of HTTP fields (RFC 9651: 15 digits) and stay exact in JSON, Lua and JavaScript."""

Name = Annotated[str, BeforeValidator(texts.check_name), Field(json_schema_extra={"pattern": texts.NAME})]
Duration = Annotated[
    str, BeforeValidator(texts.check_duration), Field(json_schema_extra={"pattern": texts.DURATION})
]
Size = Annotated[str, BeforeValidator(texts.check_size), Field(json_schema_extra={"pattern": texts.SIZE})]
Rate = Annotated[str, BeforeValidator(texts.check_rate), Field(json_schema_extra={"pattern": texts.RATE})]
Per = Annotated[str, BeforeValidator(texts.check_period), Field(json_schema_extra={"pattern": PERIOD})]
Host = Annotated[
    str, BeforeValidator(texts.check_host_or_below), Field(json_schema_extra={"pattern": texts.HOST_OR_BELOW})
]
Range = Annotated[str, BeforeValidator(texts.check_network), Field(json_schema_extra={"pattern": NETWORK})]
Method = Annotated[
    str, BeforeValidator(texts.check_method), Field(json_schema_extra={"pattern": texts.METHOD})
]
Currency = Annotated[
    str, BeforeValidator(texts.check_currency), Field(json_schema_extra={"pattern": texts.CURRENCY})
]
Link = Annotated[str, BeforeValidator(texts.check_link), Field(json_schema_extra={"pattern": texts.LINK})]
Path = Annotated[str, BeforeValidator(texts.check_path), Field(json_schema_extra={"pattern": texts.PATH})]
Title = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(texts.check_title)]
Scope = Annotated[
    str | list[str],
    BeforeValidator(scope_texts.check_scope),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": scope_texts.PART},
                {"type": "array", "items": {"type": "string", "pattern": scope_texts.PART}, "minItems": 1},
            ]
        }
    ),
]
Positive = Annotated[int, Field(ge=1, le=LARGEST)]
Cost = Annotated[int, Field(ge=0, le=LARGEST)]


class Document(BaseModel):
    """What every part of a policy file has in common: strict, closed, frozen."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
