"""How much memory there is, how much this process has, and how to give some back."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

USABLE = 0.8
"""Of what there is; the rest is for the servers and processes beside the workers, and for the kernel."""


def worker_bound(workers: int, root: Path = Path("/")) -> int:
    """What one of that many workers may take when nobody says; 0 when the machine does not tell."""
    limits = list(_limits(root))
    return int(min(limits) * USABLE / workers) if limits else 0


def _limits(root: Path) -> Iterator[int]:
    """The machine's memory, and the bounds of every control group around us (version 1 or 2)."""
    with suppress(OSError, ValueError, IndexError, StopIteration):
        lines = (root / "proc/meminfo").read_text().splitlines()
        yield int(next(line for line in lines if line.startswith("MemTotal:")).split()[1]) * 1024
    groups = root / "sys/fs/cgroup"
    with suppress(OSError, ValueError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _limits_above(groups, path, "memory.max")
            elif "memory" in controllers.split(","):
                yield from _limits_above(groups / "memory", path, "memory.limit_in_bytes")


def _limits_above(groups: Path, path: str, file: str) -> Iterator[int]:
    """In a container our path may be the host's, which is not there; its root then is ours."""
    own = groups / path.lstrip("/")
    for folder in (own, *own.parents):
        if not folder.is_relative_to(groups):
            return
        with suppress(OSError, ValueError):  # `max`: no bound
            yield int((folder / file).read_text())


def measure() -> Callable[[], int]:
    """A function that says how many bytes are this process's own: not shared, not of a mapped file.

    Where the system does not tell, it says 0.
    """
    try:
        # Kept open: a full table of descriptors must not blind us.
        status = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return lambda: 0
    page_bytes = os.sysconf("SC_PAGE_SIZE")

    def own_bytes() -> int:
        fields = os.pread(status, 200, 0).split()
        return (int(fields[1]) - int(fields[2])) * page_bytes

    return own_bytes


def give_back() -> None:
    """Return free memory to the system, where the C library can."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
