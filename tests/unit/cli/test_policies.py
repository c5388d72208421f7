"""`tollway check` and `tollway schema` need nothing but the files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import Commands

GOOD = """
upstreams:
  here: {targets: [http://127.0.0.1:9000]}
tiers:
  community: {limits: [{name: burst, rate: 60/minute, burst: 20}]}
routes:
  - {name: all, match: {path: /**}, upstream: here}
  - {name: more, match: {path: /more}, upstream: here}
"""


@pytest.fixture
def tollway(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Commands:
    # A setting that is wrong must not matter here.
    return Commands(monkeypatch, capsys, {"TOLLWAY_LISTEN": "nonsense"})


def test_a_good_folder_is_summed_up(tollway: Commands, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(GOOD.replace("path: /**", "path: /all/**"))
    ended = tollway.run("check", str(tmp_path))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{tmp_path}: ok, 1 upstream, 5 meters, 1 tier, 2 routes\n"
    told = tollway.run("check", str(tmp_path), "--json").json
    assert (told["ok"], told["problems"], told["routes"]) == (True, [], 2)


def test_every_problem_is_told_with_file_and_line(tollway: Commands, tmp_path: Path) -> None:
    (tmp_path / "all.yaml").write_text(
        "tears: 1\nroutes:\n  - {name: x, match: {path: y}, upstream: nobody}\n"
    )
    ended = tollway.run("check", str(tmp_path))
    assert ended.code == 1
    assert len(ended.out.splitlines()) >= 2
    assert f"{tmp_path}/all.yaml:1: " in ended.out
    told = tollway.run("check", str(tmp_path), "--json")
    assert told.code == 1
    assert told.json["ok"] is False
    assert {"file", "line", "where", "message"} == set(told.json["problems"][0])
    assert len(told.json["problems"]) == len(ended.out.splitlines())


def test_the_folder_may_come_from_the_environment(
    tollway: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "all.yaml").write_text(GOOD.replace("path: /**", "path: /all/**"))
    monkeypatch.setenv("TOLLWAY_POLICIES", str(tmp_path))
    assert tollway.run("check").code == 0


def test_the_schema_is_the_one_in_the_example_folder(tollway: Commands) -> None:
    shipped = Path(__file__).parents[3] / "policies" / "tollway.schema.json"
    assert tollway.run("schema").json == json.loads(shipped.read_text())
