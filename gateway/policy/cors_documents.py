"""CORS profiles as the policy files write them: which pages of other origins may call, and how."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.policy.problems import shown
from gateway.policy.values import Document, Duration, Method

EVERY = "*"
_NAME = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
ORIGIN = (
    rf"^(\*|[a-z][a-z0-9+.-]{{0,31}}://((\*\.)?{_NAME}(\.{_NAME})*|\[[0-9a-f:.]+\])(:[1-9][0-9]{{0,4}})?)$"
)
FIELD = r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}$"
_USUAL_PORTS = (("http://", ":80"), ("https://", ":443"))


def check_origin(value: object) -> str:
    """An origin as browsers spell it, one with `*.` for everything below a name, or `*`."""
    text = value if isinstance(value, str) else ""
    if text == "null":
        raise ValueError("must not be null: any page can make itself that origin; name the real one")
    if re.fullmatch(ORIGIN, text) is None:
        raise ValueError(
            "must be an origin as browsers send it, in lower case and without path or slash at the end, such "
            "as https://app.example.com, https://*.example.com or http://localhost:3000; or * for every one"
        )
    for scheme, port in _USUAL_PORTS:
        if text.startswith(scheme) and text.endswith(port):
            raise ValueError(f"must not end in {port}: browsers leave out the usual port")
    return text


def check_field(value: object) -> str:
    """The name of a header field, or `*`."""
    if isinstance(value, str) and re.fullmatch(FIELD, value):
        return value
    raise ValueError(f"must be a header name such as X-Trace, or * for every one, got {shown(value)}")


Origin = Annotated[str, BeforeValidator(check_origin), Field(json_schema_extra={"pattern": ORIGIN})]
FieldName = Annotated[str, BeforeValidator(check_field), Field(json_schema_extra={"pattern": FIELD})]


class CorsDocument(Document):
    """Which pages of other origins may call the routes that name this profile."""

    origins: list[Origin] = Field(
        min_length=1,
        max_length=200,
        description=(
            "Origins as browsers send them; https://*.example.com for everything below a name, "
            "not the name itself; * for every one."
        ),
        examples=[["https://app.example.com", "https://*.example.com"]],
    )
    methods: list[Method] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description=(
            "Methods they may use, as far as the route takes them. If left out, those of the route, or "
            "GET, HEAD, POST, PUT, PATCH and DELETE where it takes every one."
        ),
        examples=[["GET", "POST"]],
    )
    headers: list[FieldName] = Field(
        default=["Authorization", "Content-Type", "X-API-Key"],
        max_length=100,
        description="Request headers they may send besides those every page may; * for every one.",
        examples=[["Authorization", "Content-Type"]],
    )
    expose: list[FieldName] = Field(
        default=[],
        max_length=100,
        description=(
            "Headers of answers they may read, besides RateLimit, RateLimit-Policy, Retry-After and "
            "Tollway-Request-Id; * for every one."
        ),
        examples=[["Link", "X-Total-Count"]],
    )
    credentials: bool = Field(
        default=False,
        description="Whether they may send cookies. API keys in headers need no such permission.",
        examples=[True],
    )
    max_age: Duration = Field(
        default="10m",
        description="How long browsers may remember the answer to a preflight, in whole seconds.",
        examples=["1h"],
    )
