"""Redis Cluster's hash slots."""

from __future__ import annotations

import pytest

from gateway.storage.hash_slots import SLOTS, slot_of, tags


@pytest.mark.parametrize(
    ("case", "key", "slot"),
    [
        ("the specification's own example", "123456789", 0x31C3),
        ("a plain key", "foo", 12182),
        ("a tag counts alone", "{foo}.bar", 12182),
        ("wherever it stands", "tw:{foo}:q", 12182),
        ("the first one only", "{foo}{bar}", 12182),
        ("empty braces are no tag", "foo{}{bar}", 8363),
        ("nor is an open one", "foo{bar", slot_of("{foo{bar}")),
    ],
)
def test_the_slot_of_a_key(case: str, key: str, slot: int) -> None:
    assert slot_of(key) == slot, case


def test_every_slot_has_a_tag() -> None:
    assert [slot_of(f"tw:x:{{{tag}}}") for tag in tags()] == list(range(SLOTS))
