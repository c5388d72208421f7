"""Asks the disk to keep what the journal wrote: the guard against power loss. Mostly in a thread.

A dead process loses nothing without it; the kernel has every byte the moment it is written.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger("tollway.journal")


class BackgroundSync:
    """`fdatasync` of watched files once per interval, while `progress()` grows."""

    def __init__(self, progress: Callable[[], int], interval_s: float) -> None:
        self._progress = progress
        self._synced = -1
        self._interval_s = interval_s
        self._files: list[int] = []  # the newest one last; only it is still being written
        self._folders: set[Path] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="journal.sync", daemon=True)
        self._thread.start()

    def watch(self, descriptor: int, folder: Path) -> None:
        """From now on sync this file, which has just been made in `folder`. The caller may close its own."""
        with self._lock:
            self._files.append(os.dup(descriptor))
            self._folders |= {folder, folder.parent}
            self._synced = -1

    def stop(self) -> None:
        """Sync a last time and end the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sync(keep=1)
        self._sync(keep=0)

    def _sync(self, keep: int) -> None:
        progress = self._progress()
        with self._lock:
            if progress == self._synced and keep:
                return
            files, folders = list(self._files), self._folders
            self._folders = set()
            self._synced = progress
        try:
            for descriptor in files:
                os.fdatasync(descriptor)
            for folder in folders:
                sync_folder(folder)
        except OSError as error:
            self._failed(error)
        else:
            self._failing = False
        with self._lock:
            done = files[: len(files) - keep]
            self._files = [descriptor for descriptor in self._files if descriptor not in done]
        for descriptor in done:
            os.close(descriptor)

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            self._failing = True
            log.error(
                "the journal can not be synced; a power loss may now cost more than the last second",
                extra={"error": str(error)},
            )


def sync_folder(folder: Path) -> None:
    """Have the disk keep the names in a folder. OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
