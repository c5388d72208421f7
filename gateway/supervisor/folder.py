"""The data folder: ours alone, and where its things are."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
from pathlib import Path

from gateway.app.wiring import JOURNALS, accepted_policies, metrics_dir
from gateway.errors import StartupError
from gateway.settings import Settings


def unusable(data_dir: Path, error: OSError) -> StartupError:
    """What to say when the data folder refuses us."""
    where = f" ({error.filename})" if error.filename and Path(error.filename) != data_dir else ""
    return StartupError(
        f"The data folder {data_dir.absolute()} can not be used: {error.strerror}{where}. "
        "Mend that, or set TOLLWAY_DATA_DIR to another folder."
    )


def prepare_folder(data_dir: Path, opened: contextlib.ExitStack) -> None:
    """Make the data folder ours alone. StartupError when another gateway uses it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    lock = opened.enter_context((data_dir / "lock").open("a"))
    try:
        # Not flock: a forked process would share it, and outlive us with it.
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as taken:
        raise StartupError(
            f"Another gateway runs on {data_dir}. Stop it, or set TOLLWAY_DATA_DIR to another folder."
        ) from taken
    shutil.rmtree(metrics_dir(data_dir), ignore_errors=True)
    for private in (accepted_policies(data_dir).parent, data_dir / JOURNALS):  # who called what, when
        private.mkdir(mode=0o700, parents=True, exist_ok=True)


def admin_token(settings: Settings) -> str:
    """The configured token, or one of our own that only the owner of the data folder can read."""
    if settings.admin_token is not None:
        return settings.admin_token
    path = token_file(settings)
    if not path.exists():
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"{secrets.token_urlsafe(32)}\n")
        draft.replace(path)
    return path.read_text().strip()


def token_file(settings: Settings) -> Path:
    """Where our own admin token is kept."""
    return settings.data_dir / "admin-token"
