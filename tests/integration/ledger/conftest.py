"""A ledger with journals to book: what every test here starts from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.storage.postgres import Pool, connect_pool
from tests.integration.ledger.books import Books


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    pool = await connect_pool(database_url)
    yield pool
    await pool.close()


@pytest.fixture
def books(pool: Pool, tmp_path: Path) -> Books:
    return Books(pool, tmp_path / "journals")
