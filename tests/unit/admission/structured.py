"""A strict reader of structured fields (RFC 9651, section 4.2): lists of items with parameters."""

from __future__ import annotations

import re

Bare = int | str | bool
Item = tuple[Bare, dict[str, Bare]]

_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_INTEGER = re.compile(r"-?[0-9]{1,15}(?![0-9.])")
_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')


def parse_list(field: bytes) -> list[Item]:
    """The members of a List; ValueError where a strict recipient ignores the whole field."""
    text, at, items = field.decode("ascii").strip(" "), 0, []
    while True:
        item, at = _item(text, at)
        items.append(item)
        if at == len(text):
            return items
        separator = re.compile(r"[ \t]*,[ \t]*").match(text, at)
        if separator is None or separator.end() == len(text):
            raise ValueError(f"no list goes on like {text[at : at + 20]!r}")
        at = separator.end()


def _item(text: str, at: int) -> tuple[Item, int]:
    value, at = _bare(text, at)
    parameters: dict[str, Bare] = {}
    while at < len(text) and text[at] == ";":
        key = _KEY.match(text, at + 1)
        if key is None:
            raise ValueError(f"no parameter begins like {text[at : at + 20]!r}")
        at = key.end()
        parameters[key[0]] = True
        if at < len(text) and text[at] == "=":
            parameters[key[0]], at = _bare(text, at + 1)
    return (value, parameters), at


def _bare(text: str, at: int) -> tuple[Bare, int]:
    if (string := _STRING.match(text, at)) is not None:
        return re.sub(r"\\(.)", r"\1", string[1]), string.end()
    if (integer := _INTEGER.match(text, at)) is not None:
        return int(integer[0]), integer.end()
    raise ValueError(f"neither a String nor an Integer: {text[at : at + 20]!r}")
