"""What nodes of a cluster say about each other."""

from __future__ import annotations

import pytest

from gateway.storage.topology import Redirect, SlotRange, read_ranges, read_redirect

ASKED = ("10.0.0.1", 7000)


@pytest.mark.parametrize(
    ("case", "host", "place"),
    [
        ("an address", b"10.0.0.2", ("10.0.0.2", 7001)),
        ("a name", b"two.example", ("two.example", 7001)),
        ("IPv6", b"fd00::2", ("fd00::2", 7001)),
        ("none yet: it was never met by another", b"", ("10.0.0.1", 7001)),
        ("none that it tells", None, ("10.0.0.1", 7001)),
    ],
)
def test_ranges_and_their_primaries(case: str, host: bytes | None, place: tuple[str, int]) -> None:
    said = [[0, 99, [host, 7001, b"id"], [b"10.0.0.9", 7009, b"replica"]], [100, 100, [b"10.0.0.3", 7003]]]
    assert read_ranges(said, ASKED) == [
        SlotRange(0, 99, place),
        SlotRange(100, 100, ("10.0.0.3", 7003)),
    ], case


@pytest.mark.parametrize(
    ("said", "redirect"),
    [
        ("MOVED 3999 10.0.0.2:7001", Redirect(("10.0.0.2", 7001), asks=False)),
        ("ASK 3999 10.0.0.2:7001", Redirect(("10.0.0.2", 7001), asks=True)),
        ("MOVED 3999 fd00::2:7001", Redirect(("fd00::2", 7001), asks=False)),
        ("MOVED 3999 :7001", Redirect(("10.0.0.1", 7001), asks=False)),
        ("MOVED 3999 ?:7001", Redirect(("10.0.0.1", 7001), asks=False)),
        ("TRYAGAIN Multiple keys request during rehashing of slot", None),
        ("CLUSTERDOWN Hash slot not served", None),
        ("ERR MOVED", None),
    ],
)
def test_redirects(said: str, redirect: Redirect | None) -> None:
    assert read_redirect(said, ASKED) == redirect
