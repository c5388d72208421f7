"""`python -m tests [PYTEST OPTIONS]` runs what CI runs, in order, and stops at the first failure.

Options and paths go to pytest, which comes last: its closing line is the last line of output. Each core runs
files of tests with servers of its own; with `-n 0` one test comes after the other, as with plain `pytest`.
What is tested is what the image has, the path of a call compiled; plain `pytest` takes the sources.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent

CORES_MAX = 4  # each runs a Postgres, a Redis and gateways of several processes
CORES = min(len(os.sched_getaffinity(0)), CORES_MAX)

# Processes that tests start would each compile the whole gateway anew, which takes longer than their start.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
COMPILED = {"PYTHONSAFEPATH": "1", "PYTHONPATH": f"{ROOT / '.tollway/compiled'}{os.pathsep}{ROOT}"}
"""For pytest and what its tests start: `gateway` from there, all else from here."""

SIDE_BY_SIDE = ["-n", str(CORES), "--dist", "loadfile", "--no-loadscope-reorder"]
STEPS: tuple[tuple[str, list[str]], ...] = (
    ("format", [sys.executable, "-m", "ruff", "format", "--check", "."]),
    ("lint", [sys.executable, "-m", "ruff", "check", "."]),
    ("types", [sys.executable, "-m", "mypy"]),
    ("floors", [str(BIN / "lint-imports"), "--no-logo"]),
    ("lock", [sys.executable, "-m", "tests.lock"]),
    ("compile", ["make", "--no-print-directory", "compiled"]),
    ("tests", [sys.executable, "-m", "pytest", *SIDE_BY_SIDE]),
)


def main() -> int:
    """The exit code of the first step that fails, else 0."""
    for name, command in STEPS:
        print(f"== {name}", flush=True)
        options = sys.argv[1:] if name == "tests" else []
        environment = ENVIRONMENT | COMPILED if name == "tests" else ENVIRONMENT
        code = subprocess.run([*command, *options], cwd=ROOT, env=environment, check=False).returncode
        if code:
            return code
    return 0


if __name__ == "__main__":
    sys.exit(main())
