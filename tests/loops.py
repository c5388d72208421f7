"""Which loop tests run on: workers run on uvloop, whose transports are others than asyncio's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """For the folders whose conftest imports it: uvloop. Modules that say `ON_EITHER_LOOP` run on both."""
    on_either = isinstance(item, pytest.Function) and getattr(item.module, "ON_EITHER_LOOP", False)
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"uvloop": uvloop.new_event_loop}
    return loops | ({"asyncio": asyncio.new_event_loop} if on_either else {})
