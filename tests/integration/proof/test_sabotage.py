"""The proof is put to the proof: metering is sabotaged in one place, and the books show it.

No gateway runs here. What callers and the upstream know of a few calls is written down by hand, the rest is
the real thing: journals, recorder, entries, counters, ledger, and the verdict on all of it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from gateway.accounts.store import Accounts
from gateway.admission.counters import QuotaCounters, QuotaPeriod
from gateway.admission.period import period_at
from gateway.admission.trust import MARK
from gateway.journal.records import Call, encode_begin, encode_call, encode_end, encode_whole
from gateway.journal.writer import JournalWriter
from gateway.ledger import booking, entries
from gateway.ledger import recorder as recorder_module
from gateway.ledger.aggregates import Tally, monthly_totals
from gateway.ledger.entries import Entries, Kind, NewEntry, Rules
from gateway.ledger.progress import Batch, Progress
from gateway.ledger.rows import copy_of
from gateway.model.periods import Period
from gateway.model.principal import Mode
from gateway.outcomes import Outcome
from gateway.policy.load import load_folder
from gateway.proof.books import read_books
from gateway.proof.calls import Note
from gateway.proof.verdict import Run, judge
from gateway.proof.witness import Seen, Witness
from gateway.proof.world import due, policies, wanted
from gateway.storage.postgres import Pool, connect_pool, transaction
from tests.integration.ledger.books import Books

KINDS = ("short", "paid", "upload", "short", "paid")
CALLS = 30
PER = {"api_calls": Period.MONTH, "work": Period.MONTH, "pages": Period.DAY}


class World:
    """A gateway's data without the gateway: callers' notes, the upstream's log, journals, counters."""

    def __init__(self, pool: Pool, client: redis.asyncio.Redis, urls: tuple[str, str], folder: Path) -> None:
        self.urls = urls
        self.pool, self.redis, self.folder = pool, client, folder
        self.books = Books(pool, folder / "journals")
        self.counters = QuotaCounters(client)
        self.witness = Witness(folder / "log")
        self.notes: list[Note] = []
        self.units: dict[str, int] = {}
        self.now = datetime.now(UTC)

    async def open(self) -> None:
        (self.folder / "policies").mkdir()
        (self.folder / "policies" / "proof.yaml").write_text(policies(9))
        self.policies = load_folder(self.folder / "policies").policies
        accounts = Accounts(self.pool, "tw")
        self.account = await accounts.create_account("Acme", "plentiful")
        self.key, _ = await accounts.create_key(self.account.public_id)
        await self.redis.set(MARK, "whatever it is called")

    @property
    def now_us(self) -> int:
        return int(self.now.timestamp() * 1_000_000)

    async def run(self) -> list[str]:
        """Calls, their journals booked, a correction, and what the proof finds wrong."""
        writer = self.books.writer(1, segment_bytes=1 << 16)
        for number in range(1, CALLS + 1):
            self._served(writer, number, KINDS[number % len(KINDS)])
        self._refused(writer, CALLS + 1)
        self._cut(writer, CALLS + 2)
        writer.close()
        await self.books.book_all()
        await self._correct()
        await self._count()
        books = await read_books(self.folder / "log", *self.urls, self.policies)
        left = self.books.left
        run = Run(books, self.notes, {self.account.public_id: "plentiful"}, 10.0, left, 0, [])
        return [check.what for check in judge(run) if not check.holds]

    def _call(self, kind: str, number: int) -> bytes:
        charges = due(number, kind)
        call = Call(self.account.id, self.key.id, Mode.LIVE, "plentiful", kind, "GET", charges)
        return encode_call(call)

    def _note(self, number: int, kind: str, writer: JournalWriter) -> Note:
        raw = (writer.folder.name + f"{number:012x}").lower()
        note = Note(number, kind, self.account.public_id, self.key.public_id)
        note.request_id = "-".join((raw[:8], raw[8:12], raw[12:16], raw[16:20], raw[20:]))
        note.began_s, note.done_s = float(number), number + 0.5
        self.notes.append(note)
        return note

    def _served(self, writer: JournalWriter, number: int, kind: str) -> None:
        note, body = self._note(number, kind, writer), wanted(number, kind)
        writer.begin(encode_begin(number, self.now_us, self._call(kind, number)))
        seen = Seen(note.request_id, number, kind)
        self.witness.saw(seen)
        seen.status, seen.sent, seen.whole = 200, len(body), True
        self.witness.did(seen)
        note.status, note.whole, note.got_bytes = 200, True, len(body)
        writer.end(encode_end(number, (Outcome.SERVED, 1, 200, 0, len(body), 1500, 900)))
        for meter, units in due(number, kind).items():
            self.units[meter] = self.units.get(meter, 0) + units

    def _refused(self, writer: JournalWriter, number: int) -> None:
        note = self._note(number, "short", writer)
        note.status, note.code, note.whole = 429, "rate_limited", True
        figures = (Outcome.RATE_LIMITED, 0, 429, 0, 90, 300, 250)
        writer.whole(encode_whole(number, self.now_us, self._call("short", number), figures))

    def _cut(self, writer: JournalWriter, number: int) -> None:
        """Its worker died within it; nobody knows its id but the ledger."""
        note = self._note(number, "short", writer)
        note.request_id = ""
        writer.begin(encode_begin(number, self.now_us, self._call("short", number)))

    async def _correct(self) -> None:
        rules = Rules(
            frozenset(PER),
            self.now + timedelta(minutes=1),
            timedelta(days=35),
            lambda _, at: (at - timedelta(days=40), at + timedelta(days=40)),
        )
        async with transaction(self.pool) as connection:
            entry = NewEntry(
                id="c1",
                account=self.account.public_id,
                meter="pages",
                quantity=-2,
                at=self.now,
                reason="test",
            )
            await Entries(connection).book([entry], Kind.CORRECTION, rules)
        self.units["pages"] -= 2

    async def _count(self) -> None:
        spans = {meter: period_at(per, self.now_us) for meter, per in PER.items()}
        units = {
            QuotaPeriod(self.account.id, Mode.LIVE, meter, PER[meter], spans[meter]): units
            for meter, units in self.units.items()
        }
        await self.counters.add(units, self.now_us)


@pytest.fixture
async def world(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[World]:
    pool = await connect_pool(database_url)
    client = redis.asyncio.Redis.from_url(redis_url)
    world = World(pool, client, (database_url, redis_url), tmp_path)
    await world.open()
    yield world
    await client.aclose()
    await pool.close()


SEEN = "requests the upstream saw are booked"
TOLD = "callers were told what is booked"
MADE = "each booked call is one that was made"
DUE = "what is due is billed, no more and no less"
SUMS = "hours and months are the sums of rows"
COVERED = "Redis has counted what is billed"
RIGHT = "reconciled, Redis counts what is billed"
CUT = "interrupted are only calls of workers that died"

Sabotage = Callable[[pytest.MonkeyPatch, World], None]


async def test_without_sabotage_all_agrees(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_EVENTS", 7)
    assert await world.run() == []


def in_one_batch(change: Callable[[list[Any]], None]) -> Sabotage:
    """Something happens to the events of the second batch."""

    def sabotage(patch: pytest.MonkeyPatch, _: World) -> None:
        real, batches = Progress.read, []

        def read(self: Progress, limit: int) -> Batch:
            batch = real(self, limit)
            batches.append(batch)
            if len(batches) == 2:
                change(batch.events)
            return batch

        patch.setattr(Progress, "read", read)

    return sabotage


def skip_an_event(events: list[Any]) -> None:
    del events[3]


def double_under_other_ids(events: list[Any]) -> None:
    events += [one._replace(begin=one.begin._replace(sequence=one.begin.sequence + 1000)) for one in events]


def bill_a_unit_more(events: list[Any]) -> None:
    events[3] = events[3]._replace(charges={**events[3].charges, "api_calls": 2})


def skip_a_row(patch: pytest.MonkeyPatch, _: World) -> None:
    """The sums have it."""
    patch.setattr(booking, "copy_of", lambda events: copy_of(events[1:]))


def double_a_batch_in_the_sums(patch: pytest.MonkeyPatch, _: World) -> None:
    real, tallied = Tally.hours, []

    def hours(self: Tally) -> Any:
        tallied.append(self)
        rows = real(self)
        return [(*row[:7], 2 * row[7], 2 * row[8]) for row in rows] if len(tallied) == 2 else rows

    patch.setattr(Tally, "hours", hours)


def forget_a_month(patch: pytest.MonkeyPatch, _: World) -> None:
    patch.setattr(booking, "monthly_totals", lambda hours: monthly_totals(hours)[1:] or monthly_totals(hours))


def miss_the_correction(patch: pytest.MonkeyPatch, _: World) -> None:
    async def nothing(*_: object) -> None:
        return None

    patch.setattr(entries, "add_totals", nothing)


def count_one_less(_: pytest.MonkeyPatch, world: World) -> None:
    world.units["work"] = -1


def count_one_more_for_good(patch: pytest.MonkeyPatch, world: World) -> None:
    async def nothing(*_: object, **__: object) -> bool:
        return False

    world.units["work"] = 1
    patch.setattr(QuotaCounters, "set_right", nothing)


def drop_an_end(patch: pytest.MonkeyPatch, _: World) -> None:
    real, ends = JournalWriter.end, []

    def end(self: JournalWriter, body: bytes) -> bool:
        ends.append(body)
        return True if len(ends) == 9 else real(self, body)

    patch.setattr(JournalWriter, "end", end)


def drop_a_begin(patch: pytest.MonkeyPatch, _: World) -> None:
    real, begins = JournalWriter.begin, []

    def begin(self: JournalWriter, body: bytes) -> None:
        begins.append(body)
        if len(begins) != 9:
            real(self, body)

    patch.setattr(JournalWriter, "begin", begin)


def drop_the_refusal(patch: pytest.MonkeyPatch, _: World) -> None:
    patch.setattr(JournalWriter, "whole", lambda *_: True)


@pytest.mark.parametrize(
    ("sabotage", "noticed"),
    [
        (in_one_batch(skip_an_event), {SEEN, TOLD}),
        (in_one_batch(double_under_other_ids), {MADE}),
        (in_one_batch(bill_a_unit_more), {DUE}),
        (skip_a_row, {SEEN, TOLD, SUMS}),
        (double_a_batch_in_the_sums, {SUMS}),
        (forget_a_month, {SUMS}),
        (miss_the_correction, {SUMS}),
        (count_one_less, {COVERED}),
        (count_one_more_for_good, {RIGHT}),
        (drop_an_end, {CUT}),
        (drop_a_begin, {SEEN, TOLD}),
        (drop_the_refusal, {"refused calls of nobody are counted"}),
    ],
)
async def test_sabotage_is_noticed(
    world: World, monkeypatch: pytest.MonkeyPatch, sabotage: Sabotage, noticed: set[str]
) -> None:
    monkeypatch.setattr(recorder_module, "BATCH_EVENTS", 7)
    with monkeypatch.context() as patch:
        sabotage(patch, world)
        found = await world.run()
    assert noticed <= set(found)
