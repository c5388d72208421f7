"""Compares the books of a proof. Each check says what must hold, what was found, and what breaks it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import GatewayError
from gateway.model.usage import billable
from gateway.outcomes import Outcome
from gateway.proof.books import Books, Row, Sighting
from gateway.proof.books import Counter as QuotaCounter
from gateway.proof.calls import Note
from gateway.proof.faults import STEP_S
from gateway.proof.match import match
from gateway.proof.world import COUNTED, LIMITED_BURST, LIMITED_PER_S, QUOTAS, due, work

EXAMPLES = 5
DAY_US = 86_400_000_000
Units = tuple[str, str, str]  # of account, mode and meter
JOURNAL_DIGITS = 24
"""Of a request id as text: the ten bytes that name the journal, and four hyphens."""
NOTICED_WITHIN_S = 5.0
"""That a caller has left, or both ends of a tunnel."""
OF_THE_UPSTREAM = {"served", "client_aborted", "upstream_error", "upstream_aborted", "interrupted"}
"""How a call that the upstream saw may have ended in a proof."""
PLAUSIBLE = {
    "fails": {"upstream_error", "client_aborted", "interrupted"},
    "breaks": {"upstream_aborted", "client_aborted", "interrupted"},
}
"""By kind; any other ends as follows."""
WELL = {"served", "client_aborted", "interrupted"}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the verdict. `wrong` has an example of each thing that is not as it should be."""

    what: str
    expected: str
    found: str
    wrong: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.wrong


@dataclass(frozen=True, slots=True)
class Run:
    """What there is to know of a proof's run beyond its books."""

    books: Books
    notes: list[Note]
    accounts: dict[str, str]  # public id -> tier
    seconds: float
    unbooked: list[str]  # journals that are left
    exit_status: int
    tracebacks: list[str]


def judge(run: Run) -> list[Check]:
    """Every check."""
    compared = _Compared(run)
    return [
        compared.seen_is_booked(),
        compared.seen_once(),
        compared.booked_once(),
        compared.outcomes_of_seen(),
        compared.nothing_invented(),
        compared.refused_never_seen(),
        compared.callers_agree(),
        compared.nobody_is_counted(),
        compared.booked_was_made(),
        compared.what_is_due_is_billed(),
        compared.figures_agree(),
        compared.reported_is_billed(),
        compared.answers_are_the_callers_own(),
        compared.sums_agree(),
        compared.interrupted_were_cut(),
        compared.clocks_are_off(),
        compared.nothing_unexpected(),
        compared.quotas_hold(),
        compared.rates_hold(),
        compared.counters_cover_the_ledger(),
        compared.counters_are_set_right(),
        compared.all_is_booked(),
        compared.ended_well(),
    ]


class _Compared:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._rows = {row.request_id: row for row in run.books.rows}
        self._seen = {one.request_id: one for one in run.books.sightings}
        self._codes = _outcomes_by_code()
        self._matches = match(run.books.rows, run.notes, run.books.sightings)

    def seen_is_booked(self) -> Check:
        """As multisets of id, route and key: what of the upstream's log is not in the ledger."""
        notes = {note.number: note for note in self._run.notes}
        seen = Counter(
            (one.request_id, one.kind, notes[one.number].key if one.number in notes else "?")
            for one in self._run.books.sightings
        )
        booked = Counter((row.request_id, row.route, row.key or "") for row in self._run.books.rows)
        missing = seen - booked
        wrong = [f"{request_id} to {route} by {key}" for request_id, route, key in missing.elements()]
        found = seen.total() - missing.total()
        return Check("requests the upstream saw are booked", _n(seen.total()), _n(found), wrong)

    def seen_once(self) -> Check:
        sightings = self._run.books.sightings
        twice = _repeated(one.request_id for one in sightings) + _repeated(one.number for one in sightings)
        return Check("no call reaches the upstream twice", "0", _n(len(twice)), twice)

    def booked_once(self) -> Check:
        twice = _repeated(row.request_id for row in self._run.books.rows)
        return Check("no request is booked twice", "0", _n(len(twice)), twice)

    def outcomes_of_seen(self) -> Check:
        wrong = []
        for key, one in self._seen.items():
            row = self._rows.get(key)
            if row is not None and row.outcome not in PLAUSIBLE.get(one.kind, WELL):
                wrong.append(f"{_seen(one)} is booked as {row.outcome} {row.status}")
        what = "outcomes fit what the upstream did"
        return Check(what, _n(len(self._seen)), _n(len(self._seen) - len(wrong)), wrong)

    def nothing_invented(self) -> Check:
        claimed = [row for row in self._rows.values() if row.outcome == "served" or row.charges]
        wrong = []
        for row in claimed:
            seen = self._seen.get(row.request_id)
            if seen is None:
                wrong.append(f"{_row(row)} never reached the upstream")
            elif row.outcome == "served" and seen.status not in (row.status, 0):
                wrong.append(f"{_row(row)}: the upstream answered {seen.status}")
        what = "what is billed was done by the upstream"
        return Check(what, _n(len(claimed)), _n(len(claimed) - len(wrong)), wrong)

    def refused_never_seen(self) -> Check:
        refused = [row for row in self._rows.values() if row.outcome not in OF_THE_UPSTREAM]
        wrong = [_row(row) for row in refused if row.request_id in self._seen]
        return Check(
            "what was refused never got there", _n(len(refused)), _n(len(refused) - len(wrong)), wrong
        )

    def callers_agree(self) -> Check:
        told = [note for note in self._run.notes if note.request_id]
        wrong = [text for note in told if (text := self._disagrees(note))]
        return Check("callers were told what is booked", _n(len(told)), _n(len(told) - len(wrong)), wrong)

    def _disagrees(self, note: Note) -> str:
        row = self._rows.get(note.request_id)
        if row is None:
            # A refusal of nobody is in the sums alone: `nobody_is_counted` looks there.
            return "" if _is_refusal(note) else f"{_note(note)} is not booked"
        if not note.whole:
            return ""
        if note.code:
            outcomes = {self._codes.get(note.code, "?")}
        else:
            outcomes = {"served" if note.status < 500 else "upstream_error", "interrupted"}
        # Killed between the last byte and the end of its record, a call that was answered is `interrupted`.
        status_fits = row.status == note.status or row.outcome == "interrupted"
        whose_fits = row.account in (note.account, None)
        if row.outcome in outcomes and status_fits and whose_fits:
            return ""
        return f"{_note(note)} is booked as {row.outcome} {row.status} of {row.account}"

    def nobody_is_counted(self) -> Check:
        """Refusals that callers were told and that have no row: at least as many are in the sums."""
        refused = [
            note for note in self._run.notes if _is_refusal(note) and note.request_id not in self._rows
        ]
        told = Counter(self._codes.get(note.code, "?") for note in refused if note.whole)
        counted, total = self._run.books.of_nobody, sum(self._run.books.of_nobody.values())
        wrong = [
            f"{times} callers were told {outcome}, {counted.get(outcome, 0)} are counted"
            for outcome, times in told.items()
            if times > counted.get(outcome, 0)
        ]
        if len(refused) > total:
            wrong.append(f"{len(refused)} callers were refused, {total} are counted")
        return Check("refused calls of nobody are counted", f">= {_n(len(refused))}", _n(total), wrong)

    def booked_was_made(self) -> Check:
        """Each row, and each call that is in the sums alone, is a call of its own."""
        matched, of_nobody = self._matches, sum(self._run.books.of_nobody.values())
        wrong = list(matched.wrong)
        if of_nobody > matched.left:
            wrong.append(f"{of_nobody} calls of nobody are counted, {matched.left} have no row")
        booked = len(self._run.books.rows) + of_nobody
        found = f"{_n(len(matched.calls))} by id, {_n(matched.by_place)} by key, {_n(of_nobody)} of nobody"
        return Check("each booked call is one that was made", _n(booked), found, wrong)

    def what_is_due_is_billed(self) -> Check:
        """All units of each row are those of its route, if it is one that pays; none otherwise."""
        wrong = []
        for row in self._rows.values():
            note = self._matches.calls.get(row.request_id)
            pays = billable(Outcome[row.outcome.upper()], row.status)
            expected = due(note.number, row.route) if pays and note else {}
            if row.charges != expected:
                wrong.append(f"{_row(row)}: {row.charges} is billed, {expected} is due")
        what = "what is due is billed, no more and no less"
        return Check(what, _n(len(self._rows)), _n(len(self._rows) - len(wrong)), wrong)

    def interrupted_were_cut(self) -> Check:
        """A worker that took a call after another was over for its caller has seen the end of that other."""
        last_s: dict[str, float] = {}
        for key, one in self._matches.calls.items():
            journal = key[:JOURNAL_DIGITS]
            last_s[journal] = max(one.began_s, last_s.get(journal, 0.0))
        cut = [
            (row, note)
            for row in self._rows.values()
            if row.outcome == "interrupted" and (note := self._matches.calls.get(row.request_id))
        ]
        wrong = []
        for row, note in cut:
            lived_s = last_s[row.request_id[:JOURNAL_DIGITS]] - note.done_s
            if lived_s > (0.0 if note.whole and row.route != "socket" else NOTICED_WITHIN_S):
                wrong.append(f"{_row(row)}: its worker lived for {lived_s:.1f} s after it was over")
        what = "interrupted are only calls of workers that died"
        return Check(what, _n(len(cut)), _n(len(cut) - len(wrong)), wrong)

    def clocks_are_off(self) -> Check:
        """Rows carry their worker's clock, the upstream's log the machine's: steps show as whole steps.

        A row is as close as it can be where that clock and Redis's are on two sides of midnight, because it
        counts in the day it was charged in.
        """
        seen: Counter[int] = Counter()
        wrong = []
        for key, one in self._seen.items():
            row = self._rows.get(key)
            if row is not None:
                off_s = (row.started_at_us - one.at_us) / 1_000_000
                step_s = round(off_s / STEP_S) * STEP_S
                seen[step_s] += 1
                if row.started_at_us % DAY_US in (0, DAY_US - 1) and abs(off_s) <= STEP_S * 4 / 3:
                    continue
                if abs(step_s) > STEP_S or abs(off_s - step_s) > STEP_S / 3:
                    wrong.append(f"{_row(row)} began {off_s:+.0f} s from when the upstream saw it")
        found = ", ".join(f"{step:+} s: {_n(times)}" for step, times in sorted(seen.items()))
        return Check("clocks were off by what they were set", f"0 or {STEP_S} s", found, wrong)

    def figures_agree(self) -> Check:
        served = [
            row for row in self._rows.values() if row.outcome == "served" and row.request_id in self._seen
        ]
        notes = {note.request_id: note for note in self._run.notes if note.whole}
        wrong = []
        for row in served:
            seen, note = self._seen[row.request_id], notes.get(row.request_id)
            if row.route == "socket":
                booked, theirs = (0, 0, *row.messages), (0, 0, *seen.messages)
                callers = (0, 0, note.messages, note.messages) if note else theirs
            else:
                booked = (row.ingress_bytes, row.egress_bytes, 0, 0)
                theirs = (seen.got, seen.sent, 0, 0)
                callers = (note.sent_bytes, note.got_bytes, 0, 0) if note else theirs
            if not booked == theirs == callers:
                wrong.append(f"{_row(row)}: booked {booked}, upstream {theirs}, caller {callers}")
        what = "bytes and messages of served calls agree"
        return Check(what, _n(len(served)), _n(len(served) - len(wrong)), wrong)

    def reported_is_billed(self) -> Check:
        """What the upstream says in a header; nothing where a call is not billed."""
        paid = [one for key, one in self._seen.items() if one.kind == "paid" and key in self._rows]
        wrong = []
        for one in paid:
            row = self._rows[one.request_id]
            due, billed = work(one.number), row.charges.get("work", 0)
            if billed != due and (billed or row.outcome == "served"):
                wrong.append(f"{_row(row)}: {billed} are billed, the upstream said {due}")
        what = "units that the upstream reports are billed"
        return Check(what, _n(len(paid)), _n(len(paid) - len(wrong)), wrong)

    def answers_are_the_callers_own(self) -> Check:
        wrong = [f"{_note(note)}: {note.wrong}" for note in self._run.notes if note.wrong]
        return Check("nobody got what was another's", "0", _n(len(wrong)), wrong)

    def sums_agree(self) -> Check:
        wrong = self._run.books.sums_that_differ
        return Check("hours and months are the sums of rows", "0 differ", f"{len(wrong)} differ", wrong)

    def nothing_unexpected(self) -> Check:
        wrong = [_row(row) for row in self._rows.values() if row.outcome == "unexpected"]
        if of_nobody := self._run.books.of_nobody.get("unexpected"):
            wrong.append(f"{of_nobody} calls of nobody")
        return Check("nothing ended unexpectedly", "0", _n(len(wrong)), wrong)

    def quotas_hold(self) -> Check:
        wrong, found, most = [], [], []
        for account, tier in self._run.accounts.items():
            if tier in QUOTAS:
                calls = account, "live", "api_calls"
                counters = [(one.account, one.mode, one.meter) for one in self._run.books.counters]
                periods = counters.count(calls) or 1
                units = self._run.books.booked.get(calls, 0)
                found.append(_n(units))
                allowed = QUOTAS[tier] * periods
                most.append(_n(allowed))
                if units > allowed:
                    wrong.append(f"{tier}: {units} units were sold, {units - allowed} too many")
        return Check("quotas are never exceeded", "<= " + ", ".join(most), ", ".join(found), wrong)

    def rates_hold(self) -> Check:
        limited = {account for account, tier in self._run.accounts.items() if tier == "limited"}
        admitted = sum(self._rows[key].account in limited for key in self._seen if key in self._rows)
        most = LIMITED_BURST + int(LIMITED_PER_S * self._run.seconds) + 1
        wrong = [f"{admitted - most} too many"] if admitted > most else []
        return Check("the rate limit is never exceeded", f"<= {_n(most)}", _n(admitted), wrong)

    def counters_cover_the_ledger(self) -> Check:
        """While Redis is gone these policies refuse, so whatever is billed was counted before.

        What a tier does not count may be there all the same: raised at a start to what the ledger had.
        """
        counted = {
            (account, mode, meter): units
            for (account, mode, meter), units in _sums(self._run.books.counters).items()
            if meter in COUNTED.get(self._run.accounts.get(account, ""), {meter})
        }
        booked = {key: self._run.books.booked.get(key, 0) for key in counted}
        wrong = [_apart(key, booked, counted) for key in booked if booked[key] > counted[key]]
        what = "Redis has counted what is billed"
        return Check(what, f">= {_n(sum(booked.values()))}", _n(sum(counted.values())), wrong)

    def counters_are_set_right(self) -> Check:
        """Killed workers leave units charged that are never billed. Compared with the ledger, they go."""
        counted = _sums(self._run.books.set_right)
        booked = {key: self._run.books.booked.get(key, 0) for key in counted}
        wrong = [_apart(key, booked, counted) for key in booked if booked[key] != counted[key]]
        what = "reconciled, Redis counts what is billed"
        return Check(what, _n(sum(booked.values())), _n(sum(counted.values())), wrong)

    def all_is_booked(self) -> Check:
        left = self._run.unbooked
        return Check("all journals are booked", "0 left", f"{len(left)} left", left)

    def ended_well(self) -> Check:
        wrong = list(self._run.tracebacks)
        if self._run.exit_status:
            wrong.append(f"the gateway ended with status {self._run.exit_status}")
        served = sum(row.outcome == "served" for row in self._rows.values())
        if not served:
            wrong.append("not one call was served: nothing is proven")
        found = f"status {self._run.exit_status}, {len(self._run.tracebacks)} tracebacks"
        return Check("the gateway ended well", "status 0, 0 tracebacks", found, wrong)


def _sums(counters: list[QuotaCounter]) -> dict[Units, int]:
    """Units over all periods."""
    sums: dict[Units, int] = defaultdict(int)
    for one in counters:
        sums[one.account, one.mode, one.meter] += one.units
    return sums


def _apart(key: Units, booked: dict[Units, int], counted: dict[Units, int]) -> str:
    return f"{key}: {booked[key]} billed, {counted[key]} counted"


def _outcomes_by_code() -> dict[str, str]:
    errors = [GatewayError]
    for error in errors:
        errors += error.__subclasses__()
    return {error.code: error.outcome.label for error in errors}


def _is_refusal(note: Note) -> bool:
    """Whether its caller was told a refusal; of one that did not come whole, the code is not known."""
    return note.status >= 400 and bool(note.request_id) and (bool(note.code) or not note.whole)


def _repeated(values: Iterable[object]) -> list[str]:
    return [f"{value} {times} times" for value, times in Counter(values).items() if times > 1]


def _n(number: int) -> str:
    return f"{number:,}"


def _seen(one: Sighting) -> str:
    return f"call {one.number} ({one.kind}, {one.request_id})"


def _row(row: Row) -> str:
    return f"{row.request_id} ({row.route or 'no route'}, {row.outcome} {row.status})"


def _note(note: Note) -> str:
    told = f"{note.status} {note.code}".strip()
    return f"call {note.number} ({note.kind}, {note.request_id}), answered {told}"
