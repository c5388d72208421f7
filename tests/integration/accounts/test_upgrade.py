"""What was there stays as it was when a release brings more, and the one before may go on serving."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.accounts.keys import digest
from gateway.accounts.records import KeyChanges
from gateway.accounts.store import Accounts
from gateway.storage.migrate import migrate, migrations_folder
from gateway.storage.postgres import Pool, connect_pool

OF_THE_RELEASE_BEFORE = "SELECT r.*, k.scopes FROM key_records AS r INNER JOIN api_keys AS k ON k.id = r.id"
ROWS = """
WITH a AS (
    INSERT INTO accounts (public_id, name, tier) VALUES ('acct_' || repeat('A', 20), 'Ada', 'team')
    RETURNING id
)
INSERT INTO api_keys (public_id, account_id, name, digest, visible, last_four, mode, only_networks)
SELECT
    'key_' || repeat(one.letter, 20), a.id, one.letter, one.digest, 'tw_live_', 'abcd', 'live', one.networks
FROM a, (VALUES ('A', $1::bytea, NULL::cidr[]), ('B', $2, '{192.0.2.0/24,::ffff:10.0.0.0/104}'))
    AS one (letter, digest, networks)
"""
FREE, KEPT = digest(b"free"), digest(b"kept")


@pytest.fixture
async def pool(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Pool]:
    """A database of the release before keys had networks they do not work from, with two keys."""
    for file in sorted(migrations_folder().glob("*.sql")):
        if file.name < "0039":
            shutil.copy(file, tmp_path)
    await migrate(empty_database_url, folder=tmp_path)
    made = await connect_pool(empty_database_url)
    await made.execute(ROWS, FREE, KEPT)
    yield made
    made.terminate()


async def test_keys_that_were_there_are_as_they_were(pool: Pool, empty_database_url: str) -> None:
    assert "0039_not_networks" in await migrate(empty_database_url)
    accounts = Accounts(pool, "tw")
    free, kept = await accounts.find_key(FREE), await accounts.find_key(KEPT)
    assert free is not None
    assert free.principal.restrictions is None
    assert kept is not None
    assert kept.principal.restrictions is not None
    asked = ("192.0.2.7", "10.0.0.1", "198.51.100.1")
    assert [kept.principal.restrictions.addresses.admits(one) for one in asked] == [True, True, False]
    listed = await accounts.list_keys("acct_" + "A" * 20)
    assert [one.not_networks for one in listed] == [(), ()]
    changed = await accounts.change_key(listed[1].public_id, KeyChanges(not_networks=("192.0.2.7",)))
    assert (changed.only_networks, changed.not_networks) == (listed[1].only_networks, ("192.0.2.7/32",))


async def test_the_release_before_reads_what_it_knows(pool: Pool, empty_database_url: str) -> None:
    before = await pool.fetch(OF_THE_RELEASE_BEFORE)
    await migrate(empty_database_url)
    after = await pool.fetch(OF_THE_RELEASE_BEFORE)
    assert [dict(row) for row in after] == [dict(row) for row in before]


async def test_no_list_is_stored_as_none(pool: Pool, empty_database_url: str) -> None:
    await migrate(empty_database_url)
    accounts = Accounts(pool, "tw")
    (one, _) = await accounts.list_keys("acct_" + "A" * 20)
    for networks in (("::1",), ()):
        await accounts.change_key(one.public_id, KeyChanges(not_networks=networks))
    assert await pool.fetchval("SELECT count(*) FROM api_keys WHERE not_networks IS NOT NULL") == 0
