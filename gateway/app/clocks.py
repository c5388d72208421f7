"""The clock of each process: the machine's, or one that `tollway prove-metering` steps.

The proof lets the clocks of one gateway differ, which on a single machine nothing else can. It makes a file
for each process below the data folder; without, the setting is refused: nobody steps clocks by accident.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from gateway.clock import Clock, OffClock, SystemClock
from gateway.errors import StartupError
from gateway.settings import PREFIX, Settings

FOLDER = "proof-clocks"
_FILE = struct.Struct("=q24s")  # first the offset, aligned
_SEAL = b"tollway prove-metering"


def clock_of(name: str, settings: Settings) -> Clock:
    """The clock of the process `name`. StartupError when it is to be stepped outside of a proof."""
    if not settings.proof_clocks:
        return SystemClock()
    try:
        return OffClock(_offset(clocks_folder(settings.data_dir) / name))
    except (OSError, ValueError) as error:
        raise StartupError(
            f"{PREFIX}PROOF_CLOCKS is for what `tollway prove-metering` starts and nothing else: unset it."
        ) from error


def clocks_folder(data_dir: Path) -> Path:
    """Where the proof keeps how far each process's clock is off."""
    return data_dir / FOLDER


def make_clock_file(path: Path) -> memoryview:
    """For the proof: the file of one process. Microseconds written to `[0]` move its clock at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_FILE.pack(0, _SEAL))
    return _offset(path)


def _offset(path: Path) -> memoryview:
    raw = path.read_bytes()
    if len(raw) != _FILE.size or _FILE.unpack(raw)[1].rstrip(b"\0") != _SEAL:
        raise ValueError(f"{path} is not a clock of a proof")
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), _FILE.size)).cast("q")
