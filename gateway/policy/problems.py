"""What is wrong in a policy folder, said so that a person can mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches

MOST_PROBLEMS = 200
"""More are not collected: nobody reads them, and a hostile folder must not keep us busy."""

_SHOWN_CHARACTERS = 48


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing to mend. `line` 0: the whole file or folder; `where` is the path of keys, may be empty."""

    file: str
    line: int
    where: str
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.where}: {self.message}" if self.where else f"{place}: {self.message}"


class Problems:
    """Collects problems up to `MOST_PROBLEMS`, each once."""

    def __init__(self) -> None:
        self._found: set[Problem] = set()

    def __iter__(self) -> Iterator[Problem]:
        return iter(sorted(self._found))

    def __len__(self) -> int:
        return len(self._found)

    @property
    def full(self) -> bool:
        return len(self._found) >= MOST_PROBLEMS

    def add(self, problem: Problem) -> None:
        """Note a problem; beyond the limit the rest is counted by nobody."""
        if not self.full:
            self._found.add(problem)

    def sorted(self) -> tuple[Problem, ...]:
        """All of them by file and line, with a last one that admits it when there may be more."""
        found = sorted(self._found)
        if self.full:
            last = found[-1]
            message = (
                f"there may be more: only the first {MOST_PROBLEMS} problems are listed; mend these first"
            )
            found.append(Problem(last.file, last.line, "", message))
        return tuple(found)


def shown(value: object) -> str:
    """A value as messages may show it: short, printable, and never a URL, which may hold a password."""
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "keys and values"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if "://" in text:
        return "a URL"
    text = "".join(
        character if character.isprintable() else "?" for character in text[: _SHOWN_CHARACTERS + 1]
    )
    short = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return short or "nothing"


def quoted(name: object) -> str:
    """A name between backticks."""
    return f"`{shown(name)}`"


def listed(names: Iterable[str]) -> str:
    """Names between backticks, with commas."""
    return ", ".join(quoted(name) for name in names)


def meant(name: str, known: Iterable[str]) -> str:
    """` Did you mean ...?` when a known name is close, otherwise the known names, otherwise nothing."""
    names = list(known)
    close = get_close_matches(name[:64], names, n=1)
    if close:
        return f" Did you mean {quoted(close[0])}?"
    return f" There is: {listed(sorted(names)[:20])}." if names else ""
