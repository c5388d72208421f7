"""Whether what is written fits the documents, told in the words of the person who wrote it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from functools import cache
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from gateway.model.billing import BILLABLE
from gateway.outcomes import Outcome
from gateway.policy.documents import PolicyFile
from gateway.policy.problems import Problems, listed, meant, shown
from gateway.policy.schema import policy_schema
from gateway.policy.tree import Key, Loc, Tree

Part = Mapping[str, object]

_SINGLE: tuple[Loc, ...] = (("admission",), ("bill_on",))
"""Sections that are one entry."""
_FREE = frozenset(outcome.label for outcome in Outcome) - {outcome.label for outcome in BILLABLE}


class Read(NamedTuple):
    """An entry as documents, or None. `partial`: what was wrong is left out; good for checks only."""

    document: PolicyFile | None
    partial: bool


def read_part(tree: Tree, part: Part, problems: Problems, *, route: int = 0) -> Read:
    """One entry of a file, after noting every problem of it.

    `part` is a small policy file that holds only that entry. `route` is the position of its only route in the
    whole file. Judging entries one by one, and going on with what is good of them, tells all problems at
    once.
    """
    try:
        return Read(PolicyFile.model_validate(part), _is_spoiled(tree, part, route))
    except ValidationError as error:
        errors = error.errors(include_url=False)
    for details in errors:
        if problems.full:
            return Read(None, partial=True)
        _note(tree, details, problems, route)
    only_unknown_keys = all(details["type"] == "extra_forbidden" for details in errors)
    return Read(_read_rest(part, errors), partial=not only_unknown_keys or _is_spoiled(tree, part, route))


def _read_rest(part: Part, errors: list[ErrorDetails]) -> PolicyFile | None:
    """The documents without the keys that are wrong; None when nothing usable is left."""
    rest = deepcopy(dict(part))
    while errors:
        if not all(_drop(rest, _culprit(details)) for details in errors):
            return None
        try:
            return PolicyFile.model_validate(rest)
        except ValidationError as error:
            errors = error.errors(include_url=False)
    return None


def _culprit(details: ErrorDetails) -> Loc:
    """The innermost key to leave out: list items keep their positions, so their whole list goes."""
    loc: Loc = details["loc"]
    if details["type"] == "missing" or loc[-1] == "[key]":
        loc = loc[:-1]
    while loc and isinstance(loc[-1], int):
        loc = loc[:-1]
    return loc


def _drop(part: dict[str, object], loc: Loc) -> bool:
    """Take a key out, if it lies within the entry."""
    if len(loc) <= (1 if loc[:1] in _SINGLE else 2):
        return False
    value: Any = part
    for key in loc[:-1]:
        try:
            value = value[key]
        except (KeyError, TypeError):
            return True  # gone already, with something around it
    value.pop(loc[-1], None)
    return True


def _is_spoiled(tree: Tree, part: Part, route: int) -> bool:
    return any(tree.is_spoiled(loc) for loc in _entry_locs(part, route))


def _entry_locs(part: Part, route: int) -> list[Loc]:
    """Where the entries of a part stand in their file."""
    locs: list[Loc] = []
    for section, value in part.items():
        if section == "routes":
            locs.append((section, route))
        elif isinstance(value, dict) and (section,) not in _SINGLE:
            locs.extend((section, str(name)) for name in value)
        else:
            locs.append((section,))
    return locs


def _note(tree: Tree, details: ErrorDetails, problems: Problems, route: int) -> None:
    loc: Loc = details["loc"]
    if loc[0] == "routes" and len(loc) > 1:
        loc = ("routes", route, *loc[2:])
    message = _message(details, loc)
    if loc[-1] == "[key]":
        loc = loc[:-1]
    if not tree.is_spoiled(loc):
        problems.add(tree.problem(loc, message))


def _message(details: ErrorDetails, loc: Loc) -> str:
    write = _MESSAGES.get(details["type"])
    return write(details, loc) if write else details["msg"]


def _unknown_key(_details: ErrorDetails, loc: Loc) -> str:
    if loc[-2:-1] == ("bill_on",) and loc[-1] in _FREE:
        return f"costs nothing in any case: calls that end as {shown(loc[-1])} are refused; remove it"
    known = part_schema(loc[:-1]).get("properties", {})
    return f"is not a known key.{meant(str(loc[-1]), known)}"


def _missing(_details: ErrorDetails, loc: Loc) -> str:
    examples = part_schema(loc).get("examples", [])
    example = examples[0] if examples else "..."
    text = example if isinstance(example, str) else json.dumps(example)
    return f"is required; add it, for example `{loc[-1]}: {text}`"


def _not_a_choice(details: ErrorDetails, loc: Loc) -> str:
    choices = [str(choice) for choice in part_schema(loc).get("enum", [])]
    return f"must be one of {listed(choices)}, got {shown(details['input'])}"


def _not_an_integer(details: ErrorDetails, _loc: Loc) -> str:
    return f"must be a whole number in plain digits without quotes, got {shown(details['input'])}"


def _not_text(details: ErrorDetails, _loc: Loc) -> str:
    return f'must be text, got {shown(details["input"])}; write it in quotes: "..."'


def _not_a_boolean(details: ErrorDetails, _loc: Loc) -> str:
    return f"must be true or false, got {shown(details['input'])}"


def _not_a_list(details: ErrorDetails, _loc: Loc) -> str:
    return f"must be a list such as [one, another], got {shown(details['input'])}"


def _not_a_mapping(details: ErrorDetails, _loc: Loc) -> str:
    return f"must hold keys and values such as {{key: value}}, got {shown(details['input'])}"


def _too_small(details: ErrorDetails, _loc: Loc) -> str:
    return f"must be at least {details['ctx']['ge']}, got {shown(details['input'])}"


def _too_large(details: ErrorDetails, _loc: Loc) -> str:
    return f"must be at most {details['ctx']['le']}, got {shown(details['input'])}"


def _too_short(_details: ErrorDetails, _loc: Loc) -> str:
    return "must not be empty; write at least one, or remove the key"


def _too_long(details: ErrorDetails, _loc: Loc) -> str:
    return f"is too long; at most {details['ctx']['max_length']} are allowed"


def _own_words(details: ErrorDetails, _loc: Loc) -> str:
    return str(details["ctx"]["error"])


_MESSAGES: Mapping[str, Callable[[ErrorDetails, Loc], str]] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing,
    "literal_error": _not_a_choice,
    "int_type": _not_an_integer,
    "string_type": _not_text,
    "bool_type": _not_a_boolean,
    "list_type": _not_a_list,
    "dict_type": _not_a_mapping,
    "model_type": _not_a_mapping,
    "greater_than_equal": _too_small,
    "less_than_equal": _too_large,
    "too_short": _too_short,
    "string_too_short": _too_short,
    "too_long": _too_long,
    "string_too_long": _too_long,
    "value_error": _own_words,
}


def part_schema(loc: Loc) -> Mapping[str, Any]:
    """The JSON Schema of one place in a policy file; empty when the place is not in it."""
    return _schema_at(tuple(0 if isinstance(key, int) else key for key in loc))


@cache
def _definitions() -> Mapping[str, Any]:
    return policy_schema()


def _schema_at(loc: tuple[Key, ...]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = _definitions()
    for key in loc:
        if isinstance(key, int):
            schema = schema.get("items", {})
        else:
            known = schema.get("properties", {})
            by_name = list(schema.get("patternProperties", {}).values())
            schema = known.get(key) or (by_name[0] if by_name else {})
        schema = next((choice for choice in schema.get("anyOf", ()) if "$ref" in choice), schema)
        schema = {**_definitions()["$defs"].get(schema.get("$ref", "").rpartition("/")[2], {}), **schema}
    return schema
