"""Policies through the admin API: checked, applied whole, refused whole, remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.controlplane import policies_api
from gateway.operators.audit import AuditLog, AuditQuestion
from gateway.operators.policy_history import How, PolicyHistory
from gateway.storage.postgres import Pool
from tests.integration.controlplane.conftest import Client
from tests.integration.controlplane.test_admin import ok, problem
from tests.integration.controlplane.test_operators import bearer, token

ADDRESS = "/admin/v1/policies"
GOOD = """upstreams: {u: {targets: [http://127.0.0.1:9000]}}
tiers: {free: {}}
routes: [{name: all, match: {path: /**}, upstream: u}]
"""
BAD = "tiers:\n  free: {limits: [{name: burst, rate: 1/minute, burst: 0}]}\n  fere: {featurs: []}\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nobody watches it here."""
    monkeypatch.setattr(policies_api, "IN_USE_WITHIN_S", 0)
    made = tmp_path / "policies"
    made.mkdir()
    (made / "old.yaml").write_text(GOOD)
    (made / "notes.txt").write_text("not a policy")
    return made


async def seen(admin: Client) -> str:
    return (await admin.get(ADDRESS)).headers["ETag"]


async def apply(admin: Client, files: dict[str, str], match: str | None = None) -> Any:
    headers = {"If-Match": await seen(admin) if match is None else match}
    return await admin.put(ADDRESS, json={"files": files}, headers=headers)


async def test_a_check_tells_every_problem_and_changes_nothing(admin: Client, folder: Path) -> None:
    told = await ok(await admin.post(f"{ADDRESS}/check", json={"files": {"a.yaml": GOOD}}))
    assert (told["ok"], told["problems"]) == (True, [])
    told = await ok(await admin.post(f"{ADDRESS}/check", json={"files": {"a.yaml": GOOD, "b/c.yml": BAD}}))
    assert told["ok"] is False
    assert {(one["file"], one["line"]) for one in told["problems"]} >= {("b/c.yml", 2), ("b/c.yml", 3)}
    assert sorted(path.name for path in folder.iterdir()) == ["notes.txt", "old.yaml"]


async def test_policies_are_replaced_as_a_whole(admin: Client, folder: Path, pool: Pool) -> None:
    before = await seen(admin)
    told = await ok(await apply(admin, {"a.yaml": GOOD, "more/b.yaml": "meters: {pages: {unit: page}}\n"}))
    assert told["in_use"] is False, "nobody reads the folder here"
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*.yaml")) == [
        "a.yaml",
        "more/b.yaml",
    ]
    assert (folder / "notes.txt").exists()
    assert await seen(admin) == f'"{told["digest"]}"' != before
    (change,) = await AuditLog(pool).page(AuditQuestion(action="policies.changed"))
    assert change.after == {"digest": told["digest"], "files": ["a.yaml", "more/b.yaml"]}
    assert change.actor == "bootstrap"


async def test_policies_with_problems_change_nothing(admin: Client, folder: Path) -> None:
    document = await problem(await apply(admin, {"a.yaml": GOOD, "b.yaml": BAD}), 422, "invalid")
    assert {one["field"] for one in document["errors"]} >= {"b.yaml:2", "b.yaml:3"}
    assert (folder / "old.yaml").read_text() == GOOD
    assert not (folder / "a.yaml").exists()


async def test_who_saw_other_files_changes_nothing(admin: Client, folder: Path) -> None:
    response = await admin.put(ADDRESS, json={"files": {"a.yaml": GOOD}})
    await problem(response, 428, "precondition_required")
    old = await seen(admin)
    (folder / "old.yaml").write_text(GOOD + "# edited\n")
    await problem(await apply(admin, {"a.yaml": GOOD}, old), 412, "precondition_failed")
    assert not (folder / "a.yaml").exists()


async def test_a_folder_that_can_not_be_written(admin: Client, folder: Path) -> None:
    (folder / "sub").write_text("a file where a folder should be")
    document = await problem(
        await apply(admin, {"a.yaml": GOOD, "sub/b.yaml": "tiers: {x: {}}"}), 409, "conflict"
    )
    assert "can not be written" in document["detail"]
    assert sorted(path.name for path in folder.glob("*.yaml")) == ["old.yaml"], "what was written is put back"


@pytest.mark.parametrize("name", ["../a.yaml", "/a.yaml", ".a.yaml", "a.txt", "a/../b.yaml", "a\n.yaml", ""])
async def test_names_that_no_file_can_have(admin: Client, name: str) -> None:
    for response in (
        await admin.post(f"{ADDRESS}/check", json={"files": {name: GOOD}}),
        await apply(admin, {name: GOOD}),
    ):
        document = await problem(response, 422, "invalid")
        assert [one["field"] for one in document["errors"]] == ["files"]


async def test_only_who_may(admin: Client, stranger: Client) -> None:
    reader = bearer((await token(admin, "policies:read"))["secret"])
    await ok(await stranger.post(f"{ADDRESS}/check", json={"files": {"a.yaml": GOOD}}, headers=reader))
    response = await stranger.put(ADDRESS, json={"files": {"a.yaml": GOOD}}, headers=reader)
    await problem(response, 403, "forbidden")


async def test_the_history_page_by_page(admin: Client, pool: Pool) -> None:
    history = PolicyHistory(pool)
    for number, how in enumerate(How):
        await history.note("gateway-1", f"{number}" * 64, how, "gateway")
    first = await ok(await admin.get(f"{ADDRESS}/history?limit=3"))
    assert [one["how"] for one in first["data"]] == ["api", "signal", "change"]
    rest = await ok(await admin.get(f"{ADDRESS}/history?before={first['next']}"))
    assert [(one["how"], one["digest"][0], one["gateway"]) for one in rest["data"]] == [
        ("start", "0", "gateway-1")
    ]
    assert rest["next"] is None
