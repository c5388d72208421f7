"""Label values that only the policies know, such as the names of limits, and their places in the slots.

A name keeps its place as long as the slots file lives, whatever a reload does to the policies: so its counter
only grows. The places are in a small file beside the slots, written when a name is counted for the first
time; when that fails they are lost with the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from gateway.telemetry.catalogue import NAMES_MAX, OTHER


def names_of(slots: Path) -> Path:
    """Where the names of a slots file are."""
    return slots.with_suffix(".names")


def read_names(path: Path) -> Mapping[str, list[str]]:
    """Names by metric, in the order of their places. Nothing when there is no file that can be read."""
    try:
        known: object = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


class Names:
    """The places of one process. `path` None: kept nowhere."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known = dict(read_names(path)) if path is not None else {}

    def place(self, metric: str, name: str) -> str:
        """Where `name` is counted; `OTHER` when all places are taken."""
        names = self._known.setdefault(metric, [])
        if name not in names:
            if len(names) >= NAMES_MAX:
                return OTHER
            names.append(name)
            self._write()
        return str(names.index(name))

    def _write(self) -> None:
        if self._path is None:
            return
        with suppress(OSError):  # a full disk refuses nobody
            new = self._path.with_suffix(".names-new")
            new.write_text(json.dumps(self._known), encoding="utf-8")
            new.replace(self._path)
