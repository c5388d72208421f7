from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.unit.upstream.rig import Rigs


@pytest.fixture
async def make_rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rigs]:
    rigs = Rigs(monkeypatch)
    yield rigs
    for rig in rigs.made:
        await rig.close()
