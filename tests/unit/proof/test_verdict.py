"""The proof would notice: small books in order, and what is said when one thing in them is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from gateway.proof.books import Books, Counter, Row, Sighting
from gateway.proof.calls import Note
from gateway.proof.verdict import Run, judge

SEEN = "requests the upstream saw are booked"
MADE = "each booked call is one that was made"
DUE = "what is due is billed, no more and no less"
DAY_US = 86_400_000_000
ACME, SMALL = "acct_acme", "acct_small"


def key_of(account: str) -> str:
    return account.replace("acct", "key")


def served(key: str, number: int, account: str = ACME) -> tuple[Sighting, Row, Note]:
    """A call that went well, in all three books."""
    return (
        Sighting(key, number, "short", 0, 200, 0, 30, whole=True),
        Row(
            key,
            account,
            "live",
            "plentiful",
            "short",
            "served",
            200,
            0,
            30,
            (0, 0),
            {"api_calls": 1},
            key_of(account),
        ),
        Note(number, "short", account, key_of(account), key, 200, whole=True, got_bytes=30),
    )


def in_order() -> Run:
    """Two served calls, one of them with a quota, one interrupted one and two refused ones, one of nobody."""
    both = [served("a", 1), served("b", 2, SMALL)]
    sightings = [one[0] for one in both] + [Sighting("c", 3, "slow")]
    rows = [one[1] for one in both]
    rows += [
        Row("c", ACME, "live", "plentiful", "slow", "interrupted", 0, 0, 0, (0, 0), {}, key_of(ACME)),
        Row("d", SMALL, "live", "scarce", "short", "quota_exceeded", 429, 0, 90, (0, 0), {}, key_of(SMALL)),
    ]
    notes = [one[2] for one in both] + [Note(3, "slow", ACME, key_of(ACME))]
    notes += [Note(4, "short", SMALL, key_of(SMALL), "d", 429, "quota_exceeded", whole=True, got_bytes=90)]
    notes += [Note(5, "short", SMALL, "", "e", 401, "unauthenticated", whole=True, got_bytes=90)]
    books = Books(
        sightings,
        rows,
        booked={(ACME, "live", "api_calls"): 1, (SMALL, "live", "api_calls"): 1},
        of_nobody={"unauthenticated": 1},
        counters=[Counter(ACME, "live", "api_calls", 2), Counter(SMALL, "live", "api_calls", 1)],
        set_right=[Counter(ACME, "live", "api_calls", 1), Counter(SMALL, "live", "api_calls", 1)],
    )
    return Run(books, notes, {ACME: "plentiful", SMALL: "scarce"}, 10.0, [], 0, [])


def broken(run: Run) -> list[str]:
    return [check.what for check in judge(run) if not check.holds]


def test_books_in_order_hold() -> None:
    assert broken(in_order()) == []


Change = Callable[[Run], Run | None]


def lose_row(run: Run) -> None:
    del run.books.rows[2]


def see_twice(run: Run) -> None:
    run.books.sightings.append(run.books.sightings[0])


def reach_twice(run: Run) -> None:
    run.books.sightings[1] = replace(run.books.sightings[1], number=1)


def bill_something_else(run: Run) -> None:
    run.books.sightings[0] = replace(run.books.sightings[0], kind="paid")
    run.books.rows[0] = replace(run.books.rows[0], route="paid", charges={"api_calls": 1, "work": 9})
    run.notes[0].kind = "paid"


def book_twice(run: Run) -> None:
    run.books.rows.append(run.books.rows[0])


def call_a_failure_served(run: Run) -> None:
    run.books.sightings[0] = replace(run.books.sightings[0], kind="fails", status=500)
    run.books.rows[0] = replace(run.books.rows[0], route="fails")
    run.notes[0].kind = "fails"


def invent(run: Run) -> None:
    run.books.rows.append(replace(run.books.rows[0], request_id="x"))


def bill_a_refusal(run: Run) -> None:
    run.books.rows[3] = replace(run.books.rows[3], charges={"api_calls": 1})


def refuse_too_late(run: Run) -> None:
    run.books.sightings.append(Sighting("d", 4, "short"))


def tell_a_caller_something_else(run: Run) -> None:
    run.notes[0].status = 204


def book_on_another(run: Run) -> None:
    run.books.rows[0] = replace(run.books.rows[0], account=SMALL)


def miss_a_byte(run: Run) -> None:
    run.notes[0].got_bytes = 29


def cross_answers(run: Run) -> None:
    run.notes[0].wrong = "bytes of another answer came"


def differ_in_sums(run: Run) -> None:
    run.books.sums_that_differ.append("hours rows ...")


def end_unexpectedly(run: Run) -> None:
    run.books.rows[3] = replace(run.books.rows[3], outcome="unexpected")


def lose_a_refusal(run: Run) -> None:
    del run.books.of_nobody["unauthenticated"]


def lose_a_refusal_that_was_cut(run: Run) -> None:
    run.notes.append(Note(6, "stream", SMALL, "", "f", 503))


def count_a_refusal_less(run: Run) -> None:
    run.notes.append(replace(run.notes[4], request_id="f"))


def count_a_refusal_twice(run: Run) -> None:
    run.books.of_nobody["unauthenticated"] = 2


def end_unexpectedly_for_nobody(run: Run) -> None:
    run.notes.append(Note(6, "short", SMALL, ""))
    run.books.of_nobody["unexpected"] = 1


def oversell(run: Run) -> None:
    run.books.booked[SMALL, "live", "api_calls"] = 201
    run.books.counters[1] = run.books.set_right[1] = Counter(SMALL, "live", "api_calls", 201)


def oversell_beside_a_counter_of_something_else(run: Run) -> None:
    oversell(run)
    run.books.counters.append(Counter(SMALL, "live", "pages", 0))


def cut_off(run: Run) -> Row:
    """A call of which neither its caller nor the upstream knows the id, and its row."""
    run.notes.append(Note(6, "short", ACME, key_of(ACME)))
    row = replace(run.books.rows[2], request_id="g", route="short")
    run.books.rows.append(row)
    return row


def book_a_cut_call(run: Run) -> None:
    cut_off(run)


def book_a_cut_call_twice(run: Run) -> None:
    run.books.rows.append(replace(cut_off(run), request_id="h"))


def book_a_cut_call_on_another_key(run: Run) -> None:
    run.books.rows.append(replace(cut_off(run), key=key_of(SMALL)))
    del run.books.rows[-2]


def book_a_cut_call_on_another_route(run: Run) -> None:
    run.books.rows.append(replace(cut_off(run), route="slow"))
    del run.books.rows[-2]


def book_a_told_call_under_another_id(run: Run) -> None:
    run.books.rows.append(replace(run.books.rows[3], request_id="h"))


def book_seen_on_another_key(run: Run) -> None:
    run.books.rows[2] = replace(run.books.rows[2], key=key_of(SMALL))


def book_seen_on_another_route(run: Run) -> None:
    run.books.rows[2] = replace(run.books.rows[2], route="short")


def tell_the_caller_another_id(run: Run) -> None:
    run.notes[2].request_id = "x"
    run.notes[2].code = "?"
    run.notes[2].status = 503


def tell_two_callers_one_id(run: Run) -> None:
    run.notes.append(replace(run.notes[0], number=6))


def see_what_nobody_made(run: Run) -> None:
    run.books.sightings[2] = replace(run.books.sightings[2], number=99)


def bill_a_unit_more(run: Run) -> None:
    run.books.rows[0] = replace(run.books.rows[0], charges={"api_calls": 2})


def bill_a_unit_less(run: Run) -> None:
    run.books.rows[0] = replace(run.books.rows[0], charges={})


def bill_an_interrupted_call(run: Run) -> None:
    run.books.rows[2] = replace(run.books.rows[2], charges={"api_calls": 1})


def live_on(run: Run, for_s: float = 5.1) -> None:
    """The worker of the interrupted call took another, long after it was over."""
    journal = "0192f1a2-b3c4-8abc-9def-"
    for number, key in ((0, f"{journal}000000000001"), (2, f"{journal}000000000002")):
        run.books.sightings[number] = replace(run.books.sightings[number], request_id=key)
        run.books.rows[number] = replace(run.books.rows[number], request_id=key)
    run.notes[0].request_id = f"{journal}000000000001"
    run.notes[2].done_s, run.notes[0].began_s = 1.0, 1.0 + for_s


def live_on_for_a_moment(run: Run) -> None:
    live_on(run, 4.9)


def live_on_after_a_whole_answer(run: Run) -> None:
    live_on(run, 0.1)
    run.notes[2].request_id = run.books.rows[2].request_id
    run.notes[2].whole, run.notes[2].status = True, 200


def die_right_after_a_whole_answer(run: Run) -> None:
    live_on(run, -0.1)
    run.notes[2].request_id = run.books.rows[2].request_id
    run.notes[2].whole, run.notes[2].status = True, 200


def begin_minutes_away(run: Run) -> None:
    run.books.rows[0] = replace(run.books.rows[0], started_at_us=-420_000_000)


def begin_two_steps_away(run: Run) -> None:
    run.books.rows[0] = replace(run.books.rows[0], started_at_us=600_000_000)


def begin_a_step_away(run: Run) -> None:
    run.books.rows[0] = replace(run.books.rows[0], started_at_us=300_100_000)


def begin_where_a_day_begins(run: Run) -> None:
    """The worker's clock and Redis's are on two sides of midnight: it counts in the day it was charged in."""
    run.books.sightings[0].at_us = DAY_US - 170_000_000
    run.books.rows[0] = replace(run.books.rows[0], started_at_us=DAY_US)


def begin_where_a_day_ends(run: Run) -> None:
    run.books.sightings[0].at_us = DAY_US + 170_000_000
    run.books.rows[0] = replace(run.books.rows[0], started_at_us=DAY_US - 1)


def begin_at_a_midnight_too_far_away(run: Run) -> None:
    run.books.sightings[0].at_us = DAY_US - 470_000_000
    run.books.rows[0] = replace(run.books.rows[0], started_at_us=DAY_US)


def begin_a_moment_after_midnight(run: Run) -> None:
    run.books.sightings[0].at_us = DAY_US - 170_000_000
    run.books.rows[0] = replace(run.books.rows[0], started_at_us=DAY_US + 1)


def let_too_many_in(run: Run) -> Run:
    return replace(run, accounts={ACME: "limited", SMALL: "scarce"}, seconds=-1.0)


def count_too_little(run: Run) -> None:
    run.books.counters[0] = Counter(ACME, "live", "api_calls", 0)


def leave_a_counter_that_nothing_pays_into(run: Run) -> None:
    run.books.booked[SMALL, "live", "pages"] = 6
    run.books.counters.append(Counter(SMALL, "live", "pages", 3))


def leave_units_charged(run: Run) -> None:
    run.books.set_right[0] = Counter(ACME, "live", "api_calls", 2)


def leave_a_journal(run: Run) -> Run:
    return replace(run, unbooked=["0192f1a2b3c48abc9def"])


def end_badly(run: Run) -> Run:
    return replace(run, exit_status=1)


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (lose_row, [SEEN]),
        (see_twice, [SEEN, "no call reaches the upstream twice"]),
        (reach_twice, [SEEN, "no call reaches the upstream twice", MADE]),
        (book_twice, ["no request is booked twice", MADE]),
        (bill_something_else, [DUE, "units that the upstream reports are billed"]),
        (
            call_a_failure_served,
            ["outcomes fit what the upstream did", "what is billed was done by the upstream"],
        ),
        (
            invent,
            [
                "what is billed was done by the upstream",
                MADE,
                DUE,
            ],
        ),
        (lose_a_refusal, ["refused calls of nobody are counted"]),
        (lose_a_refusal_that_was_cut, ["refused calls of nobody are counted"]),
        (count_a_refusal_less, ["refused calls of nobody are counted"]),
        (count_a_refusal_twice, [MADE]),
        (end_unexpectedly_for_nobody, ["nothing ended unexpectedly"]),
        (
            bill_a_refusal,
            ["what is billed was done by the upstream", DUE],
        ),
        (refuse_too_late, ["outcomes fit what the upstream did", "what was refused never got there"]),
        (tell_a_caller_something_else, ["callers were told what is booked"]),
        (book_on_another, ["callers were told what is booked"]),
        (miss_a_byte, ["bytes and messages of served calls agree"]),
        (cross_answers, ["nobody got what was another's"]),
        (differ_in_sums, ["hours and months are the sums of rows"]),
        (end_unexpectedly, ["callers were told what is booked", "nothing ended unexpectedly"]),
        (oversell, ["quotas are never exceeded"]),
        (oversell_beside_a_counter_of_something_else, ["quotas are never exceeded"]),
        (let_too_many_in, ["the rate limit is never exceeded"]),
        (count_too_little, ["Redis has counted what is billed"]),
        (leave_a_counter_that_nothing_pays_into, []),
        (leave_units_charged, ["reconciled, Redis counts what is billed"]),
        (leave_a_journal, ["all journals are booked"]),
        (end_badly, ["the gateway ended well"]),
        (book_a_cut_call, []),
        (book_a_cut_call_twice, [MADE]),
        (book_a_cut_call_on_another_key, [MADE]),
        (book_a_cut_call_on_another_route, [MADE]),
        (book_a_told_call_under_another_id, [MADE]),
        (book_seen_on_another_key, [SEEN]),
        (book_seen_on_another_route, [SEEN]),
        (tell_the_caller_another_id, ["refused calls of nobody are counted", MADE]),
        (tell_two_callers_one_id, [MADE]),
        (see_what_nobody_made, [SEEN, MADE]),
        (bill_a_unit_more, [DUE]),
        (bill_a_unit_less, [DUE]),
        (bill_an_interrupted_call, [DUE]),
        (live_on, ["interrupted are only calls of workers that died"]),
        (live_on_for_a_moment, []),
        (live_on_after_a_whole_answer, ["interrupted are only calls of workers that died"]),
        (die_right_after_a_whole_answer, []),
        (begin_minutes_away, ["clocks were off by what they were set"]),
        (begin_two_steps_away, ["clocks were off by what they were set"]),
        (begin_a_step_away, []),
        (begin_where_a_day_begins, []),
        (begin_where_a_day_ends, []),
        (begin_at_a_midnight_too_far_away, ["clocks were off by what they were set"]),
        (begin_a_moment_after_midnight, ["clocks were off by what they were set"]),
    ],
)
def test_one_thing_wrong_is_noticed(change: Change, noticed: list[str]) -> None:
    run = in_order()
    assert broken(change(run) or run) == noticed


def test_without_one_served_call_nothing_is_proven() -> None:
    run = replace(in_order(), books=Books(), notes=[])
    assert broken(run) == ["the gateway ended well"]
