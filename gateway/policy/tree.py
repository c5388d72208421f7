"""YAML read without trust: plain values and the line of each, from a stream of events.

Nothing is ever constructed, expanded or recursed into: aliases, anchors and tags are problems the moment they
appear, so no document can cost more than its own length. Scalars follow the YAML 1.2 core schema without its
traps: only `true` and `false` are booleans, only plain decimal digits are integers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from gateway.policy.problems import Problem, Problems, quoted, shown

Key = str | int
Loc = tuple[Key, ...]

MOST_VALUES = 50_000
DEEPEST = 16

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,17})")
_FLOAT = re.compile(
    r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]{1,3})?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_TAB_INDENT = re.compile(r"^ *\t", re.MULTILINE)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class UnreadableYaml(Exception):
    """The text can not be read as one plain YAML document. Never leaves this room."""

    def __init__(self, line: int, message: str) -> None:
        self.line = line
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Tree:
    """One file as plain values, with the line of every key and list item.

    `spoiled` places have had their problem told; nothing more is said about them.
    """

    file: str
    value: Mapping[str, object]
    lines: Mapping[Loc, int]
    spoiled: frozenset[Loc]

    def problem(self, loc: Loc, message: str) -> Problem:
        """A problem at a place, or at the nearest place above it that is written down."""
        known = loc
        while known and known not in self.lines:
            known = known[:-1]
        return Problem(self.file, self.lines.get(known, 1), self.where(loc), message)

    def where(self, loc: Loc) -> str:
        """A place as a path of keys; list items go by their name where they have one."""
        value: object = self.value
        text = ""
        for key in loc:
            if isinstance(key, int):
                value = value[key] if isinstance(value, list) and key < len(value) else None
                name = value.get("name") if isinstance(value, dict) else None
                text += f"[{shown(name)}]" if isinstance(name, str) else f"[{key}]"
            else:
                value = value.get(key) if isinstance(value, dict) else None
                text += f".{shown(key)}" if text else shown(key)
        return text

    def place(self, loc: Loc) -> str:
        """`file:line`, to point at from elsewhere."""
        return f"{self.file}:{self.lines.get(loc, 1)}"

    def is_spoiled(self, loc: Loc) -> bool:
        """Whether a problem of this place, above or below it is already told."""
        return any(spoiled[: len(loc)] == loc or loc[: len(spoiled)] == spoiled for spoiled in self.spoiled)


def read_tree(file: str, text: str, problems: Problems) -> Tree | None:
    """The file as a tree; None when there is nothing to go on with. Whatever is wrong goes to `problems`."""
    try:
        _check_characters(text)
        builder = _Builder(file, problems)
        for event in yaml.parse(text, Loader=_LOADER):
            builder.take(event)
    except UnreadableYaml as error:
        problems.add(Problem(file, error.line, "", error.message))
        return None
    except yaml.MarkedYAMLError as error:
        line, message = _syntax(error)
        last = max(1, len(text.splitlines()))
        problems.add(Problem(file, min(line, last), "", message))
        return None
    except yaml.YAMLError:
        problems.add(Problem(file, 0, "", "is not readable as YAML"))
        return None
    return builder.tree()


def _check_characters(text: str) -> None:
    odd = _UNPRINTABLE.search(text)
    if odd:
        message = f"holds the character U+{ord(odd.group()):04X}, which YAML can not carry; remove it"
        raise UnreadableYaml(text.count("\n", 0, odd.start()) + 1, message)
    tab = _TAB_INDENT.search(text)
    if tab:
        raise UnreadableYaml(text.count("\n", 0, tab.start()) + 1, "is indented with a tab; use spaces")


def _syntax(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    """Line and message. Quotes nothing from the file."""
    mark = error.problem_mark or error.context_mark
    context = f" ({error.context})" if error.context else ""
    message = f"is not valid YAML: {error.problem}{context}; is it cut off, or wrongly indented or quoted?"
    return (mark.line + 1 if mark else 0), message


class _Frame:
    """A collection that is still open."""

    __slots__ = ("items", "key", "loc", "skip")

    def __init__(self, loc: Loc, items: dict[str, object] | list[object]) -> None:
        self.loc = loc
        self.items = items
        self.key: str | None = None  # of a mapping: the key whose value comes next
        self.skip = False  # that key was there before


class _Builder:
    """Puts the events of one file together. No recursion, so depth can not hurt."""

    def __init__(self, file: str, problems: Problems) -> None:
        self._file = file
        self._problems = problems
        self._frames: list[_Frame] = []
        self._lines: dict[Loc, int] = {}
        self._spoiled: set[Loc] = set()
        self._root: object = None
        self._documents = 0
        self._values = 0

    def take(self, event: yaml.Event) -> None:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise UnreadableYaml(line, "holds several documents; keep one per file (remove `---`)")
        elif isinstance(event, yaml.NodeEvent):
            self._values += 1
            if self._values > MOST_VALUES:
                raise UnreadableYaml(line, f"holds more than {MOST_VALUES} values; split the file")
            self._node(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._frames.pop()

    def _node(self, event: yaml.NodeEvent, line: int) -> None:
        frame = self._frames[-1] if self._frames else None
        if frame and isinstance(frame.items, dict) and frame.key is None:
            self._key(frame, frame.items, event, line)
            return
        loc = self._next_loc(frame)
        if isinstance(frame and frame.items, list):
            self._lines.setdefault(loc, line)
        value = self._value(event, loc, line)
        if frame is None:
            self._root = value
        elif isinstance(frame.items, list):
            frame.items.append(value)
        else:
            if not frame.skip:
                frame.items[str(frame.key)] = value
            frame.key, frame.skip = None, False
        if isinstance(value, dict | list):
            if len(self._frames) >= DEEPEST:
                raise UnreadableYaml(line, f"nests deeper than {DEEPEST} levels")
            self._frames.append(_Frame(loc, value))

    def _next_loc(self, frame: _Frame | None) -> Loc:
        if frame is None:
            return ()
        return (*frame.loc, len(frame.items) if isinstance(frame.items, list) else str(frame.key))

    def _key(self, frame: _Frame, items: dict[str, object], event: yaml.NodeEvent, line: int) -> None:
        if not isinstance(event, yaml.ScalarEvent):
            raise UnreadableYaml(line, "has a key that is not plain text; write `key: value`")
        loc = (*frame.loc, event.value)
        if event.anchor or _tagged(event):
            self._spoil(loc, line, "has an anchor or a tag; write the key plainly")
        frame.key, frame.skip = event.value, event.value in items
        if frame.skip:
            message = f"is already written at {self._file}:{self._lines[loc]}; remove one of the two"
            self._note(loc, line, message)
        self._lines.setdefault(loc, line)

    def _value(self, event: yaml.NodeEvent, loc: Loc, line: int) -> object:
        if isinstance(event, yaml.AliasEvent):
            name = quoted(f"*{event.anchor}")
            self._spoil(loc, line, f"is the alias {name}; write the value out")
            return None
        if event.anchor:
            self._spoil(loc, line, f"has the anchor {quoted(f'&{event.anchor}')}; write values out instead")
        if _tagged(event):
            self._spoil(loc, line, f"has the tag {quoted(getattr(event, 'tag', ''))}; remove it")
        if isinstance(event, yaml.MappingStartEvent):
            return {}
        if isinstance(event, yaml.SequenceStartEvent):
            return []
        text = str(getattr(event, "value", ""))
        if getattr(event, "style", None) not in (None, ""):
            return text  # quoted, so text whatever it looks like
        if text in _NULLS and loc:
            self._spoil(loc, line, "has no value; give it one or remove the key")
            return None
        return _plain(text)

    def _spoil(self, loc: Loc, line: int, message: str) -> None:
        """Note a problem and say no more about this place."""
        if self._problems.full:  # keeps `spoiled` short as well
            raise UnreadableYaml(line, "is read no further")
        self._spoiled.add(loc)
        self._note(loc, line, message)

    def _note(self, loc: Loc, line: int, message: str) -> None:
        root = self._root if isinstance(self._root, dict) else {}
        self._problems.add(
            Problem(self._file, line, Tree(self._file, root, {}, frozenset()).where(loc), message)
        )

    def tree(self) -> Tree | None:
        if self._root is None and not self._documents:
            return Tree(self._file, {}, {}, frozenset())
        if not isinstance(self._root, dict):
            message = "must hold keys such as `tiers:` and `routes:`, each with its policies"
            self._problems.add(Problem(self._file, 1, "", message))
            return None
        return Tree(self._file, self._root, self._lines, frozenset(self._spoiled))


def _tagged(event: yaml.NodeEvent) -> bool:
    """Whether somebody wrote a tag. Plain and quoted scalars may carry the tag `!` from the parser."""
    tag = getattr(event, "tag", None)
    return tag is not None and tag != ""


def _plain(text: str) -> object:
    """What an unquoted scalar means."""
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text
