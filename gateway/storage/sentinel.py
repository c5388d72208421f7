"""Where the primary of a service is right now, by those who watch it."""

from __future__ import annotations

from dataclasses import replace

import redis.exceptions

from gateway.errors import StoreUnavailable
from gateway.storage.redis import RedisAddress, sentinels_of


async def locate(address: RedisAddress) -> RedisAddress:
    """The address of the server itself. StoreUnavailable when it takes Sentinels and none of them knows."""
    if address.sentinels is None:
        return address
    asked = sentinels_of(address)
    try:
        host, port = await asked.discover_master(address.sentinels.service)
    except (redis.exceptions.RedisError, OSError) as error:
        raise StoreUnavailable("no Sentinel knows the primary") from error
    finally:
        for one in asked.sentinels:
            await one.aclose()
    return replace(address, host=host, port=int(port), sentinels=None)
