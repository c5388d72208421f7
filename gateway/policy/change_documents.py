"""What policies may change of a call on its way: the path, and header lines of requests and answers."""

from __future__ import annotations

from typing import Annotated

from pydantic import BeforeValidator, Field

from gateway.policy import header_texts, texts
from gateway.policy.values import Document

HeaderName = Annotated[
    str,
    BeforeValidator(header_texts.check_header_name),
    Field(json_schema_extra={"pattern": header_texts.HEADER_NAME}),
]
HeaderValue = Annotated[
    str,
    BeforeValidator(header_texts.check_header_value),
    Field(json_schema_extra={"pattern": header_texts.HEADER_VALUE}),
]
NewPath = Annotated[
    str, BeforeValidator(texts.check_new_path), Field(json_schema_extra={"pattern": texts.NEW_PATH})
]
Prefix = Annotated[
    str, BeforeValidator(texts.check_prefix), Field(json_schema_extra={"pattern": texts.PREFIX})
]


class HeadersDocument(Document):
    """Header lines that are left out, replaced or added. A name stands once, whatever its spelling."""

    set: dict[HeaderName, HeaderValue] = Field(
        default={},
        max_length=64,
        description="Headers with this value alone: every line of the name that is there is left out.",
        examples=[{"X-Api-Version": "2"}],
    )
    add: dict[HeaderName, HeaderValue] = Field(
        default={},
        max_length=64,
        description="Lines that are put beside those of the name that are there.",
        examples=[{"Vary": "Origin"}],
    )
    remove: list[HeaderName] = Field(
        default=[],
        max_length=64,
        description="Headers that are left out.",
        examples=[["Server", "X-Powered-By"]],
    )


class RewriteDocument(Document):
    """The path that the upstream gets instead of the caller's: `path`, or the others. Never the query."""

    path: NewPath | None = Field(
        default=None,
        description=(
            "The new path. {name} is the segment that match.path calls so, a last /** what its /** takes."
        ),
        examples=["/users/{id}/files/**"],
    )
    strip_prefix: Prefix | None = Field(
        default=None,
        description="What is taken from the beginning of the path; match.path begins with it.",
        examples=["/v1"],
    )
    add_prefix: Prefix | None = Field(
        default=None,
        description="What is put before the path, or in place of strip_prefix.",
        examples=["/internal"],
    )
    forwarded_prefix: bool = Field(
        default=False,
        description="Whether the upstream is told of strip_prefix, in X-Forwarded-Prefix.",
        examples=[True],
    )
