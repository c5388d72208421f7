"""At a terminal: Ctrl-C, a window that is closed, `nohup`."""

from __future__ import annotations

import os
import pty
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.conftest import POLICIES, eventually
from tests.ports import free_port

TOLLWAY = [sys.executable, "-m", "gateway"]


class AtTerminal:
    """`tollway run` in the foreground of a terminal of its own, as its session's leader."""

    def __init__(self, folder: Path, *, through: tuple[str, ...] = ()) -> None:
        (folder / "policies").mkdir()
        (folder / "policies" / "all.yaml").write_text(POLICIES.format(port=1))
        self.folder = folder
        command = [*through, *TOLLWAY, "run", "--policies", str(folder / "policies"), "--workers", "1"]
        for flag in ("--listen", "--control", "--portal"):
            command += [flag, f"127.0.0.1:{free_port()}"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TOLLWAY_")}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup themselves
            os.execvpe(command[0], command, kept | {"TOLLWAY_DATA_DIR": str(folder / "data")})
        self.shown = b""

    def read(self) -> None:
        os.set_blocking(self.terminal, False)
        with suppress(OSError):
            self.shown += os.read(self.terminal, 65536)

    def shows(self, text: str) -> None:
        def seen() -> bool:
            self.read()
            return text.encode() in self.shown

        eventually(seen, f"the terminal shows {text!r}: {self.shown.decode()}", 40)

    def status(self) -> int:
        """The exit status, within the time that a stop may take."""

        def ended() -> tuple[int, int] | None:
            with suppress(OSError):
                self.read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return (pid, status) if pid else None

        _, status = eventually(ended, "it ends", 40)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def left(self) -> list[str]:
        """What still runs on this folder, and its sockets."""
        found = []
        for one in Path("/proc").glob("[0-9]*/cmdline"):
            with suppress(OSError):
                if str(self.folder).encode() in (line := one.read_bytes()):
                    found.append(line.decode())
        return found + [str(path) for path in self.folder.rglob("*") if path.is_socket()]

    def close(self) -> None:
        """Close the window."""
        if self.terminal >= 0:
            os.close(self.terminal)
            self.terminal = -1

    def end(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGTERM)
            self.status()
        self.close()


@pytest.fixture
def at_terminal(tmp_path: Path) -> Iterator[AtTerminal]:
    started = AtTerminal(tmp_path)
    try:
        started.shows("ready: calls on")
        yield started
    finally:
        started.end()


def test_ctrl_c_reaches_everybody_and_is_answered_in_order(at_terminal: AtTerminal) -> None:
    os.write(at_terminal.terminal, b"\x03")
    assert at_terminal.status() == 0
    shown = at_terminal.shown.decode()
    assert "supervisor draining" in shown
    assert "stopped" in shown
    assert "died" not in shown
    assert "Traceback" not in shown
    assert at_terminal.left() == []


def test_closing_the_window_stops_everything(at_terminal: AtTerminal) -> None:
    at_terminal.close()
    assert at_terminal.status() == 0
    assert at_terminal.left() == []


def test_a_reload_at_the_terminal_is_a_reload(at_terminal: AtTerminal) -> None:
    os.kill(at_terminal.pid, signal.SIGHUP)
    at_terminal.shows("policies checked, nothing has changed")


def test_with_nohup_it_outlives_the_window_and_still_reloads(tmp_path: Path) -> None:
    out = tmp_path / "out"
    started = AtTerminal(tmp_path, through=("sh", "-c", f'exec nohup "$@" >{out} 2>&1', "sh"))
    try:
        eventually(lambda: out.exists() and "ready: calls on" in out.read_text(), "it is ready", 40)
        started.close()
        eventually(lambda: "policies checked, nothing has changed" in out.read_text(), "a reload at most")
        assert os.waitpid(started.pid, os.WNOHANG) == (0, 0)
    finally:
        started.end()
