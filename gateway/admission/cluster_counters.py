"""Quota counters of a Redis Cluster as one sees them from outside, and the marks that vouch for them.

Whatever lies in one hash slot is vouched for by itself, so a node's loss is the matter of its accounts
alone. A node that can not be reached has nobody looking after it until it is back or another one has its
slots.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Any

from gateway.admission.cluster_trust import mark_of
from gateway.admission.counters import (
    AFTER_PERIOD_MS,
    AT_ONCE,
    BEGIN,
    KEYS,
    MEND,
    MOVE,
    POST,
    REBUILD,
    REBUILDING,
    REBUILT_WITHIN_MS,
    Move,
    QuotaCounters,
    QuotaPeriod,
    counter_key,
    known_units,
    parse_counter,
    told_of,
    told_of_posting,
)
from gateway.admission.crossings import EVENTS, Crossing, Crossings, read_crossing
from gateway.admission.presence import FORGOTTEN_AFTER_MS, JOURNALS
from gateway.errors import StoreUnavailable
from gateway.inline import Wait
from gateway.storage.hash_slots import SLOTS, slot_of, tags
from gateway.storage.tick_cluster import Node, TickCluster

STRIDE = 128
"""While nothing seems to have changed each look is at every 128th mark, all of them within a minute, and at
one of each node: a flush takes all marks of a node away."""
TOGETHER = 2000
"""Calls under way at once."""
EVENT_SLOTS = 1024
"""Hash slots searched for events in one turn: all within 16 turns."""


class ClusterCounters(QuotaCounters):
    """The counters of every account. StoreUnavailable when a node that is asked can not say."""

    def __init__(self, cluster: TickCluster) -> None:
        self._cluster = cluster
        self._begin, self._rebuild = cluster.script(BEGIN), cluster.script(REBUILD)
        self._mend, self._post_script = cluster.script(MEND), cluster.script(POST)
        self._move = cluster.script(MOVE)
        self._right: list[str] = []  # the servers of all slots, when each was vouched for
        self._due: dict[int, str] = {}  # slots that are or were rebuilt last, and their servers
        self._next = 0

    async def now_us(self) -> int:
        """The clock of one of the nodes. They have to agree well enough to name a period."""
        seconds, microseconds = await one_that_is_up(self._cluster).redis.call(("TIME",))
        return int(seconds) * 1_000_000 + int(microseconds)

    async def read(self) -> AsyncIterator[tuple[QuotaPeriod, int]]:
        seen: set[QuotaPeriod] = set()
        for node in self._cluster.primaries:
            cursor = b"0"
            while True:
                cursor, keys = await node.redis.call(("SCAN", cursor, "MATCH", KEYS, "COUNT", AT_ONCE))
                known = {key.decode(): parsed for key in keys if (parsed := parse_counter(key)) is not None}
                for counted, units in (await self._units(known)).items():
                    if counted not in seen:
                        seen.add(counted)
                        yield counted, units
                if int(cursor) == 0:
                    break

    async def counted(self, periods: Sequence[QuotaPeriod]) -> dict[QuotaPeriod, int]:
        return await self._units({counter_key(one): one for one in periods})

    async def _units(self, named: Mapping[str, QuotaPeriod]) -> dict[QuotaPeriod, int]:
        """What counters say, by their names. `MGET`, since it takes what is no text for missing."""
        values = await _in_turns(self._cluster.call(("MGET", name)) for name in named)
        return known_units(list(named.values()), [value for (value,) in values])

    async def journals(self, now_us: int) -> set[str]:
        since_ms = now_us // 1000 - FORGOTTEN_AFTER_MS
        await self._cluster.call(("ZREMRANGEBYSCORE", JOURNALS, "-inf", since_ms))
        return {name.decode() for name in await self._cluster.call(("ZRANGE", JOURNALS, 0, -1))}

    async def forget_journals(self, finished: set[str]) -> None:
        if finished:
            await self._cluster.call(("ZREM", JOURNALS, *finished))

    async def server(self) -> str:
        """A name for who has which slots now."""
        return _name_of(self._reached())

    async def vouched_for(self) -> str | None:
        """The same, if the marks of all slots that can be reached are right."""
        servers = self._reached()
        looked_at: Iterable[int] = range(SLOTS)
        if servers == self._right:
            of_each = {server: one for one, server in enumerate(servers)}
            looked_at = {*range(self._next, SLOTS, STRIDE), *of_each.values()}
            self._next = (self._next + 1) % STRIDE
        due = await self._wrong(servers, looked_at)
        self._right = [] if due else servers
        self._due = due or self._due
        return None if due else _name_of(servers)

    async def begin_rebuild(self, token: str) -> None:
        """Of the slots whose marks are wrong; of those of the last rebuild when there are none.

        Wrong marks go at once: they would be right again if slots went back to a node before this is done.
        """
        servers = self._reached()
        wrong = await self._wrong(servers, range(SLOTS))
        await _in_turns(self._cluster.call(("DEL", mark_of(one))) for one in wrong)
        self._due = wrong or self._due
        args = (token, REBUILT_WITHIN_MS)
        begun = (self._cluster.evalsha(self._begin, (_rebuilding_of(one),), args) for one in self._due)
        self._keep(await _in_turns(begun, or_none=True), self._due)

    async def raise_all(
        self, token: str, counters: Sequence[tuple[QuotaPeriod, int]], *, vouch_for: str = ""
    ) -> bool:
        """As of one server, slot by slot; counters of other slots are as they should be.

        A slot that fails is left out and stays to be rebuilt: a node that is lost keeps nobody else waiting.
        False when none is left.
        """
        by_slot: defaultdict[int, list[tuple[str, int, int]]] = defaultdict(list)
        for period, units in counters:
            key, keep_until_ms = counter_key(period), period.span.end_s * 1000 + AFTER_PERIOD_MS
            if (lies_in := slot_of(key)) in self._due:
                by_slot[lies_in].append((key, units, keep_until_ms))
        slots = list(self._due if vouch_for else by_slot)
        raising = (
            self._raise(one, by_slot[one], token, self._due[one] if vouch_for else "") for one in slots
        )
        return self._keep(await _in_turns(raising, or_none=True), slots)

    def _keep(self, answers: list[Any], slots: Iterable[int]) -> bool:
        """Leave out the slots that did not answer, or said no. Whether there are others."""
        lost = [one for one, answer in zip(list(slots), answers, strict=True) if not answer]
        for one in lost:
            del self._due[one]
        return bool(self._due) or not lost

    def _raise(
        self, hash_slot: int, counters: list[tuple[str, int, int]], token: str, vouch_for: str
    ) -> Wait[Any]:
        keys = (_rebuilding_of(hash_slot), mark_of(hash_slot), *(key for key, _, _ in counters))
        numbers = [number for _, units, keep_until_ms in counters for number in (units, keep_until_ms)]
        return self._cluster.evalsha(self._rebuild, keys, (token, vouch_for, *numbers))

    async def set_right(self, period: QuotaPeriod, units: int, *, lower_from: int | None) -> bool:
        key = counter_key(period)
        keep_until_ms = period.span.end_s * 1000 + AFTER_PERIOD_MS
        expected = "" if lower_from is None else lower_from
        keys = (key, mark_of(slot_of(key)))
        return bool(await self._cluster.evalsha(self._mend, keys, (units, keep_until_ms, expected)))

    async def move(self, move: Move) -> None:
        counters, args = told_of(move)
        await self._cluster.evalsha(self._move, (mark_of(slot_of(counters[0])), *counters), tuple(args))

    async def add(self, units: Mapping[QuotaPeriod, int], now_us: int) -> None:
        posted = told_of_posting(units, now_us)
        await _in_turns(self._post(counters, args) for counters, args in posted)

    def _post(self, counters: list[str], args: list[str | int]) -> Wait[Any]:
        mark = mark_of(slot_of(counters[0]))  # all of an account lie in one slot
        return self._cluster.evalsha(self._post_script, (mark, *counters), tuple(args))

    def _reached(self) -> list[str]:
        servers = self._cluster.servers()
        if not any(servers):
            raise StoreUnavailable("no node of the cluster can be reached", told=True)
        return servers

    async def _wrong(self, servers: list[str], slots: Iterable[int]) -> dict[int, str]:
        """Slots that can be reached and whose marks name another server than the one that has them."""
        asked = [one for one in slots if servers[one]]
        marks = await _in_turns(self._cluster.call(("GET", mark_of(one))) for one in asked)
        found = zip(asked, marks, strict=True)
        return {one: servers[one] for one, mark in found if mark != servers[one].encode()}


class ClusterCrossings(Crossings):
    """Thresholds that were reached, from a hash in each slot: of some slots each time, so up to 16 s late."""

    def __init__(self, cluster: TickCluster) -> None:
        self._cluster = cluster
        self._next = 0

    async def fetch(self) -> dict[bytes, Crossing]:
        servers = self._cluster.servers()
        slots = [one for one in range(self._next, self._next + EVENT_SLOTS) if servers[one]]
        self._next = (self._next + EVENT_SLOTS) % SLOTS
        there = await _in_turns(self._cluster.call(("EXISTS", events_of(one))) for one in slots)
        having = [one for one, is_there in zip(slots, there, strict=True) if is_there]
        flats = await _in_turns(self._cluster.call(("HGETALL", events_of(one))) for one in having)
        read: dict[bytes, Crossing] = {}
        for flat in flats:
            for field, value in zip(flat[::2], flat[1::2], strict=True):
                if (one := read_crossing(field.decode(), value.decode())) is not None:
                    read[field] = one
        return read

    async def forget(self, fields: list[bytes]) -> None:
        names = {field: events_of(slot_of(field.decode())) for field in fields}
        await _in_turns(self._cluster.call(("HDEL", name, field)) for field, name in names.items())


def events_of(hash_slot: int) -> str:
    """The hash of events of a slot, as in thresholds.lua. Its fields begin with a counter's name."""
    return f"{EVENTS}:{{{tags()[hash_slot]}}}"


def _rebuilding_of(hash_slot: int) -> str:
    return f"{REBUILDING}:{{{tags()[hash_slot]}}}"


def one_that_is_up(cluster: TickCluster) -> Node:
    for node in cluster.primaries:
        if node.redis.up:
            return node
    raise StoreUnavailable("no node of the cluster can be reached", told=True)


def _name_of(servers: list[str]) -> str:
    return blake2b(",".join(servers).encode(), digest_size=6).hexdigest()


async def _in_turns(calls: Iterable[Wait[Any]], *, or_none: bool = False) -> list[Any]:
    """The answers of calls that are made as they are iterated over: not too many at once.

    `or_none`: instead of what the store can not say.
    """
    answers: list[Any] = []
    left = iter(calls)
    while under_way := list(islice(left, TOGETHER)):
        for wait in under_way:
            try:
                answers.append(await wait)
            except StoreUnavailable:
                if not or_none:
                    raise
                answers.append(None)
    return answers
