"""Numbers that an upstream reports: in a header, or somewhere in a JSON document."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from fractions import Fraction
from typing import Any

from gateway.model.billing import NOTHING_READ, Found, JsonPath, Reading

_NUMBER = re.compile(r"[0-9]{1,30}(\.[0-9]{1,30})?([eE][+-]?[0-9]{1,2})?")
"""No sign: nobody is paid for calling. Bounded, so that no text can make a number of a million digits."""
INVALID = Reading(Found.INVALID)
NO_DOCUMENT = object()


def number(text: str) -> Reading:
    """What a text says."""
    text = text.strip(" \t")
    return Reading(Found.READ, Fraction(Decimal(text))) if _NUMBER.fullmatch(text) else INVALID


def parse_json(raw: bytes) -> object:
    """The document with its numbers as texts, exactly as written; `NO_DOCUMENT` if it is none."""
    try:
        return json.loads(raw, parse_float=str, parse_int=str, parse_constant=str)
    except (ValueError, RecursionError):
        return NO_DOCUMENT


def at_first(document: object, paths: tuple[JsonPath, ...]) -> Reading:
    """The number at the first of the paths that leads to something."""
    for path in paths:
        found = _follow(document, path)
        if found is not None:
            return number(found) if isinstance(found, str) else INVALID
    return NOTHING_READ


def _follow(document: Any, path: JsonPath) -> object:
    """What stands there, None for nothing. A number as a name counts the items of a list, from 0."""
    for name in path:
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isdecimal() and len(name) < 8:
            document = document[int(name)] if int(name) < len(document) else None
        else:
            return None
    return document
