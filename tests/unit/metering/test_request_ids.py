from __future__ import annotations

from uuid import RFC_4122, UUID

from hypothesis import given
from hypothesis import strategies as st

from gateway.metering.request_ids import RequestIds


@given(st.integers(0, 2**47 * 1000), st.integers(0, 2**48 - 1))
def test_ids_are_version_8_uuids_that_carry_time_and_sequence(now_us: int, sequence: int) -> None:
    ids = RequestIds.make(now_us)
    uuid = UUID(bytes=ids.binary(sequence))
    assert uuid.version == 8
    assert uuid.variant == RFC_4122
    assert ids.text(sequence).decode() == str(uuid)
    assert int.from_bytes(uuid.bytes[:6], "big") == now_us // 1000
    assert uuid.bytes.startswith(ids.prefix)
    assert len(ids.prefix) == 10


def test_workers_of_one_millisecond_get_spaces_of_their_own() -> None:
    assert len({RequestIds.make(0).prefix for _ in range(100)}) > 95


def test_later_workers_sort_later() -> None:
    assert RequestIds.make(1_000_000).prefix < RequestIds.make(2_000_000).prefix
