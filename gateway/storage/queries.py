"""SQL from files next to the modules that use it."""

from __future__ import annotations

import re
from pathlib import Path

SECTION = re.compile(r"(?:\A|\n[ \t]*\n)-- ([a-z][a-z0-9_]*)[ \t]*(?=\n)")
"""A name alone on a comment line, first in the file or after an empty line, begins a query."""


class Queries:
    """The queries of one file, each an attribute."""

    def __init__(self, path: Path, texts: dict[str, str]) -> None:
        self._path = path
        self._texts = texts

    def __getattr__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            raise AttributeError(f"{self._path.name} has no query `{name}`") from None

    def __dir__(self) -> list[str]:
        return sorted(self._texts)


def load_queries(package_file: str, name: str) -> Queries:
    """Read `<name>.sql` from the folder of the module `package_file` (hand in `__file__`).

    ValueError names what is wrong with the file: that is a defect of ours, found when the module is imported.
    """
    path = Path(package_file).parent / f"{name.removesuffix('.sql')}.sql"
    parts = SECTION.split(path.read_text(encoding="utf-8"))
    if _without_comments(parts[0]):
        raise ValueError(f"{path.name} has SQL before its first `-- query_name` line")
    texts: dict[str, str] = {}
    for query, text in zip(parts[1::2], parts[2::2], strict=True):
        if query in texts:
            raise ValueError(f"{path.name} has two queries named `{query}`")
        texts[query] = _without_comments(text)
        if not texts[query]:
            raise ValueError(f"{path.name}: the query `{query}` is empty")
    return Queries(path, texts)


def _without_comments(text: str) -> str:
    return "\n".join(
        line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("--")
    )
