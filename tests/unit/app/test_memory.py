"""How much memory a worker may take, by machine and control group; files as the kernel shows them."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.memory import give_back, measure, worker_bound

GIB = 1 << 30


def root(folder: Path, groups: str, limits: dict[str, str], *, total_kb: int | None = 8 << 20) -> Path:
    proc = folder / "proc" / "self"
    proc.mkdir(parents=True)
    (proc / "cgroup").write_text(groups)
    if total_kb is not None:
        (folder / "proc" / "meminfo").write_text(f"MemTotal:       {total_kb} kB\nMemFree: 1 kB\n")
    for path, text in limits.items():
        file = folder / "sys/fs/cgroup" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("case", "groups", "limits", "gib"),
    [
        ("no control groups", "", {}, 8),
        ("version 2, no bound", "0::/a\n", {"a/memory.max": "max\n"}, 8),
        ("version 2", "0::/a/b\n", {"a/b/memory.max": f"{2 * GIB}\n"}, 2),
        (
            "version 2, bound further up",
            "0::/a/b\n",
            {"a/memory.max": f"{GIB}\n", "a/b/memory.max": "max"},
            1,
        ),
        ("in a container with the host's path", "0::/docker/x\n", {"memory.max": f"{4 * GIB}\n"}, 4),
        (
            "version 1",
            "5:cpu:/x\n4:memory:/x\n0::/\n",
            {"memory/x/memory.limit_in_bytes": f"{2 * GIB}\n"},
            2,
        ),
        ("version 1, no bound", "4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 8),
    ],
)
def test_the_smallest_bound_counts(
    tmp_path: Path, case: str, groups: str, limits: dict[str, str], gib: int
) -> None:
    assert worker_bound(2, root(tmp_path, groups, limits)) == int(gib * GIB * 0.8 / 2), case


def test_a_machine_that_does_not_tell_has_no_bound(tmp_path: Path) -> None:
    assert worker_bound(2, tmp_path) == 0
    assert worker_bound(2, root(tmp_path, "broken", {}, total_kb=None)) == 0


def test_what_is_taken_is_seen_and_can_be_given_back() -> None:
    own_bytes = measure()
    before = own_bytes()
    taken = bytearray(b"x") * (64 << 20)
    assert own_bytes() - before > 32 << 20
    del taken
    give_back()
    assert own_bytes() - before < 32 << 20
