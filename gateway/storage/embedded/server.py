"""One private server process: locked to its owner, started, awaited, stopped."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, ClassVar

from gateway.errors import StartupError
from gateway.storage.embedded import processes

READY_WITHIN_S = 30.0
POLL_S = 0.01
RETRY_S = 0.2
LOG_BYTES_MAX = 10_000_000
PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR")
"""The environment our servers see. Never our own settings: they hold secrets."""


class OwnedElsewhere(StartupError):
    """A living process has started this server already; its `url` may be used as long as that one runs."""


class EmbeddedServer(ABC):
    """A server with its data in `<data_dir>/<name>` and its log in `<data_dir>/<name>.log`.

    It belongs to the process that started it: a second live owner is refused. A server left behind by an
    owner that was killed is stopped and started afresh.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    shutdown: ClassVar[tuple[tuple[signal.Signals, float], ...]]
    """Signals to stop it with, each followed by the seconds it gets."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        """`durable=False` trades the data's safety for speed; for tests."""
        self.data_dir = Path(os.path.abspath(data_dir))  # noqa: PTH100 - resolve() would follow links
        self.folder = self.data_dir / self.name
        self.durable = durable
        self._child: subprocess.Popen[bytes] | None = None
        self._lock: IO[str] | None = None
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        return self._child.pid if self._child is not None and self._child.poll() is None else None

    @property
    def log_path(self) -> Path:
        return self.data_dir / f"{self.name}.log"

    @property
    @abstractmethod
    def socket_path(self) -> Path:
        """The only thing the server listens on."""

    @property
    @abstractmethod
    def url(self) -> str:
        """Where clients connect."""

    def start(self) -> str:
        """Start the server, wait until it answers, return its URL. Starting twice changes nothing.

        Raises StartupError, in one line, when the wheel is missing or the server can not run, OwnedElsewhere
        when another process runs it.
        """
        if self.pid is not None:
            return self.url
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._end_orphan()
            self._prepare()
            self._spawn()
            self._await_answer()
        except OSError as error:
            self.stop()
            raise StartupError(
                f"{self.title} can not keep its data in {self.folder}: {error.strerror or error}. "
                "Mend that, or set TOLLWAY_DATA_DIR to another folder."
            ) from error
        except BaseException:
            self.stop()
            raise
        return self.url

    def stop(self) -> None:
        """Stop the server and wait until it is gone. Safe to call at any time, more than once."""
        if self._child is not None:
            processes.end(self._child, self.shutdown)
            self._child = None
            self._clean_up()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _take_lock(self) -> None:
        """One owner at a time. The lock ends with our process, even a killed one; forks do not share it."""
        if self._lock is not None:
            return
        lock = (self.data_dir / f"{self.name}.lock").open("a+")
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            lock.close()
            raise OwnedElsewhere(
                f"Another tollway is running on the data in {self.data_dir}. "
                "Stop it, or set TOLLWAY_DATA_DIR to another folder."
            ) from None
        self._lock = lock

    def _end_orphan(self) -> None:
        """Stop what a killed owner left behind; forget a pid that is dead or someone else's by now."""
        pid = self._recorded_pid()
        if pid is not None:
            if not processes.end_orphan(pid, str(self.folder), self.shutdown):
                raise StartupError(
                    f"{self.title} of an earlier run, process {pid}, can not be ended. End it."
                )
            self._forget_pid()

    def _spawn(self) -> None:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_BYTES_MAX:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self.log_path.touch(mode=0o600)
        with self.log_path.open("ab") as log:
            self._log_start = log.tell()
            self._child = subprocess.Popen(  # noqa: S603 - our own binaries, no shell
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=environment(),
                # A session of its own, so that Ctrl-C reaches us first and we stop it in order.
                start_new_session=True,
                preexec_fn=_unblock_signals,  # noqa: PLW1509 - one system call, takes no lock
            )

    def _await_answer(self) -> None:
        deadline = time.monotonic() + READY_WITHIN_S
        while not self._is_answering():
            late = time.monotonic() > deadline
            if self._ended_within(POLL_S):
                words = self._last_words()
                if late or not self._will_pass(words):
                    raise StartupError(f"{self.title} did not start: {words} (log: {self.log_path})")
                time.sleep(RETRY_S)
                self._spawn()
            elif late:
                raise StartupError(
                    f"{self.title} did not answer within {READY_WITHIN_S:.0f} s: {self._last_words()} "
                    f"(log: {self.log_path})"
                )

    def _ended_within(self, seconds: float) -> bool:
        assert self._child is not None
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)
        return self._child.returncode is not None

    def _will_pass(self, _words: str) -> bool:
        """Whether what kept the server from starting goes away by itself."""
        return False

    def _is_answering(self) -> bool:
        try:
            return self._answers()
        except OSError:
            return False

    def _last_words(self) -> str:
        """The line of the log that says why; the last one if none stands out."""
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").splitlines()
        fatal = [line for line in lines if "FATAL" in line or "PANIC" in line]
        return (fatal or lines or ["it ended without a word"])[-1].strip()

    @abstractmethod
    def _prepare(self) -> None:
        """Find the binaries and make the data folder."""

    @abstractmethod
    def _command(self) -> list[str]:
        """What to run. Names the data folder as one of its arguments, by which orphans are recognised."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether a client would be served. OSError counts as no."""

    @abstractmethod
    def _recorded_pid(self) -> int | None:
        """The pid in the server's own pid file, if there is one."""

    @abstractmethod
    def _forget_pid(self) -> None:
        """Remove pid files of a server that is gone."""

    @abstractmethod
    def _clean_up(self) -> None:
        """Remove what lies outside the data folder."""


def _unblock_signals() -> None:
    """Servers inherit what their owner blocks, and one that does not hear SIGTERM ends by being killed."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def environment() -> dict[str, str]:
    """The environment for everything we start."""
    passed_on = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {**passed_on, "LC_ALL": "C", "TZ": "UTC"}


def read_pid(path: Path) -> int | None:
    """The number on the first line of a pid file."""
    try:
        return int(path.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
