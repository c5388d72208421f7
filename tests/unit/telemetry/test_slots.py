"""Counters that other processes read and that survive their writer."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.telemetry.catalogue import BY_NAME, LAYOUT, SLOT_COUNT, slot
from gateway.telemetry.slots import Slots, read_slots


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "below" / "worker-1.slots"


def test_what_is_counted_is_read_elsewhere(path: Path) -> None:
    slots = Slots.open(path)
    slots.add("connections_total")
    slots.add("connections_total", 4)
    slots.add("requests_total", 2, "served")
    slots.set("connections", 7)
    slots.set("connections", -1)
    seen = read_slots(path)
    assert len(seen) == SLOT_COUNT
    assert seen[slot("connections_total")] == slots.get("connections_total") == 5
    assert seen[slot("requests_total", "served")] == 2
    assert seen[slot("requests_total", "timeout")] == 0
    assert seen[slot("connections")] == -1


def test_counters_survive_a_writer_that_is_killed(path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from gateway.telemetry.slots import Slots\n"
        "Slots.open(Path(sys.argv[1])).add('connections_total', 3); os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", script, path], check=False, env={**os.environ})
    assert ended.returncode == -9
    assert Slots.open(path).get("connections_total") == 3


@pytest.mark.parametrize(
    ("case", "content"),
    [
        ("nothing", b""),
        ("shorter", b"\1" * 64),
        ("longer", b"\1" * (SLOT_COUNT * 8 + 64)),
        ("of the right size, with another order of metrics", b"\1" * (SLOT_COUNT * 8 + 8)),
    ],
)
def test_another_layout_is_not_read_and_is_replaced(case: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "worker-1.slots"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="another layout"):
        read_slots(path)
    slots = Slots.open(path)
    assert not any(read_slots(path)), case
    slots.add("connections_total")
    assert Slots.open(path).get("connections_total") == 1, case


def test_a_process_of_an_older_release_keeps_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.slots"
    path.write_bytes(b"\1" * 64)
    with path.open("rb") as older:
        Slots.open(path)
        assert older.read() == b"\1" * 64


@pytest.mark.parametrize(
    ("case", "value_us", "bucket"),
    [
        ("nothing at all", 0, 0),
        ("on the first bound", 1_000, 0),
        ("just above it", 1_001, 1),
        ("on the last bound", 60_000_000, 14),
        ("beyond every bound", 60_000_001, 15),
    ],
)
def test_a_duration_falls_into_the_bucket_that_holds_it(case: str, value_us: int, bucket: int) -> None:
    slots = Slots.in_memory()
    slots.observe_us("request_duration_seconds", value_us)
    first, bounds = LAYOUT["request_duration_seconds"], BY_NAME["request_duration_seconds"].bounds
    counts = list(slots.cells[first : first + len(bounds) + 1])
    assert counts.index(1) == bucket, case
    assert sum(counts) == 1
    assert slots.cells[first + len(bounds) + 1] == value_us


def test_a_full_disk_is_an_error_before_the_file_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mapped file with a hole in it would end the process without a word."""

    class Full(io.BytesIO):
        def write(self, _: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "open", lambda *_: Full())
    with pytest.raises(OSError, match="No space left"):
        Slots.open(tmp_path / "worker.slots")
