"""A folder in trouble changes nothing but log lines, and half-written files are left to settle."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gateway.errors import StartupError
from gateway.policy.target_texts import TargetParts
from gateway.supervisor.watcher import SETTLED_S, PolicyWatcher
from gateway.telemetry.slots import Slots

GOOD = """
upstreams: {api: {targets: [http://127.0.0.1:9000]}}
tiers: {free: {limits: [{name: burst, rate: 1/second, burst: 1}]}}
routes: [{name: all, match: {path: /**}, upstream: api}]
"""
OTHER = GOOD.replace("burst: 1", "burst: 2")
BROKEN = GOOD.replace("upstream: api", "upstream: nope")
OWN = GOOD.replace("9000", "8090")


class Folder:
    """A policy folder that is watched."""

    def __init__(self, path: Path) -> None:
        self.path = path / "policies"
        self.path.mkdir()
        self.accepted = path / "accepted.json"
        self.slots = Slots.in_memory()
        self.write(GOOD)
        self.watcher = PolicyWatcher(self.path, self.accepted, self.slots, self._objection)
        self.now_s = 1000.0

    @staticmethod
    def _objection(target: TargetParts) -> str | None:
        return "is this gateway itself" if target.port == 8090 else None

    def write(self, text: str) -> None:
        draft = self.path / "draft"
        draft.write_text(text)
        draft.rename(self.path / "all.yaml")

    def poll_after(self, seconds: float) -> bool:
        self.now_s += seconds
        return self.watcher.poll(self.now_s)

    @property
    def failures(self) -> int:
        return self.slots.get("policy_reload_failed_total")


@pytest.fixture
def folder(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Folder:
    caplog.set_level(logging.INFO)
    made = Folder(tmp_path)
    made.watcher.accept_first()
    return made


def test_a_change_is_accepted_once_it_has_settled(folder: Folder) -> None:
    folder.write(OTHER)
    assert not folder.poll_after(1)
    assert folder.poll_after(SETTLED_S)
    assert not folder.poll_after(SETTLED_S)


def test_a_file_that_is_being_written_is_left_alone_however_often_we_look(folder: Folder) -> None:
    before = folder.accepted.read_bytes()
    for length in range(10, len(OTHER), 10):
        (folder.path / "all.yaml").write_text(OTHER[:length])
        assert not folder.poll_after(0.4)
        assert not folder.poll_after(0.01), "a signal woke us early"
    assert folder.accepted.read_bytes() == before
    assert folder.failures == 0


def test_a_broken_folder_is_told_once_and_its_mending_too(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    before = folder.accepted.read_bytes()
    folder.write(BROKEN)
    for _ in range(5):
        assert not folder.poll_after(SETTLED_S)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]
    assert "nope" in caplog.messages[0]
    assert folder.failures == 1
    assert folder.accepted.read_bytes() == before
    caplog.clear()
    folder.write(GOOD)
    for _ in range(5):
        assert not folder.poll_after(SETTLED_S), "what is in use is what the folder says again"
    assert caplog.messages == ["policies are in order again, as they are in use"]


def test_a_reload_on_request_always_says_something(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    assert not folder.watcher.reload()
    assert caplog.messages == ["policies checked, nothing has changed"]
    folder.write(OTHER)
    assert folder.watcher.reload(), "without waiting"
    assert caplog.messages[1:] == ["policies accepted"]


def test_an_upstream_that_is_the_gateway_is_a_problem_with_its_line(
    folder: Folder, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write(OWN)
    assert not folder.watcher.reload()
    assert caplog.messages[0] == (
        f"policy problem: {folder.path}/all.yaml:2: upstreams.api.targets[0]: is this gateway itself"
    )
    with pytest.raises(StartupError, match=r"1 problem in .*\n.*is this gateway itself"):
        folder.watcher.accept_first()


def test_a_disk_that_is_full_keeps_the_old_policies(
    folder: Folder, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    folder.write(OTHER)
    monkeypatch.setattr("gateway.policy.sources.Sources.write", full)
    assert not folder.watcher.reload()
    assert folder.failures == 1
    monkeypatch.undo()
    assert folder.watcher.reload(), "asked again, it is tried again"


def test_a_folder_that_is_gone_changes_nothing(folder: Folder, caplog: pytest.LogCaptureFixture) -> None:
    folder.path.rename(folder.path.with_name("elsewhere"))
    assert not folder.poll_after(1)
    assert not folder.poll_after(1)
    assert folder.failures == 1
    folder.path.with_name("elsewhere").rename(folder.path)
    assert not folder.poll_after(1)
    assert not folder.poll_after(1)
    assert caplog.messages[-1] == "policies are in order again, as they are in use"
