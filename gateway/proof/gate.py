"""The gateway under proof: started as an operator would, and started again when it died."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from gateway.app.clocks import clocks_folder, make_clock_file
from gateway.app.process import COMM_PREFIX
from gateway.errors import TollwayError
from gateway.ledger import moving
from gateway.ledger.timescale import ensure_extension
from gateway.model.policies import PolicySet
from gateway.policy.load import load_folder
from gateway.proof.remains import DATA, end_all
from gateway.proof.world import Caller, Who, policies
from gateway.storage.embedded import EmbeddedPostgres
from gateway.storage.embedded.redis import PID_FILE
from gateway.storage.embedded.server import read_pid
from gateway.storage.postgres import LOST, open_connection

WORKERS = 2
CHUNK_DAYS = 1
CLOSE_WITHIN_S = 5.0
CLOCKS = ("worker-1", "worker-2", "recorder", "control")
READY_WITHIN_S = 90.0
STOP_WITHIN_S = 90.0
TOKEN = "only-for-this-proof-of-metering"  # noqa: S105  its gateway listens on loopback and lives for minutes


class ProofFailed(TollwayError):
    """The proof could not be carried out. That is not the same as a proof with a bad result."""


class Gate:
    """One gateway on a folder of its own."""

    def __init__(self, folder: Path, upstream_port: int) -> None:
        self.data_dir = folder / DATA
        self.log_path = folder / "gateway.log"
        self._policies = folder / "policies"
        self._policies.mkdir()
        (self._policies / "proof.yaml").write_text(policies(upstream_port))
        with _free_ports(3) as ports:
            self.port, self._control, self._portal = ports
        self.data_dir.mkdir(mode=0o700)
        self.clocks = {name: make_clock_file(clocks_folder(self.data_dir) / name) for name in CLOCKS}
        make_clock_file(clocks_folder(self.data_dir) / "supervisor")
        self.process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def start(self) -> None:
        """Start the supervisor; see `ready`."""
        command = [sys.executable, "-m", "gateway", "run", "--policies", str(self._policies)]
        command += ["--workers", str(WORKERS), "--listen", f"127.0.0.1:{self.port}"]
        command += ["--control", f"127.0.0.1:{self._control}", "--portal", f"127.0.0.1:{self._portal}"]
        self.starts += 1
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - ourselves
                command, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLWAY_")}
        return kept | {
            "TOLLWAY_DATA_DIR": str(self.data_dir),
            "TOLLWAY_ADMIN_TOKEN": TOKEN,
            "TOLLWAY_LOG_FORMAT": "json",
            "TOLLWAY_DRAIN_TIMEOUT_S": "5",
            "TOLLWAY_PROGRESS_INTERVAL_S": "1",
            "TOLLWAY_RECONCILE_INTERVAL_S": "2",
            "TOLLWAY_PROOF_CLOCKS": "yes",
        }

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    async def keep_running(self) -> None:
        """What a service manager does: start it again when it died. Until cancelled."""
        while True:
            if not self.is_running:
                self.start()
            await asyncio.sleep(0.25)

    async def ready(self) -> None:
        """Wait until it says that it can serve. ProofFailed with the end of its log."""
        give_up_s = time.monotonic() + READY_WITHIN_S
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < give_up_s:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    url = f"http://127.0.0.1:{self._control}/readyz"
                    async with session.get(url, timeout=aiohttp.ClientTimeout(2)) as answer:
                        if answer.status == 200 and not (await answer.json())["degraded"]:
                            return
                await asyncio.sleep(0.1)
        raise ProofFailed(f"The gateway was not ready within {READY_WITHIN_S:.0f} s.\n{self.last_words()}")

    async def have_timescale(self) -> None:
        """Have the extension for `to_hypertable`. TimescaleUnusable says why not."""
        connection = await open_connection(EmbeddedPostgres(self.data_dir).url)
        try:
            await ensure_extension(connection)
        finally:
            await connection.close()

    async def to_hypertable(self, after_s: float) -> None:
        """Lay rows out in a hypertable, as the gateway runs and whatever dies meanwhile, until it is done."""
        await asyncio.sleep(after_s)
        while True:
            with contextlib.suppress(TollwayError, asyncpg.PostgresError, *LOST):
                connection = await open_connection(EmbeddedPostgres(self.data_dir).url)
                try:
                    await moving.to_hypertable(connection, CHUNK_DAYS, lambda _, __: None)
                    return
                finally:
                    await connection.close(timeout=CLOSE_WITHIN_S)
            await asyncio.sleep(0.25)

    async def make_callers(self, who: Who) -> list[Caller]:
        """The callers of a new account."""
        callers = []
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
            account = await self._post(session, "accounts", {"name": who.tier, "tier": who.tier})
            for number in range(who.callers):
                name = f"{who.tier} {who.mode} {number}"
                told = {"name": name, "mode": who.mode}
                key = await self._post(session, f"accounts/{account['id']}/keys", told)
                callers.append(Caller(name, who, account["id"], key["id"], key["secret"]))
        return callers

    async def _post(self, session: aiohttp.ClientSession, path: str, told: dict[str, str]) -> Any:
        url = f"http://127.0.0.1:{self._control}/admin/v1/{path}"
        async with session.post(url, json=told) as answer:
            if not answer.ok:
                raise ProofFailed(f"POST {path}: {answer.status} {await answer.text()}")
            return await answer.json()

    def pids(self) -> dict[str, int]:
        """The processes that live, by name."""
        found: dict[str, int] = {}
        if self.is_running:
            assert self.process is not None
            found["supervisor"] = self.process.pid
            found |= _children(self.process.pid)
        for name, file in (("postgres", "postmaster.pid"), ("redis", PID_FILE)):
            pid = read_pid(self.data_dir / name / file)
            if pid is not None and Path(f"/proc/{pid}").exists():
                found[name] = pid
        return found

    async def stop(self) -> int:
        """SIGTERM; the exit status. ProofFailed when it takes too long."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.to_thread(self.process.wait, STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            raise ProofFailed(
                f"The gateway did not stop within {STOP_WITHIN_S:.0f} s.\n{self.last_words()}"
            ) from None

    def policies(self) -> PolicySet | None:
        """The policies it serves by."""
        return load_folder(self._policies).policies

    def journals(self) -> list[str]:
        """What is not yet booked."""
        return sorted(path.name for path in (self.data_dir / "journals").iterdir())

    def tracebacks(self) -> list[str]:
        """Lines of its log that tell of a defect."""
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [line for line in lines if '"traceback"' in line or line.startswith("Traceback ")]

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-20:])

    def end(self) -> None:
        """End all of it, whatever state it is in."""
        end_all(self.data_dir)
        if self.process is not None:
            self.process.wait()


def _children(pid: int) -> dict[str, int]:
    found: dict[str, int] = {}
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{child}/comm").read_text().strip()
                if name.startswith(COMM_PREFIX):
                    found[name.removeprefix(COMM_PREFIX)] = int(child)
    return found


@contextlib.contextmanager
def _free_ports(count: int) -> Iterator[list[int]]:
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        yield [one.getsockname()[1] for one in sockets]
