"""The witness's log: what it says of each request."""

from __future__ import annotations

from pathlib import Path

from gateway.proof.books import Sighting, read_witness
from gateway.proof.witness import Seen, Witness


def test_a_call_that_is_seen_and_never_done_is_there_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"saw":"a","at_us":5,"number":1,"kind":"short"}\n')
    assert read_witness(log) == [Sighting("a", 1, "short", 5)]


def test_a_request_seen_twice_is_there_twice(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text('{"saw":"a","at_us":5,"number":1,"kind":"short"}\n' * 2)
    assert len(read_witness(log)) == 2


def test_what_the_witness_writes_is_what_is_read(tmp_path: Path) -> None:
    witness = Witness(tmp_path / "log")
    seen = Seen("a", 7, "socket")
    witness.saw(seen)
    seen.status, seen.got, seen.sent, seen.messages, seen.whole = 101, 3, 4, [5, 6], True
    witness.did(seen)
    (read,) = read_witness(tmp_path / "log")
    assert read == Sighting("a", 7, "socket", read.at_us, 101, 3, 4, (5, 6), whole=True)
    assert read.at_us > 0
