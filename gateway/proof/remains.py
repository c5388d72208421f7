"""Ends everything that was started on a proof's folder, whatever became of who started it. Linux only."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from pathlib import Path

DATA = "data"
"""The gateway's data folder, below the proof's."""
POLITE_S = 10.0
FIRM_S = 5.0
_POLL_S = 0.02


def end_all(folder: Path) -> list[int]:
    """End every process of the data in `folder`, servers politely at first. Those that would not go."""
    for number, patience_s in ((signal.SIGINT, POLITE_S), (signal.SIGKILL, FIRM_S)):
        deadline_s = time.monotonic() + patience_s
        told: set[int] = set()
        while found := _processes_of(folder):
            for pid, is_ours in found.items():
                if pid not in told:
                    told.add(pid)
                    # Ours are known to survive their death; PostgreSQL would leave a piece of shared memory.
                    _send(pid, signal.SIGKILL if is_ours else number)
                    _send(pid, signal.SIGCONT)
            if time.monotonic() > deadline_s:
                break
            time.sleep(_POLL_S)
        else:
            return []
    return list(found)


def end_and_remove(folder: Path) -> None:
    """End what runs on the data of a proof's folder, and remove the folder."""
    end_all(folder / DATA)
    shutil.rmtree(folder, ignore_errors=True)


def _processes_of(folder: Path) -> dict[int, bool]:
    """Process ids, and whether it is a Python process of ours."""
    found: dict[int, bool] = {}
    mark = os.fsencode(folder)
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if b"TOLLWAY_DATA_DIR=" + mark in (entry / "environ").read_bytes():
                found[int(entry.name)] = True
            elif b"\0" + mark in (entry / "cmdline").read_bytes():
                found[int(entry.name)] = False
    return found


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
