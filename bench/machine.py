"""What the operating system knows: cores, CPU time of a process, who listens on a port."""

from __future__ import annotations

import os
import platform
import re
import socket
import time
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


class BenchError(Exception):
    """The benchmark can not go on. The message is one clear line."""


def two_cores() -> tuple[int, int]:
    """One core for what is measured, one for everything else."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise BenchError("the benchmark needs two cores: one for what is measured, one for all else")
    return cores[0], cores[1]


def pin(pid: int, core: int) -> None:
    """Keep every thread of a process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def cpu_s(pid: int) -> float:
    """Seconds of CPU, user and system, that all threads of a process have used so far."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        raise BenchError(f"process {pid} ended while it was measured") from None
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def wait_for_port(port: int, *, patience_s: float = 20.0) -> None:
    """Return once something accepts connections on a loopback port."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise BenchError(f"nothing listens on 127.0.0.1:{port} after {patience_s:.0f} s")


def free_port(port: int) -> None:
    """Refuse to start when somebody already listens: we would measure a stranger."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BenchError(f"port {port} is taken; the benchmark needs it")


def listener_below(parent: int, port: int) -> int:
    """The process that listens on `port` among the descendants of `parent`."""
    inodes = {
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split())[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }
    for pid in _descendants(parent):
        for link in Path(f"/proc/{pid}/fd").iterdir():
            found = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            if found and found[1] in inodes:
                return pid
    raise BenchError(f"no process below {parent} listens on port {port}")


def _descendants(parent: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            above = int(stat.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
        children.setdefault(above, []).append(int(stat.parent.name))
    found = list(children.get(parent, []))
    for pid in found:
        found += children.get(pid, [])
    return found


def describe() -> str:
    """One line on this machine, without its name."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return (
        f"{model[1] if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    )
