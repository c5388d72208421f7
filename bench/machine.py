"""What the operating system knows: cores, CPU time and memory of a process, who listens on a port."""

from __future__ import annotations

import os
import platform
import re
import socket
import time
from contextlib import suppress
from pathlib import Path

from gateway import COMPILED

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


class BenchError(Exception):
    """The benchmark can not go on. The message is one clear line."""


def cores_to_use() -> tuple[int, ...]:
    """First the core for what is measured, second the one for everything else, then those left over."""
    cores = tuple(sorted(os.sched_getaffinity(0)))
    if len(cores) < 2:
        raise BenchError("the benchmark needs two cores: one for what is measured, one for all else")
    return cores


def pin(pid: int, core: int) -> None:
    """Keep every thread of a process on one core."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})


def cpu_s(*pids: int) -> float:
    """Seconds of CPU, user and system, that all threads of these processes have used so far."""
    return sum(_cpu_s(pid) for pid in pids)


def _cpu_s(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def resident_bytes(*pids: int) -> int:
    """Memory these processes hold now."""
    return sum(_status_bytes(pid, "VmRSS") for pid in pids)


def own_bytes(*pids: int) -> int:
    """The part of it that is no file's and not shared."""
    return sum(_status_bytes(pid, "RssAnon") for pid in pids)


def peak_bytes(*pids: int) -> int:
    """The most memory these processes held since `forget_peak`, or since they began."""
    return sum(_status_bytes(pid, "VmHWM") for pid in pids)


def forget_peak(*pids: int) -> None:
    """Begin a new peak (proc(5), clear_refs)."""
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status_bytes(pid: int, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _read(pid, "status"), re.MULTILINE)
    if found is None:
        raise BenchError(f"process {pid} ended while it was measured")
    return int(found[1]) * 1024


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except (FileNotFoundError, ProcessLookupError):
        raise BenchError(f"process {pid} ended while it was measured") from None


def wait_for_port(port: int, *, patience_s: float = 60.0) -> None:
    """Return once something accepts connections on a loopback port."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise BenchError(f"nothing listens on 127.0.0.1:{port} after {patience_s:.0f} s")


def wait_for_socket(path: Path, *, patience_s: float = 20.0) -> None:
    """Return once something accepts connections on a unix socket."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                return
        time.sleep(0.05)
    raise BenchError(f"nothing listens on {path.name} after {patience_s:.0f} s")


def free_port(port: int) -> None:
    """Refuse to start when somebody already listens: we would measure a stranger."""
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise BenchError(f"port {port} is taken; the benchmark needs it")


def listeners_below(parent: int, port: int) -> tuple[int, ...]:
    """The processes that listen on `port` among the descendants of `parent`; BenchError if there is none."""
    inodes = {
        fields[9]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]
        if (fields := line.split())[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port
    }
    found = tuple(pid for pid in descendants(parent) if inodes & _sockets(pid))
    if not found:
        raise BenchError(f"no process below {parent} listens on port {port}")
    return found


def _sockets(pid: int) -> set[str]:
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed while we looked
            if found := re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link)):
                inodes.add(found[1])
    return inodes


def descendants(parent: int) -> list[int]:
    """Every process that `parent` started, and those that these started."""
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


def named_below(parent: int, name: str) -> tuple[int, ...]:
    """The descendants of `parent` that the operating system calls `name`."""
    return tuple(pid for pid in descendants(parent) if _read(pid, "comm").strip() == name)


def describe() -> str:
    """One line on this machine, without its name."""
    model = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return (
        f"{model[1] if model else platform.machine()}, {len(os.sched_getaffinity(0))} cores, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, "
        f"{'compiled' if COMPILED else 'not compiled'}"
    )
