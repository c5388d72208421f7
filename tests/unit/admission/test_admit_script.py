"""Calls of one tick in one script call, and what each of them hears of it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence
from typing import Any, cast

import pytest

from gateway.admission.admit_script import CALLS_MAX, AdmitScript, full_names
from gateway.admission.charges import Charges
from gateway.admission.redis_time import RedisTime
from gateway.admission.slot_set import SLOT_MS
from gateway.admission.store import EXACT, Ask, Decision, Status
from gateway.admission.token_bucket import HOLD_MS
from gateway.admission.trust import Trust
from gateway.clock import ManualClock
from gateway.errors import CountersLost, StoreRefused, StoreUnavailable
from gateway.inline import Wait
from gateway.storage.tick_client import TickClient
from tests.unit.admission.plans import at_once, limit, plan, quota

NOW_MS = 1_784_000_000_000
ADMITTED = (1, 0, 1, 19, 0)
KEYED = "tw:{%dl}:b:burst"


class Client:
    """A client whose answers the test gives; script calls as `(keys, arguments but the first)`."""

    timeout_s = 0.1

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[str, ...], tuple[object, ...]]] = []
        self.waits: list[Wait[Any]] = []
        self.flushed = 0

    def script(self, source: str) -> str:
        return source

    def evalsha(self, sha: str, keys: tuple[str, ...], args: tuple[object, ...]) -> Wait[Any]:
        assert sha == "source"
        wait: Wait[Any] = Wait()
        self.asked.append((keys, args[1:]))
        self.waits.append(wait)
        return wait

    def flush(self) -> None:
        self.flushed += 1


def answer(*calls: tuple[int, ...], now_ms: int = NOW_MS) -> bytes:
    numbers = (now_ms, *(number for call in calls for number in call))
    return struct.pack(f"<{len(numbers)}q", *numbers)


def numbers_of(packed: object) -> tuple[float, ...]:
    assert isinstance(packed, bytes)
    return struct.unpack(f"<{len(packed) // 8}d", packed)


class Believer:
    """Asks for a mark and notes whose counters are in doubt."""

    def __init__(self) -> None:
        self.doubted: list[str] = []

    def question(self, tag: str) -> tuple[str, str, int]:
        return f"mark of {tag}", "server", 1

    def believes(self, tag: str) -> bool:
        return tag not in self.doubted

    def doubt(self, tag: str) -> None:
        self.doubted.append(tag)


def made(client: Client, *, trust: Trust | None = None, calls_max: int = CALLS_MAX) -> AdmitScript:
    time = RedisTime(ManualClock(NOW_MS * 1000))
    return AdmitScript(cast("TickClient", client), "source", time, trust, calls_max=calls_max)


BUCKET = Charges(plan(limit()), NOW_MS)


async def asked(
    script: AdmitScript, tags: Sequence[str], charges: Charges = BUCKET, ask: Ask = EXACT
) -> list[Wait[Decision]]:
    waits = [script.decide(tag, charges, ask) for tag in tags]
    await asyncio.sleep(0)
    return waits


async def test_a_tick_is_one_script_call_and_says_once_what_calls_have_in_common() -> None:
    client = Client()
    waits = await asked(made(client), ["1l", "2l", "3l"])
    [(keys, (head, server, *rest))] = client.asked
    assert keys == (KEYED % 1, KEYED % 2, KEYED % 3)
    assert (server, numbers_of(head)) == ("", (NOW_MS, HOLD_MS, SLOT_MS, 0, 1))
    form = struct.pack("<6d", 1, 0, 0, 1, 0, 0) + BUCKET.packed
    assert rest == ["", form, bytes([1, 1, 1])]
    assert client.flushed == 1
    client.waits[0].set(answer(ADMITTED, (0, 0, 0, 0, 90), ADMITTED))
    told = [await wait for wait in waits]
    assert told[0] == Decision(Status.ADMITTED, NOW_MS, 0, (19,), (0,), (), 1)
    assert told[1] == Decision(Status.REFUSED, NOW_MS, 0, (0,), (90,), (), 0)


async def test_each_call_of_its_own_kind_has_its_form() -> None:
    client = Client()
    script = made(client)
    with_slots = Charges(plan(limit(), quota(), at_once(3)), NOW_MS)
    waits = [script.decide("1l", with_slots, Ask(slot=f"w.{number}")) for number in (1, 2)]
    script.decide("1l", BUCKET, Ask("worker", 0, 64, 7, scarce=True))
    await asyncio.sleep(0)
    [(keys, (head, _, *rest))] = client.asked
    assert keys[:3] == full_names("1l", with_slots.keys + with_slots.slot_keys)
    first = struct.pack("<6d", 1, 0, 0, 1, 1, 1) + with_slots.packed
    second = struct.pack("<6d", 0, -64, 7, 1, 0, 0) + BUCKET.packed
    assert numbers_of(head)[-1] == 2
    assert rest == ["", first, *with_slots.marks, "worker", second, bytes([1, 1, 2]), "w.1", "w.2"]
    client.waits[0].set(answer((1, 0, 1, 19, 0, 8, 0, 2), (0, 0, 0, 18, 0, 7, 0, 3), (1, 9, 0, 9, 0)))
    assert await waits[0] == Decision(Status.ADMITTED, NOW_MS, 0, (19, 8), (0, 0), (2,), 1)
    assert await waits[1] == Decision(Status.REFUSED, NOW_MS, 0, (18, 7), (0, 0), (3,), 0)


async def test_no_more_numbers_are_asked_for_than_a_script_can_hand_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.admission.admit_script.NUMBERS_MAX", 11)
    client = Client()
    await asked(made(client), ["1l", "2l", "3l"])
    assert [len(keys) for keys, _ in client.asked] == [2, 1], "11 are those of two calls, and the time"


async def test_so_many_calls_are_decided_at_once_and_no_more() -> None:
    client = Client()
    await asked(made(client), [f"{number}l" for number in range(CALLS_MAX + 2)])
    assert [len(keys) for keys, _ in client.asked] == [CALLS_MAX, 2]
    assert client.flushed == 1, "both leave in one write"


async def test_where_keys_do_not_lie_together_each_call_goes_at_once() -> None:
    client = Client()
    script = made(client, calls_max=1)
    script.decide("1l", BUCKET, EXACT)
    script.decide("2l", BUCKET, EXACT)
    assert [keys for keys, _ in client.asked] == [(KEYED % 1,), (KEYED % 2,)]


async def test_past_the_deadline_all_are_asked_about_once_more() -> None:
    client = Client()
    waits = await asked(made(client), ["1l", "2l"])
    client.waits[0].set(answer(now_ms=NOW_MS + 200))
    first, second = [numbers_of(args[0])[0] for _, args in client.asked]
    assert second == first + 200, "the clock was another one"
    client.waits[1].set(answer(now_ms=NOW_MS + 900))
    for wait in waits:
        with pytest.raises(StoreUnavailable, match="too late"):
            await wait


async def test_the_mark_is_asked_for_only_beside_quotas_and_doubt_is_the_account_s() -> None:
    client, trust = Client(), Believer()
    script = made(client, trust=trust)
    await asked(script, ["1l"])
    waits = await asked(script, ["1l", "2l"], Charges(plan(quota()), NOW_MS))
    (few, first), (many, second) = client.asked
    assert (few, first[1], numbers_of(first[0])[3]) == ((KEYED % 1,), "", 0)
    assert (many[2:], second[1], numbers_of(second[0])[3]) == (("mark of 1l",), "server", 1)
    client.waits[1].set(answer(ADMITTED, (4, 0, 0, 0, 0)))
    assert (await waits[0]).status is Status.ADMITTED
    with pytest.raises(CountersLost):
        await waits[1]
    assert trust.doubted == ["2l"]


async def test_an_error_in_the_place_of_a_call_is_its_own() -> None:
    client = Client()
    waits = await asked(made(client), ["1l", "2l", "3l"])
    client.waits[0].set([answer(ADMITTED, (5, 0, 0, 0, 0), ADMITTED), b"WRONGTYPE of a key"])
    assert [(await waits[at]).status for at in (0, 2)] == [Status.ADMITTED] * 2
    with pytest.raises(StoreRefused, match="WRONGTYPE"):
        await waits[1]


async def test_an_error_that_says_nothing_is_one_all_the_same() -> None:
    client = Client()
    waits = await asked(made(client), ["1l", "2l"])
    client.waits[0].set([answer((5, 0, 0, 0, 0), (5, 0, 0, 0, 0)), b"WRONGTYPE of a key"])
    for wait, said in zip(waits, ("WRONGTYPE", "without a word"), strict=True):
        with pytest.raises(StoreRefused, match=said):
            await wait


async def test_when_nothing_was_decided_each_is_asked_about_alone() -> None:
    client = Client()
    waits = await asked(made(client), ["1l", "2l"])
    client.waits[0].fail(StoreRefused("WRONGTYPE of the first"))
    assert [keys for keys, _ in client.asked[1:]] == [(KEYED % 1,), (KEYED % 2,)]
    client.waits[1].fail(StoreRefused("WRONGTYPE of the first"))
    client.waits[2].set(answer(ADMITTED))
    assert (await waits[1]).status is Status.ADMITTED
    with pytest.raises(StoreRefused):
        await waits[0]
    assert len(client.asked) == 3, "and not again"


@pytest.mark.parametrize(
    "error", [StoreUnavailable("lost the connection"), ZeroDivisionError()], ids=["outage", "defect"]
)
async def test_what_fails_the_script_call_is_heard_by_all(error: Exception) -> None:
    client = Client()
    waits = await asked(made(client), ["1l", "2l"])
    client.waits[0].fail(error)
    for wait in waits:
        with pytest.raises(type(error)):
            await wait
    assert len(client.asked) == 1, "they may have been charged"


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("numbers of one call too few", answer(ADMITTED)),
        ("and of one too many", answer(ADMITTED, ADMITTED, ADMITTED)),
        ("no whole numbers", answer(ADMITTED, ADMITTED)[:-1]),
        ("not even the time", b""),
        ("nothing", None),
        ("a number", 1),
        ("a status", "OK"),
        ("an empty list", []),
        ("a list of numbers", [NOW_MS, 1, 0, 1, 19, 0]),
    ],
)
async def test_an_answer_that_does_not_fit_is_none(case: str, said: object) -> None:
    """Nobody is left waiting, nobody asks again: some may have been charged."""
    client = Client()
    script = made(client)
    waits = await asked(script, ["1l", "2l"])
    client.waits[0].set(said)
    for wait in waits:
        with pytest.raises(StoreUnavailable, match="can not be read"):
            await wait
    assert len(client.asked) == 1, case


async def test_so_many_may_wait_and_then_room_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.admission.admit_script.OUTSTANDING_MAX", 2)
    client = Client()
    script = made(client)
    waits = await asked(script, ["1l", "2l", "3l"])
    with pytest.raises(StoreUnavailable, match="too many calls wait"):
        await waits[2]
    client.waits[0].set([NOW_MS, ADMITTED, ADMITTED])
    assert not (await asked(script, ["4l"]))[0].done
    assert client.asked[1][0] == (KEYED % 4,)
