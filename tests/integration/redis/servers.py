"""Redis servers as an operator may run them: with any options, on ports of this machine alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import redis.asyncio
import redis.exceptions

from gateway.storage.embedded.redis import find_redis
from tests.ports import HOST

START_WITHIN_S = 60.0


class Server:
    """One server, killed with its test."""

    def __init__(self, folder: Path, port: int, **options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port = folder, port
        self.options = {
            "bind": HOST,
            "port": str(port),
            "dir": str(folder),
            "save": "",
            "unixsocket": str(folder / "s"),
        } | {name.replace("_", "-"): value for name, value in options.items()}
        self.process: subprocess.Popen[bytes] | None = None
        self.operator = redis.asyncio.Redis(unix_socket_path=str(folder / "s"))

    @property
    def socket(self) -> Path:
        return self.folder / "s"

    async def start(self, *arguments: str) -> Server:
        """Returns when it answers, be it that it is loading."""
        command = [str(find_redis()), *arguments]
        for name, value in self.options.items():
            command += [f"--{name}", *(value.split() or [""])]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        async with asyncio.timeout(START_WITHIN_S):
            while True:
                try:
                    await self.operator.ping()
                except redis.exceptions.BusyLoadingError:
                    return self
                except (redis.exceptions.RedisError, OSError):
                    assert self.process.poll() is None, "the server does not start"
                    await asyncio.sleep(0.01)
                else:
                    return self

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    async def kill(self) -> None:
        """Returns when it is dead."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        await self.operator.connection_pool.disconnect()

    async def close(self) -> None:
        await self.kill()
        await self.operator.aclose()
