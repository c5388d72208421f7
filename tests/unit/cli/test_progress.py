"""Bars for who waits at a terminal, and for nobody else."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

SCRIPT = """
import sys
from gateway.cli.progress import ongoing, progress, steps
quiet = sys.argv[1] == "quiet"
with progress("Importing", [1, 2, 3], quiet=quiet) as each:
    assert list(each) == [1, 2, 3]
with steps("Reading", None, quiet=quiet) as tell:
    tell(5)
with ongoing("Migrating", quiet=quiet) as told:
    told(0, 2)
    told(2, 2)
with ongoing("Nothing", quiet=quiet):
    pass
print("the result")
"""


def run(mode: str, *, stdout_is_pipe: bool, stderr_is_terminal: bool) -> tuple[str, str]:
    """What is printed, and what is shown at the terminal, if stderr is one."""
    ours, theirs = pty.openpty()
    out = subprocess.PIPE if stdout_is_pipe else theirs
    err = theirs if stderr_is_terminal else subprocess.PIPE
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TERM": "xterm"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, mode], stdout=out, stderr=err, env=environ, check=True, timeout=60
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so at the end of a terminal
            break
        if not piece:
            break
        shown += piece
    os.close(ours)
    return ((done.stdout or b"") + (done.stderr or b"")).decode(), shown.decode()


def test_a_terminal_gets_bars() -> None:
    _, shown = run("loud", stdout_is_pipe=False, stderr_is_terminal=True)
    assert "Importing" in shown
    assert "100%" in shown
    assert "Migrating" in shown
    assert "Nothing" not in shown, "there was nothing to wait for"
    assert "the result" in shown


@pytest.mark.parametrize(
    ("case", "mode", "stdout_is_pipe", "stderr_is_terminal"),
    [
        ("another program reads the output", "loud", True, True),
        ("stderr goes elsewhere", "loud", True, False),
        ("it is asked to be quiet, as by --json", "quiet", False, True),
    ],
)
def test_nobody_else_does(case: str, mode: str, stdout_is_pipe: bool, stderr_is_terminal: bool) -> None:
    printed, shown = run(mode, stdout_is_pipe=stdout_is_pipe, stderr_is_terminal=stderr_is_terminal)
    assert (printed + shown).strip() == "the result", case
