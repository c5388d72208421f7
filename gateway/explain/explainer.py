"""Takes a call that nobody makes through the stages of a worker, and says what became of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from gateway.accounts.recognition import find_account_principal, find_principal_of_key
from gateway.accounts.records import ApiKey, FoundKey
from gateway.accounts.store import Accounts
from gateway.admission.onlooker import Onlooker
from gateway.admission.open_store import open_onlooker
from gateway.admission.redis_store import RedisStore
from gateway.clock import Clock
from gateway.controlplane.enforcement_api import switch_document
from gateway.controlplane.explanations import Explanation, PastExplanation, Question
from gateway.dataplane.pipeline import Pipeline
from gateway.errors import NotFound
from gateway.explain.past import look_back
from gateway.explain.standins import Ends, HeadOf, Listener, Shown
from gateway.explain.telling import Told
from gateway.model.enforcement import Enforcement
from gateway.model.exchange import Exchange
from gateway.model.policies import NO_LIMIT
from gateway.operators.enforcement import Switches
from gateway.routing.table import RoutingTable
from gateway.storage.postgres import Pool
from gateway.storage.tick_client import tick_client
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom the question is about. `found` None: nobody is shown, or a key that does not work (`key`)."""

    found: FoundKey | None = None
    key: ApiKey | None = None
    anonymous: bool = False


@dataclass(frozen=True, slots=True)
class Frame:
    """What of the settings decides calls."""

    key_prefix: str
    max_body_bytes: int


class Explainer:
    """Explains single calls with the policies in use, the switches of now and the counters of now."""

    def __init__(
        self,
        pool: Pool,
        store: RedisStore,
        table: Callable[[], RoutingTable],
        clock: Clock,
        tasks: Tasks,
        frame: Frame,
    ) -> None:
        """`store` must be one that only looks; `table` gives the snapshot in use."""
        self._pool, self._store, self._table = pool, store, table
        self._clock, self._tasks, self._frame = clock, tasks, frame

    async def explain(self, question: Question) -> Explanation:
        """What would happen to this call now. NotFound for an account or key that is not there."""
        caller = await self._caller(question)
        switches = await Switches(self._pool).in_force(self._clock.now_us())
        table = self._table().under(Enforcement(tuple([one.switch for one in switches])))
        listener, onlooker, ends = Listener(), Onlooker(self._store), Ends(self._clock)
        exchange = _exchange(question, listener)
        pipeline = Pipeline(
            _Snapshot(table),
            self._authentication(caller),
            onlooker,
            ends,
            ends,
            overload=ends,
            max_body_bytes=self._frame.max_body_bytes or NO_LIMIT,
        )
        await pipeline.handle(exchange)
        told = Told(question, exchange, table, listener, onlooker, forwarded=ends.reached_upstream)
        return told.explanation(
            [switch_document(one) for one in switches], caller.key, anonymous=caller.anonymous
        )

    async def look_back(self, request_id: UUID) -> PastExplanation:
        """What was decided about a call. NotFound when it has no row, or not yet."""
        return await look_back(self._pool, request_id)

    def _authentication(self, caller: Caller) -> Shown:
        return Shown(caller.found, self._clock, self._tasks, self._frame.key_prefix, nothing=caller.anonymous)

    async def _caller(self, question: Question) -> Caller:
        if question.key is not None:
            key = await Accounts(self._pool, self._frame.key_prefix).get_key(question.key)
            return Caller(await find_principal_of_key(self._pool, question.key), key)
        if question.account is None:
            return Caller(anonymous=True)
        found = await find_account_principal(self._pool, question.account, b"")
        if found is None:
            raise NotFound("There is no such account.")
        return Caller(found)


class _Snapshot:
    def __init__(self, table: RoutingTable) -> None:
        self._table = table

    def current(self) -> RoutingTable:
        return self._table


def _exchange(question: Question, listener: Listener) -> Exchange:
    read = HeadOf(question.method, question.path, question.host, question.headers)
    exchange = Exchange(read.head, listener, b"", question.client_ip)
    exchange.broken = read.broken
    exchange.body_done = not read.head.has_body
    return exchange


@asynccontextmanager
async def looking(
    redis_url: str, clock: Clock, server: str | None
) -> AsyncIterator[tuple[RedisStore, Tasks]]:
    """A store that only looks, and the tasks that keep it connected. Redis may be gone: it then says so.

    `server`: what it is called whatever it says, see `CounterTrust`.
    """
    tasks = Tasks()
    client = tick_client(redis_url, Slots.in_memory(), tasks)
    store = open_onlooker(client, clock, server)
    client.start()
    await client.wait_until_up()
    try:
        yield store, tasks
    finally:
        await client.close()
        await tasks.close()
