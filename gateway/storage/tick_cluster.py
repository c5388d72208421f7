"""Client of a Redis Cluster for the hot path: a `TickRedis` for each primary, calls by their slots.

A call that is sent elsewhere goes there once. A slot that is on its way from one node to another may have
keys on both, and then neither can run a script: such calls are tried again until `timeout_s` is over. A
node that is gone fails the calls of its own slots, at once, and those of nobody else.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from dataclasses import replace
from time import monotonic
from typing import Any, Final

from gateway.errors import StoreRefused, StoreUnavailable
from gateway.inline import Wait, drive
from gateway.storage.hash_slots import SLOTS, slot_of
from gateway.storage.redis import Place, RedisAddress, script_name
from gateway.storage.redis_tick import (
    CONNECT_TIMEOUT_S,
    OUTSTANDING_MAX,
    TIMEOUT_S,
    Args,
    TickRedis,
)
from gateway.storage.topology import Redirect, SlotRange, find_ranges, read_redirect
from gateway.tasks import Tasks
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.redis")

NODE = "\0node"
"""As an argument of a call: what the node that runs it calls itself."""
LOOK_EVERY_S = 0.1
"""At the state of nodes."""
REFRESH_EVERY_S = 5.0
REFRESH_SOON_S = (0.3, 0.6)
"""While calls are sent elsewhere or a node is gone, at random: many workers do not come in one moment."""
AGAIN_S = 0.02
KEPT_S = 60.0
"""A node without slots that calls were sent to: slots may be on their way to it."""


class Node:
    """One node, and the connection to it."""

    __slots__ = ("place", "redis", "told_of_s")

    def __init__(self, place: Place, redis: TickRedis) -> None:
        self.place = place
        self.redis = redis
        self.told_of_s = monotonic()

    def send(self, args: Args, *, asks: bool) -> Wait[Any]:
        """The call, as its own for a slot that is on its way here if `asks`."""
        if NODE in args:
            name = self.redis.server or NODE  # never empty: `admit.lua` would ask nobody
            args = tuple([name if one == NODE else one for one in args])
        if asks:
            self.redis.call(("ASKING",))  # nobody waits: it is about the next call of the connection
        return self.redis.call(args)


class TickCluster:
    """As `TickRedis`, for a cluster: a call goes to the node that has the hash slot of its first key.

    Register scripts before `start`.
    """

    def __init__(
        self,
        address: RedisAddress,
        slots: Slots,
        tasks: Tasks,
        *,
        timeout_s: float = TIMEOUT_S,
        outstanding_max: int = OUTSTANDING_MAX,
    ) -> None:
        """`outstanding_max` is each node's."""
        self._address = address
        self._cells = slots.cells
        self._calls_slot = slot("admission_store_calls_total")
        self._up_slot = slot("admission_store_up")
        self._tasks = tasks
        self.timeout_s: Final = timeout_s
        self._outstanding_max = outstanding_max
        self._scripts: list[str] = []
        self._nodes: dict[Place, Node] = {}
        self._owners: list[Node | None] = [None] * SLOTS
        self._primaries: list[Node] = []
        self._known = asyncio.Event()
        self._stale = True
        self._complained = False
        self._follower: asyncio.Task[None] | None = None
        self._cells[self._up_slot] = 0

    @property
    def up(self) -> bool:
        """Whether calls are sent at all, be it to some nodes only."""
        return any(node.redis.up for node in self._primaries)

    @property
    def primaries(self) -> list[Node]:
        """Every node that has slots."""
        return list(self._primaries)

    def server_of(self, hash_slot: int) -> str:
        """What the node that has this slot calls itself; empty while it is not connected."""
        owner = self._owners[hash_slot]
        return owner.redis.server if owner is not None and owner.redis.up else ""

    def servers(self) -> list[str]:
        """The same of all slots."""
        names = {node: node.redis.server if node.redis.up else "" for node in self._primaries}
        return [names.get(owner, "") if owner is not None else "" for owner in self._owners]

    def script(self, source: str) -> str:
        """Make `source` known to all nodes; the answer is its name for `evalsha`."""
        self._scripts.append(source)
        return script_name(source)

    def start(self) -> None:
        """Find the nodes, connect, and stay connected until `close`."""
        self._follower = self._tasks.spawn(self._follow(), name="storage.redis.cluster")

    async def wait_until_up(self, timeout_s: float = CONNECT_TIMEOUT_S) -> bool:
        """True as soon as all primaries are connected, False after `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._known.wait()
                waits = [node.redis.wait_until_up(timeout_s) for node in self._primaries]
                is_up = all(await asyncio.gather(*waits))
        except TimeoutError:
            return False
        self._look()
        return is_up

    async def close(self) -> None:
        """End all connections. Calls that still wait fail."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)
        self._owners, self._primaries = [None] * SLOTS, []
        nodes, self._nodes = list(self._nodes.values()), {}
        await asyncio.gather(*(node.redis.close() for node in nodes))
        self._cells[self._up_slot] = 0

    def call(self, args: Args) -> Wait[Any]:
        """Send one command, whose first argument is its key. The answer, or StoreUnavailable, soon."""
        return self._begin(slot_of(str(args[1])), args)

    def evalsha(self, sha: str, keys: tuple[str, ...], args: Args) -> Wait[Any]:
        """Run a registered script, whose keys are all in one slot."""
        return self._begin(slot_of(keys[0]), ("EVALSHA", sha, len(keys), *keys, *args))

    def flush(self) -> None:
        """Nothing: each node's calls leave at the end of the tick."""

    def _begin(self, hash_slot: int, args: Args) -> Wait[Any]:
        routed: Wait[Any] = Wait()

        def ended(error: BaseException | None) -> None:
            if error is not None:
                routed.fail(error)

        drive(self._route(hash_slot, args, routed), ended)
        return routed

    async def _route(self, hash_slot: int, args: Args, routed: Wait[Any]) -> None:
        """Send a call to whoever has the slot, and once more to whoever has it instead."""
        until_s = monotonic() + self.timeout_s
        owner, asks, was_sent_on = self._owners[hash_slot], False, False
        while True:
            if owner is None:
                raise StoreUnavailable("no node of the cluster has this hash slot", unsent=True)
            self._cells[self._calls_slot] += 1
            try:
                answer = await owner.send(args, asks=asks)
            except StoreRefused as refused:
                redirect = read_redirect(refused.said, owner.place)
                if redirect is not None and not was_sent_on:
                    owner, asks, was_sent_on = self._sent_on(hash_slot, redirect), redirect.asks, True
                    if owner.redis.up:
                        continue
                elif refused.said.startswith("CLUSTERDOWN"):  # this node does not meet enough of the others
                    self._stale = True
                    raise StoreUnavailable(str(refused), unsent=True) from refused
                elif redirect is None and not refused.said.startswith("TRYAGAIN"):
                    raise
                if monotonic() + AGAIN_S >= until_s:
                    raise StoreUnavailable(str(refused), unsent=True) from refused
                await _in(AGAIN_S)
                owner, asks, was_sent_on = self._owners[hash_slot], False, False
            else:
                break
        routed.set(answer)

    def _sent_on(self, hash_slot: int, redirect: Redirect) -> Node:
        node = self._node(redirect.place)
        if not redirect.asks:
            self._owners[hash_slot] = node
            self._stale = True
        return node

    def _node(self, place: Place) -> Node:
        node = self._nodes.get(place)
        if node is None:
            node = self._nodes[place] = self._new(place)
            node.redis.start()
        node.told_of_s = monotonic()
        return node

    def _new(self, place: Place) -> Node:
        address = replace(self._address, host=place[0], port=place[1], cluster=())
        # What it counts for itself nobody sees: the cluster is up when all of its nodes are.
        redis = TickRedis(
            address,
            Slots.in_memory(),
            self._tasks,
            timeout_s=self.timeout_s,
            outstanding_max=self._outstanding_max,
        )
        for source in self._scripts:
            redis.script(source)
        return Node(place, redis)

    async def _follow(self) -> None:
        """Know who has which slots: looked up now and then, and soon when that seems to have changed."""
        while True:
            await self._refresh()
            now_s = monotonic()
            soon_s = now_s + random.uniform(*REFRESH_SOON_S)  # noqa: S311 - spreads load, hides nothing
            later_s = now_s + REFRESH_EVERY_S
            while monotonic() < (later_s if self._look() else soon_s):  # noqa: ASYNC110 - much to look at
                await asyncio.sleep(LOOK_EVERY_S)

    def _look(self) -> bool:
        """Whether all is well."""
        is_up = bool(self._primaries) and all(node.redis.up for node in self._primaries)
        self._cells[self._up_slot] = int(is_up)
        return is_up and not self._stale

    async def _refresh(self) -> None:
        self._stale = False
        known = [node.place for node in self._primaries if node.redis.up]
        random.shuffle(known)
        try:
            ranges = await find_ranges(self._address, [*known, *self._address.cluster])
        except StoreUnavailable as lost:
            self._stale = True
            if not self._complained:
                self._complained = True
                log.warning("%s", lost, extra={"listen": str(self._address)})
            return
        self._complained = False
        await self._adopt(ranges)

    async def _adopt(self, ranges: Iterable[SlotRange]) -> None:
        owners: list[Node | None] = [None] * SLOTS
        for one in ranges:
            owners[one.first : one.last + 1] = [self._node(one.place)] * (one.last - one.first + 1)
        self._owners = owners
        self._primaries = list(dict.fromkeys(node for node in owners if node is not None))
        self._known.set()
        now_s = monotonic()
        gone = [
            node
            for node in self._nodes.values()
            if node not in self._primaries and now_s - node.told_of_s > KEPT_S
        ]
        for node in gone:
            del self._nodes[node.place]
            await node.redis.close()


def _in(delay_s: float) -> Wait[None]:
    wait: Wait[None] = Wait()
    asyncio.get_running_loop().call_later(delay_s, wait.set, None)
    return wait
