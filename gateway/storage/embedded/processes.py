"""Ending processes: children, and orphans that are recognised by their command line."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

POLL_S = 0.01
Steps = tuple[tuple[signal.Signals, float], ...]


def end(child: subprocess.Popen[bytes], steps: Steps) -> None:
    """Send each signal and wait its seconds, until the child is gone."""
    for number, patience_s in steps:
        child.send_signal(number)
        try:
            child.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return


def end_orphan(pid: int, folder: str, steps: Steps) -> bool:
    """The same for a process not our child, if it really is a server of `folder`. True once it is gone."""
    for number, patience_s in steps:
        deadline = time.monotonic() + patience_s
        if not serves(pid, folder):
            return True
        os.kill(pid, number)
        while serves(pid, folder) and time.monotonic() < deadline:
            time.sleep(POLL_S)
    return not serves(pid, folder)


def serves(pid: int, folder: str) -> bool:
    """Whether `pid` lives and was started on `folder`: pids are used again, so being alive proves nothing."""
    return f" {folder} " in f" {_command_line(pid)} "


def _command_line(pid: int) -> str:
    """Arguments of a process joined by spaces; empty for one that is gone or a zombie."""
    if Path("/proc/self/cmdline").exists():  # not on macOS
        try:
            return (
                Path(f"/proc/{pid}/cmdline")
                .read_bytes()
                .replace(b"\0", b" ")
                .decode(errors="surrogateescape")
            )
        except (FileNotFoundError, ProcessLookupError):
            return ""
    listed = subprocess.run(  # noqa: S603 - a number is all that varies
        ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False, timeout=10
    )
    return listed.stdout.decode(errors="surrogateescape").strip()
