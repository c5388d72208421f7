"""Keys from the operator's file: they work while their lines are there; no mistake in it costs anybody."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.accounts.keys import digest
from gateway.accounts.records import FoundKey, KeyChanges
from gateway.accounts.store import Accounts
from gateway.app.keys_file import KeysFile
from gateway.errors import Conflict
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool, connect_pool
from gateway.telemetry.slots import Slots

HEAD = "sha256,account,tier,expires_at\n"
ADA, BOB = b"legacy-key-of-ada", b"legacy-key-of-bob"


class Desk:
    """The file, and what its keys are good for."""

    def __init__(self, path: Path, pool: Pool) -> None:
        self.path, self.pool, self.accounts = path, pool, Accounts(pool, "tw")
        self.slots = Slots.in_memory()
        self.file = KeysFile(path, pool, self.accounts, lambda: {"free", "team"}, self.slots)
        self._writes = 0

    async def write(self, text: str) -> None:
        """Replace the file, and let it settle."""
        draft = self.path.with_suffix(f".{self._writes}")
        self._writes += 1
        draft.write_text(text)
        draft.replace(self.path)
        await self.file.look()
        await self.file.look()

    async def works(self, secret: bytes) -> FoundKey | None:
        return await self.accounts.find_key(digest(secret))

    async def working(self) -> list[bool]:
        return [await self.works(secret) is not None for secret in (ADA, BOB)]

    async def id_of(self, secret: bytes) -> str:
        found = await self.works(secret)
        assert found is not None
        return found.principal.key

    @property
    def failed(self) -> int:
        return self.slots.get("keys_file_failed_total")


def line(secret: bytes, account: str = "crm-1", tier: str = "free", expires: str = "") -> str:
    return f"{hashlib.sha256(secret).hexdigest()},{account},{tier},{expires}\n"


@pytest.fixture
async def desk(database_url: str, tmp_path: Path) -> AsyncIterator[Desk]:
    pool = await connect_pool(database_url)
    yield Desk(tmp_path / "keys.csv", pool)
    pool.terminate()


async def test_keys_work_while_their_lines_are_there(desk: Desk) -> None:
    await desk.write(HEAD + line(ADA) + line(BOB, "crm-2", "team"))
    assert await desk.working() == [True, True]
    bob = await desk.works(BOB)
    assert bob is not None
    assert (bob.principal.tier, bob.principal.mode) == ("team", Mode.LIVE)
    assert (await desk.accounts.find_account("crm-2")).name == "crm-2"
    await desk.write(HEAD + line(ADA))
    assert await desk.working() == [True, False]
    await desk.write(HEAD + line(ADA) + line(BOB, "crm-2"))
    assert await desk.working() == [True, True], "a line that is back"
    await desk.write(HEAD)
    assert await desk.working() == [False, False]
    assert desk.slots.get("keys_file_listed") == 0
    assert desk.failed == 0


async def test_an_end_is_followed(desk: Desk) -> None:
    await desk.write(HEAD + line(ADA, expires="2020-01-01T00:00:00Z") + line(BOB))
    assert await desk.working() == [False, True]
    await desk.write(HEAD + line(ADA) + line(BOB, expires="2020-01-01T00:00:00Z"))
    assert await desk.working() == [True, False]


async def test_what_operators_did_to_a_key_stays(desk: Desk) -> None:
    await desk.write(HEAD + line(ADA) + line(BOB))
    await desk.accounts.revoke_key(await desk.id_of(ADA))
    _, successor = await desk.accounts.rotate_key(await desk.id_of(BOB), 0)
    await desk.write("# touched\n" + HEAD + line(ADA) + line(BOB))
    assert await desk.working() == [False, False]
    assert await desk.works(successor.encode()) is not None, "which stands in no file, and never did"


async def test_a_key_may_be_changed_but_for_its_end_which_the_file_says(desk: Desk) -> None:
    await desk.write(HEAD + line(ADA))
    key = await desk.id_of(ADA)
    for changes in (KeyChanges(expires_in_s=60), KeyChanges(name="x", drop_expiry=True)):
        with pytest.raises(Conflict):
            await desk.accounts.change_key(key, changes)
    await desk.accounts.change_key(key, KeyChanges(name="ada's", only_methods=("GET",)))
    await desk.write("# touched\n" + HEAD + line(ADA))
    changed = await desk.accounts.get_key(key)
    assert (changed.name, changed.only_methods, changed.expires_at) == ("ada's", ("GET",), None)


async def test_keys_that_came_in_another_way_are_left_alone(desk: Desk) -> None:
    account = await desk.accounts.create_account("Acme", "free")
    _, ours = await desk.accounts.create_key(account.public_id)
    await desk.accounts.import_digest(account.public_id, digest(ADA))
    await desk.write(HEAD + line(ADA, account.public_id))
    await desk.write(HEAD)
    assert await desk.works(ours.encode()) is not None
    assert await desk.working() == [True, False]


@pytest.mark.parametrize(
    ("case", "text", "said"),
    [
        ("nobody's", HEAD + line(ADA) + line(b"new", "crm-9", ""), "keys.csv:3: account: is not there; with"),
        ("no such tier", HEAD + line(ADA) + line(b"new", "crm-9", "gold"), "keys.csv:3: tier: is not in"),
        ("an id that is none", HEAD + line(b"new", "acct_" + "0" * 20), "keys.csv:2: account: is not"),
        ("another's", HEAD + line(b"new", "crm-9") + line(ADA, "crm-2"), "keys.csv:3: account: is another"),
        ("secrets", "key,account\nlegacy-key-of-ada,crm-1\n", "keys.csv:1: key: holds secrets"),
        ("nothing", "", "keys.csv:1: needs a head"),
        ("cut off", HEAD + line(ADA)[:40], "keys.csv:2: has 1 cells"),
    ],
)  # fmt: skip
async def test_a_file_with_a_problem_changes_nothing(
    desk: Desk, caplog: pytest.LogCaptureFixture, case: str, text: str, said: str
) -> None:
    await desk.accounts.create_account("Other", "free", external_id="crm-2")
    await desk.write(HEAD + line(ADA) + line(BOB))
    before = await desk.pool.fetch("SELECT to_json(k)::text FROM api_keys AS k ORDER BY id")
    with caplog.at_level(logging.ERROR):
        await desk.write(text)
    assert said in caplog.text, case
    assert "legacy-key-of" not in caplog.text
    assert desk.failed == 1
    assert await desk.pool.fetch("SELECT to_json(k)::text FROM api_keys AS k ORDER BY id") == before
    assert await desk.pool.fetchval("SELECT count(*) FROM accounts") == 2
    await desk.write(HEAD + line(BOB))
    assert await desk.working() == [False, True], "mended"


async def test_a_file_that_is_gone_or_no_text_changes_nothing(desk: Desk) -> None:
    await desk.write(HEAD + line(ADA) + line(BOB))
    desk.path.unlink()
    await desk.file.look()
    await desk.file.look()
    assert (await desk.working(), desk.failed) == ([True, True], 1)
    desk.path.write_bytes(b"\xff\xfe\x00")
    await desk.file.look()
    await desk.file.look()
    assert (await desk.working(), desk.failed) == ([True, True], 2)


async def test_a_file_that_is_being_written_is_waited_for(desk: Desk) -> None:
    await desk.write(HEAD + line(ADA) + line(BOB))
    desk.path.write_text(HEAD)
    await desk.file.look()
    assert await desk.working() == [True, True]
    desk.path.write_text(HEAD + line(ADA))
    await desk.file.look()
    assert await desk.working() == [True, True]
    await desk.file.look()
    assert await desk.working() == [True, False]


async def test_without_a_database_it_waits_and_says_so_once(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.pool.terminate()
    desk.path.write_text(HEAD)
    for _ in range(3):
        await desk.file.look()
    assert caplog.text.count("waits for the database") == 1
    assert desk.failed == 0
