"""Programs inside PyPI wheels. Their helper code is not imported: it makes users and widens permissions."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from gateway.errors import StartupError


def find_in_wheel(package: str, program: str) -> Path | None:
    """Where `program` lies inside an installed package, or None. StartupError if it can not be executed."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / program
    if not path.is_file():
        return None
    if not os.access(path, os.X_OK):
        raise StartupError(f"{path} is not executable. Install `tollway[embedded]` again.")
    return path
