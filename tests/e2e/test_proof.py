"""`tollway prove-metering`: a short proof holds, and whatever becomes of it, nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.conftest import eventually

SHORT = ("--minutes", "0.35", "--seed", "7")


def processes_on(folder: str) -> list[int]:
    """Every process that names the folder, or whose data is in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if folder.encode() in told:
                found.append(int(entry.name))
    return found


def _hear_interrupts() -> None:
    """Also where the tests themselves run in the background of a shell, which has them ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def proving(*options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A proof that has begun, and its folder."""
    with subprocess.Popen(
        [sys.executable, "-m", "gateway", "prove-metering", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=_hear_interrupts,  # noqa: PLW1509  no threads here
    ) as process:
        assert process.stderr is not None
        try:
            found = re.search(r"folder (\S+)", process.stderr.readline())
            assert found
            yield process, found[1]
        finally:
            process.kill()


@pytest.mark.timeout(400)
def test_a_short_proof_holds() -> None:
    with proving(*SHORT, "--json") as (process, folder):
        out, err = process.communicate(timeout=380)
        assert process.returncode == 0, out + err
    told = json.loads(out)
    assert told["ok"]
    assert told["seed"] == 7
    assert told["calls"]["served"] > 100
    assert any(fault.startswith("kill") for fault in told["faults"]), "how many it has time for varies"
    assert processes_on(folder) == []
    assert not Path(folder).exists()


@pytest.mark.timeout(180)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_proof_that_is_ended_leaves_nothing(number: signal.Signals) -> None:
    with proving("--minutes", "60") as (process, folder):
        eventually(lambda: len(processes_on(folder)) >= 8, "gateway, stores and upstream run", 90)
        os.kill(process.pid, number)
        assert process.wait(60) == (130 if number == signal.SIGINT else -number)
        eventually(lambda: not processes_on(folder), "all of them have ended", 60)
        eventually(lambda: not Path(folder).exists(), "the folder is removed")
