"""Counters under names that only the policies know."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.telemetry.catalogue import NAMES_MAX
from gateway.telemetry.names import Names, names_of, read_names
from gateway.telemetry.slots import Slots

METRIC = "shadow_refusals_total"


def test_a_name_keeps_its_place_in_the_next_process_of_that_name(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.slots"
    first = Slots.open(path)
    places = {name: first.named(METRIC, name) for name in ("burst", "daily", "burst")}
    first.cells[places["daily"]] += 2
    again = Slots.open(path)
    assert {name: again.named(METRIC, name) for name in ("daily", "burst")} == places
    assert again.cells[places["daily"]] == 2


def test_places_are_bounded() -> None:
    names = Names(None)
    places = [names.place(METRIC, f"limit-{number}") for number in range(NAMES_MAX + 2)]
    assert places[-3:] == [str(NAMES_MAX - 1), "other", "other"]
    assert names.place(METRIC, "limit-0") == "0"


def test_another_layout_forgets_the_names(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.slots"
    Slots.open(path).named(METRIC, "burst")
    path.write_bytes(b"of an older release")
    Slots.open(path)
    assert read_names(names_of(path)) == {}


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff"])
def test_a_file_that_can_not_be_read_holds_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "worker-1.names"
    path.write_bytes(content.encode("latin-1"))
    assert read_names(path) == {}


def test_a_folder_that_can_not_be_written_refuses_nobody(tmp_path: Path) -> None:
    names = Names(tmp_path / "gone" / "worker-1.names")
    assert [names.place(METRIC, name) for name in ("a", "b", "a")] == ["0", "1", "0"]
