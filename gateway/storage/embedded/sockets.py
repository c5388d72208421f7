"""Where a server's unix socket is: with its data, or in a short private folder if that path is too long."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from gateway.errors import StartupError

PATH_BYTES_MAX = 100
"""The kernel takes 107 bytes (103 on macOS); a lock file next to the socket may add a few."""


def socket_folder(folder: Path, socket_name: str) -> Path:
    """`folder` if its path can hold a socket and stand in a URL, else a short private one."""
    if _fits(folder / socket_name):
        return folder
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    short = Path(tempfile.gettempdir()) / f"tollway-{os.getuid()}-{digest}"
    if not _fits(short / socket_name):
        raise StartupError(f"The path {short} is too long for a socket. Set TMPDIR to a shorter folder.")
    return short


def make_private(short: Path, folder: Path) -> None:
    """Make the short folder, or make sure that the one found there is nobody else's."""
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    owners = {os.getuid(), folder.stat().st_uid}
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners or found.st_mode & 0o077:
        raise StartupError(
            f"{short} is not a private folder of ours. Remove it, or set TMPDIR to another folder."
        )


def _fits(path: Path) -> bool:
    """A comma would be read as two hosts in a URL."""
    return len(os.fsencode(path)) <= PATH_BYTES_MAX and "," not in str(path) and str(path).isprintable()
