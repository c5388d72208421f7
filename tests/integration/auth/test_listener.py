"""A change of a key or an account is heard by every worker, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import asyncpg
import pytest

from gateway.accounts.keys import digest
from gateway.accounts.recognition import find_principal
from gateway.accounts.store import Accounts
from gateway.auth import listener
from gateway.auth.cache import KeyCache
from gateway.auth.listener import KeyListener
from gateway.model.enforcement import Enforcing, Switch
from gateway.operators.enforcement import Switches
from gateway.storage.postgres import Pool, connect_pool
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that happens on another connection. The test's timeout is the bound."""
    while not condition():
        await asyncio.sleep(0.005)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    made = await connect_pool(database_url)
    yield made
    await made.close()


@pytest.fixture
async def tasks() -> AsyncIterator[Tasks]:
    made = Tasks()
    yield made
    await made.close()


@pytest.fixture
def slots() -> Slots:
    return Slots.in_memory()


@pytest.fixture
def cache(slots: Slots) -> KeyCache:
    return KeyCache(slots)


@pytest.fixture
async def listening(database_url: str, cache: KeyCache, slots: Slots, tasks: Tasks) -> None:
    tasks.spawn(KeyListener(database_url, cache, slots).run(), name="auth.listen")
    await until(lambda: slots.get("key_listener_up") == 1)


async def remember(cache: KeyCache, pool: Pool, secret: str) -> bytes:
    """Put a key into the cache as the authenticator would."""
    key_digest = digest(secret.encode())
    found = await find_principal(pool, key_digest)
    assert found is not None
    cache.put(key_digest, found.principal, 1, active=found.active)
    return key_digest


@pytest.mark.usefixtures("listening")
async def test_each_kind_of_change_drops_what_it_touches(cache: KeyCache, pool: Pool) -> None:
    accounts = Accounts(pool, "tw")
    ours, theirs = (
        await accounts.create_account("Ours", "free"),
        await accounts.create_account("Theirs", "free"),
    )
    key, secret = await accounts.create_key(ours.public_id)
    _, stranger = await accounts.create_key(theirs.public_id)
    changes: list[Callable[[], Awaitable[object]]] = [
        lambda: accounts.set_tier(ours.public_id, "team"),
        lambda: accounts.set_status(ours.public_id, "suspended"),
        lambda: accounts.rotate_key(key.public_id),
        lambda: accounts.revoke_key(key.public_id),
    ]
    await until(lambda: cache.changes >= 5)  # the connect, two accounts and two keys have been heard of
    untouched = await remember(cache, pool, stranger)
    for change in changes:
        touched = await remember(cache, pool, secret)
        await change()
        await until(lambda known=touched: known not in cache.entries)  # type: ignore[misc]  # mypy can not infer a lambda with a default
        assert untouched in cache.entries


@pytest.mark.usefixtures("listening")
async def test_a_new_key_is_no_longer_refused_from_memory(cache: KeyCache, pool: Pool) -> None:
    accounts = Accounts(pool, "tw")
    account = await accounts.create_account("Ours", "free")
    _, secret = await accounts.create_key(account.public_id)
    key_digest = digest(secret.encode())
    cache.put_negative(key_digest, 1)
    await pool.execute("UPDATE api_keys SET name = 'again'")
    await until(lambda: key_digest not in cache.negative)


@pytest.mark.usefixtures("listening")
async def test_a_message_that_is_not_understood_makes_everything_doubtful(
    cache: KeyCache, pool: Pool
) -> None:
    for payload in ("key:zz", "account:x", "tenant:1", ""):
        changes = cache.changes
        await pool.execute("SELECT pg_notify('tollway_keys', $1)", payload)
        await until(lambda before=changes: cache.changes > before)  # type: ignore[misc]  # mypy can not infer a lambda with a default


@pytest.mark.usefixtures("listening")
async def test_after_a_lost_connection_everything_is_doubted(
    cache: KeyCache, slots: Slots, pool: Pool
) -> None:
    accounts = Accounts(pool, "tw")
    account = await accounts.create_account("Ours", "free")
    _, secret = await accounts.create_key(account.public_id)
    entry = cache.entries[await remember(cache, pool, secret)]
    await pool.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE query LIKE 'LISTEN%' OR query = 'SELECT 1'"
    )
    await until(lambda: entry.fresh_until_us == 0)
    await until(lambda: slots.get("key_listener_up") == 1)
    assert slots.get("key_listener_lost_total") == 1


async def test_without_a_server_it_goes_on_trying_and_says_so_once(
    tmp_path: Path, cache: KeyCache, slots: Slots, tasks: Tasks, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"postgresql://tollway:canary@/tollway?host={quote(str(tmp_path))}"
    attempts = 0

    async def refuse(*_: object) -> None:
        nonlocal attempts
        attempts += 1
        raise ConnectionRefusedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listener, "open_connection", refuse)
        patch.setattr(listener, "MAX_DELAY_S", 0.001)
        tasks.spawn(KeyListener(url, cache, slots).run(), name="auth.listen")
        await until(lambda: attempts > 5)
        await tasks.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "canary" not in caplog.text
    assert slots.get("key_listener_up") == 0


async def test_a_connection_that_a_dying_server_left_in_disorder_is_made_anew(
    database_url: str, cache: KeyCache, slots: Slots, tasks: Tasks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The library says so with an error of its own kind; not to listen any more would be for good."""
    listen, asked = asyncpg.Connection.add_listener, 0

    async def disorderly(self: Any, *arguments: Any) -> None:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise asyncpg.InternalClientError("cannot switch to state 12; another operation is in progress")
        await listen(self, *arguments)

    monkeypatch.setattr(asyncpg.Connection, "add_listener", disorderly)
    tasks.spawn(KeyListener(database_url, cache, slots).run(), name="auth.listen")
    await until(lambda: slots.get("key_listener_up") == 1)
    assert asked == 2


class FreezingProxy:
    """Stands between a client and Postgres' socket; frozen, it keeps connections open and passes nothing."""

    def __init__(self, target: Path, folder: Path) -> None:
        self._target, self._path = target, folder / target.name
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def stop(self) -> None:
        self._server.close()
        for pump in self._pumps:
            pump.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*(writer.wait_closed() for writer in self._writers), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(self._target)
        self._writers += (writer, far_writer)
        for source, sink in ((reader, far_writer), (far_reader, writer)):
            self._pumps.append(asyncio.ensure_future(self._pump(source, sink)))

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(65536):
                await self._thawed.wait()
                sink.write(data)
        sink.close()


@pytest.fixture
async def proxy(database_url: str, tmp_path: Path) -> AsyncIterator[FreezingProxy]:
    query = parse_qs(urlsplit(database_url).query)
    port = query.get("port", ["5432"])[0]
    made = FreezingProxy(Path(query["host"][0]) / f".s.PGSQL.{port}", tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_a_connection_that_is_open_but_dead_is_noticed(
    database_url: str,
    proxy: FreezingProxy,
    cache: KeyCache,
    slots: Slots,
    tasks: Tasks,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listener, "KEEPALIVE_S", 0.05)
    monkeypatch.setattr(listener, "CONNECT_S", 0.2)
    host = parse_qs(urlsplit(database_url).query)["host"][0]
    url = database_url.replace(quote(host, safe=""), quote(str(tmp_path), safe="")).replace(
        host, str(tmp_path)
    )
    tasks.spawn(KeyListener(url, cache, slots).run(), name="auth.listen")
    await until(lambda: slots.get("key_listener_up") == 1)
    proxy.freeze()
    await until(lambda: slots.get("key_listener_up") == 0)
    changes = cache.changes
    proxy.thaw()
    await until(lambda: slots.get("key_listener_up") == 1)
    assert cache.changes > changes
    async with contextlib.AsyncExitStack() as stack:
        connection = await asyncpg.connect(database_url)
        stack.push_async_callback(connection.close)
        await connection.execute("SELECT pg_notify('tollway_keys', 'account:1')")
        await until(lambda: cache.changes > changes + 1)


async def test_other_changes_come_over_the_same_connection(
    database_url: str, cache: KeyCache, slots: Slots, tasks: Tasks, pool: Pool
) -> None:
    told: list[str] = []
    others = {"tollway_enforcement": lambda: told.append("switched")}
    tasks.spawn(KeyListener(database_url, cache, slots, others).run(), name="auth.listen")
    await until(lambda: slots.get("key_listener_up") == 1)
    assert told == ["switched"], "what was said before the connect is not known"
    changes = cache.changes
    switch = Switch(Enforcing.SHADOW, reason="incident 7")
    await Switches(pool).set(switch)
    await until(lambda: len(told) == 2)
    assert cache.changes == changes
