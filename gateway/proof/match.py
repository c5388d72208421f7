"""Which call each booked row belongs to, so that none is booked twice and none is made up.

The ledger does not know the numbers of calls. Rows go to calls by request ids, which the caller was told,
or the upstream together with the number. Of a call that was cut off before anybody heard of its id there may
be a row all the same (it was refused, or had begun when its worker was killed): such rows go to such calls of
the same key to the same route, one to each. Nobody else uses that key, and its calls follow each other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field

from gateway.proof.books import Row, Sighting
from gateway.proof.calls import Note
from gateway.proof.world import ROUTES


@dataclass(slots=True)
class Matches:
    """What belongs together, and what does not."""

    calls: dict[str, Note] = field(default_factory=dict)  # by the request id of their row
    by_place: int = 0  # rows that went to calls without a known id
    left: int = 0  # calls without a row
    wrong: list[str] = field(default_factory=list)


def match(rows: list[Row], notes: list[Note], sightings: list[Sighting]) -> Matches:
    """Give each row its call."""
    found, taken = Matches(), dict[int, str]()
    known = _known_ids(notes, sightings, found)
    places: defaultdict[tuple[str | None, str], list[Row]] = defaultdict(list)
    for row in rows:
        note = known.get(row.request_id)
        if note is None:
            places[row.key, row.route].append(row)
        elif note.number in taken:
            found.wrong.append(
                f"call {note.number} is booked as {taken[note.number]} and as {row.request_id}"
            )
        else:
            taken[note.number] = row.request_id
            found.calls[row.request_id] = note
    numbers = {note.number for note in known.values()}
    lost = [note for note in notes if note.number not in numbers]
    free = Counter((note.key, note.kind) for note in lost if note.key and note.kind in ROUTES)
    for place, strangers in places.items():
        calls = free.get((place[0] or "", place[1]), 0)
        found.by_place += min(calls, len(strangers))
        found.wrong += [_unknown(row) for row in strangers[calls:]]
        found.wrong += [f"{_unknown(row)} and pays" for row in strangers[:calls] if row.charges]
    found.left = len(notes) - len(taken) - found.by_place
    return found


def _known_ids(notes: list[Note], sightings: list[Sighting], found: Matches) -> dict[str, Note]:
    """Calls by request id. Whoever knows an id of a call knows the same."""
    known = {note.request_id: note for note in notes if note.request_id}
    if len(known) < sum(bool(note.request_id) for note in notes):
        found.wrong.append("callers of different calls were told the same request id")
    numbers = {note.number: note for note in notes}
    for one in sightings:
        note = numbers.get(one.number)
        if note is None:
            found.wrong.append(f"the upstream saw call {one.number}, which nobody made")
            continue
        told = known.setdefault(one.request_id, note)
        if told is not note or note.request_id not in ("", one.request_id):
            found.wrong.append(f"call {one.number} was {one.request_id} to the upstream, not to its caller")
    return known


def _unknown(row: Row) -> str:
    return f"{row.request_id} ({row.route or 'no route'}, {row.outcome}) belongs to no call"
