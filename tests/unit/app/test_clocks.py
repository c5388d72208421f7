"""The clocks that the proof of metering steps, and nobody else."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.app.clocks import clock_of, clocks_folder, make_clock_file
from gateway.clock import SystemClock
from gateway.errors import StartupError
from gateway.settings import Settings

STEP_US = 300_000_000


def test_without_the_setting_it_is_the_machines_clock(tmp_path: Path) -> None:
    make_clock_file(clocks_folder(tmp_path) / "worker-1")
    assert type(clock_of("worker-1", Settings(data_dir=tmp_path))) is SystemClock


def test_what_is_written_moves_the_clock_of_one_process(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, proof_clocks=True)
    off_us = make_clock_file(clocks_folder(tmp_path) / "worker-1")
    make_clock_file(clocks_folder(tmp_path) / "worker-2")
    one, other = clock_of("worker-1", settings), clock_of("worker-2", settings)
    off_us[0] = STEP_US
    assert one.now_us() >= other.now_us() + STEP_US - 1_000_000
    off_us[0] = -STEP_US
    assert one.now_us() <= other.now_us() - STEP_US + 1_000_000


@pytest.mark.parametrize(
    ("case", "content"),
    [("no file", None), ("an empty one", b""), ("another file of that size", bytes(32))],
)
def test_outside_of_a_proof_it_is_refused(tmp_path: Path, case: str, content: bytes | None) -> None:
    folder = clocks_folder(tmp_path)
    folder.mkdir()
    if content is not None:
        (folder / "supervisor").write_bytes(content)
    with pytest.raises(StartupError, match=r"TOLLWAY_PROOF_CLOCKS .* unset it"):
        clock_of("supervisor", Settings(data_dir=tmp_path, proof_clocks=True))
