"""Which ends of a call are billed, and where units come from that are known only at its end, as types."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema

from gateway.model.billing import UNITS_MAX
from gateway.policy.cost_documents import CostDocument, OrUnits
from gateway.policy.header_texts import HEADER_NAME, check_header_name
from gateway.policy.problems import shown
from gateway.policy.texts import SIZE, check_size, size_bytes
from gateway.policy.values import Document, Name

STATUS = r"^([1-5]xx|[1-5][0-9]{2})$"
JSON_PATH = r"^[^.\s]{1,100}(\.[^.\s]{1,100}){0,15}$"
DEFAULT_WITHIN = "1MiB"
MOST_WITHIN = 16 * 2**20

_STATUSES = {
    "type": "array",
    "minItems": 1,
    "items": {
        "anyOf": [{"type": "string", "pattern": STATUS}, {"type": "integer", "minimum": 100, "maximum": 599}]
    },
}
_PATH = {"type": "string", "pattern": JSON_PATH}
_PATHS = {"anyOf": [_PATH, {"type": "array", "items": _PATH, "minItems": 1, "maxItems": 8}]}


def check_ends(value: object) -> object:
    """True, false, or statuses and classes of them."""
    if isinstance(value, bool):
        return value
    wanted = "true, false, or a list of statuses such as [2xx, 404]"
    if not isinstance(value, list) or not value:
        raise ValueError(f"must be {wanted}, got {shown(value)}")
    for one in value:
        if isinstance(one, bool) or re.fullmatch(STATUS, str(one)) is None:
            raise ValueError(f"must be {wanted}; {shown(one)} is no status")
    if len({str(one) for one in value}) < len(value):
        raise ValueError("names a status twice; remove one")
    return value


def check_paths(value: object) -> object:
    """The way to a field of a JSON document, or several ways."""
    paths = value if isinstance(value, list) else [value]
    for path in paths:
        if not isinstance(path, str) or re.fullmatch(JSON_PATH, path) is None:
            wanted = "names of fields with dots in between, such as usage.total_tokens"
            raise ValueError(f"must be {wanted}, got {shown(path)}")
    if not 1 <= len(paths) <= 8:
        raise ValueError("must be one path, or a list of up to 8")
    return value


def check_within(value: object) -> str:
    """How much of an answer is looked at."""
    text = check_size(value)
    size = size_bytes(text)
    if size is None or not 1 <= size <= MOST_WITHIN:
        raise ValueError(f"must be from 1B to 16MiB, got {text}")
    return text


Ends = Annotated[
    bool | list[str | int],
    BeforeValidator(check_ends),
    WithJsonSchema({"anyOf": [{"type": "boolean"}, _STATUSES]}),
]
Paths = Annotated[str | list[str], BeforeValidator(check_paths), WithJsonSchema(_PATHS)]
HeaderName = Annotated[
    str, BeforeValidator(check_header_name), Field(json_schema_extra={"pattern": HEADER_NAME})
]
Within = Annotated[str, BeforeValidator(check_within), Field(json_schema_extra={"pattern": SIZE})]
Units = Annotated[int, Field(ge=0, le=UNITS_MAX)]
Some = Annotated[int, Field(ge=1, le=UNITS_MAX)]


class MeterDocument(Document):
    """Something that is counted, besides the built-in meters."""

    unit: Name = Field(description="What one of it is called, in the singular.", examples=["token"])
    scale: Literal[1, 1000, 1000000] = Field(
        default=1,
        description=(
            "Into how many parts a unit is divided; costs, quotas and rows count parts, values that answers "
            "say are in units and may have decimals."
        ),
        examples=[1000000],
    )


class BillOnDocument(Document):
    """Which ends of a call are billed: true, false, or a list of the statuses they are billed with."""

    served: Ends | None = Field(
        default=None,
        description="The upstream answered below 500 and the caller got all of it.",
        examples=[["2xx", "3xx", "4xx"]],
    )
    client_aborted: Ends | None = Field(
        default=None,
        description="The caller hung up; true bills it even before the upstream began to answer.",
        examples=[True],
    )
    upstream_error: Ends | None = Field(
        default=None, description="The upstream answered with 500 or above, or not usably.", examples=[False]
    )
    upstream_aborted: Ends | None = Field(
        default=None, description="The upstream broke off within its answer.", examples=[False]
    )
    timeout: Ends | None = Field(
        default=None, description="The upstream took longer than allowed.", examples=[False]
    )
    access_ended: Ends | None = Field(
        default=None, description="The caller lost its right while it was answered.", examples=[["2xx"]]
    )
    interrupted: bool | None = Field(
        default=None,
        description="The worker died within the call: bills what was charged when it was admitted.",
        examples=[False],
    )


class ChargeDocument(CostDocument):
    """What one call pays into a meter: a cost known before it, or a value that is known at its end."""

    response_header: HeaderName | None = Field(
        default=None,
        description="The header of the answer that says it; callers do not get to see it.",
        examples=["X-Usage-Tokens"],
    )
    response_trailer: HeaderName | None = Field(
        default=None,
        description="The trailer field of a chunked answer that says it.",
        examples=["X-Usage-Tokens"],
    )
    response_json: Paths | None = Field(
        default=None,
        description="The field of a JSON answer that says it, or several; the first that is there counts.",
        examples=["usage.total_tokens"],
    )
    response_events: Paths | None = Field(
        default=None,
        description="The same in the events of a stream; the last event that has one counts.",
        examples=["usage.total_tokens", ["usage.input_tokens", "message.usage.input_tokens"]],
    )
    measured: Literal["request_bytes", "response_bytes", "seconds"] | None = Field(
        default=None,
        description="What the gateway measures: bytes of a body, or how long the call was open.",
        examples=["seconds"],
    )
    times: int = Field(
        default=1, ge=1, le=10**6, description="How many units 1 of the value costs.", examples=[2]
    )
    per: int = Field(
        default=1,
        ge=1,
        le=10**12,
        description="By how much the value is divided; what is left over counts as a whole unit.",
        examples=[1024],
    )
    default: Units = Field(
        default=0, description="Units, when a whole answer does not say a usable value.", examples=[100]
    )
    reserve: Some = Field(
        default=1,
        description="Units that are charged when a call is admitted, until its true cost is known.",
        examples=[1000],
    )
    max: Some = Field(
        default=UNITS_MAX, description="The most units of one call; more is cut.", examples=[100000]
    )
    within: Within = Field(
        default=DEFAULT_WITHIN,
        description="How much of a JSON answer, or of one event, is looked at, at most 16MiB.",
        examples=["4MiB"],
    )
    bill_on: BillOnDocument | None = Field(
        default=None,
        description="Which ends of a call are billed for this meter, where that differs from the route.",
        examples=[{"client_aborted": True}],
    )

    @property
    def sources(self) -> list[str]:
        """The keys that say where its value comes from; empty for a cost that is known before the call."""
        return [key for key in SOURCES if getattr(self, key) is not None]


OF_ANSWERS = ("response_header", "response_trailer", "response_json", "response_events")
SOURCES = (*OF_ANSWERS, "measured")

AnyCharge = Annotated[ChargeDocument, OrUnits()]
