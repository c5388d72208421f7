"""Which node of a Redis Cluster has which hash slots, by the cluster itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import redis.exceptions

from gateway.errors import StoreUnavailable
from gateway.storage.redis import Place, RedisAddress, client_of

WITHIN_S = 0.5
"""For one node to answer, before the next is asked."""


class SlotRange(NamedTuple):
    """Hash slots `first` to `last`, and the primary that has them."""

    first: int
    last: int
    place: Place


class Redirect(NamedTuple):
    """Where a node sent us. `asks`: for this call alone, since the slot is on its way there."""

    place: Place
    asks: bool


async def find_ranges(address: RedisAddress, places: Iterable[Place]) -> list[SlotRange]:
    """What the first of `places` that answers says. StoreUnavailable when none does."""
    for place in places:
        client = client_of(
            replace(address, host=place[0], port=place[1]),
            socket_timeout=WITHIN_S,
            socket_connect_timeout=WITHIN_S,
        )
        try:
            said: Any = await client.execute_command("CLUSTER", "SLOTS")  # type: ignore[no-untyped-call]  # no types
        except (redis.exceptions.RedisError, OSError):
            continue
        finally:
            await client.aclose()
        if found := read_ranges(said, place):
            return found
    raise StoreUnavailable("no node of the cluster says who has which hash slots")


def read_ranges(said: list[list[Any]], asked: Place) -> list[SlotRange]:
    """An answer to CLUSTER SLOTS. A node without an address is reached as the one that was asked."""
    return [SlotRange(int(one[0]), int(one[1]), _place(one[2][0], one[2][1], asked)) for one in said]


def read_redirect(said: str, asked: Place) -> Redirect | None:
    """What an error of the node `asked` says about where to go instead; None for any other error."""
    words = said.split(" ")
    if words[0] not in {"MOVED", "ASK"} or len(words) != 3:
        return None
    host, _, port = words[2].rpartition(":")
    return Redirect(_place(host, port, asked), words[0] == "ASK")


def _place(host: bytes | str | None, port: int | str, asked: Place) -> Place:
    text = host.decode() if isinstance(host, bytes) else host
    return (asked[0] if text in {None, "", "?"} else str(text)), int(port)
