"""The PROXY preamble, as its specification writes it, and nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.dataplane.proxy_protocol import MOST_V2_BYTES, SIGNATURE, Preamble, PreambleInvalid

BEHIND = b"GET / HTTP/1.1\r\n"


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(body).to_bytes(2, "big") + body


def v4(source: bytes = b"\xc0\x00\x02\x07") -> bytes:
    return source + b"\x0a\x00\x00\x01" + b"\x04\xd2\x01\xbb"


def v6(source: str = "20010db8000000000000000000000007") -> bytes:
    return bytes.fromhex(source) + bytes(16) + b"\x04\xd2\x01\xbb"


def read(data: bytes, *, at_most: int = 10_000) -> tuple[str | None, int]:
    """Whom it names and how many bytes were taken, given so many at a time."""
    preamble = Preamble()
    taken = 0
    while not preamble.is_whole:
        piece = data[taken : taken + min(at_most, len(preamble.room))]
        assert piece, "it wants more than there is"
        preamble.room[: len(piece)] = piece
        taken += len(piece)
        preamble.took(len(piece))
    assert len(preamble.room) == 0
    return preamble.source, taken


GOOD = [
    ("IPv4", b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 443\r\n", "192.0.2.7"),
    ("port 0 and 65535", b"PROXY TCP4 192.0.2.7 10.0.0.1 0 65535\r\n", "192.0.2.7"),
    ("IPv6", b"PROXY TCP6 2001:DB8::7 2001:db8::1 56324 443\r\n", "2001:db8::7"),
    ("IPv4 in IPv6", b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 443\r\n", "192.0.2.7"),
    (
        "the longest",
        b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n",
        "ffff:" * 7 + "ffff",
    ),
    ("unknown", b"PROXY UNKNOWN\r\n", None),
    ("unknown and more", b"PROXY UNKNOWN ffff:: anything \xff at all\r\n", None),
    ("unknown, the longest", b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n", None),
    ("version 2, IPv4", v2(0x21, 0x11, v4()), "192.0.2.7"),
    ("version 2, IPv6", v2(0x21, 0x21, v6()), "2001:db8::7"),
    ("version 2, IPv4 in IPv6", v2(0x21, 0x21, v6("00000000000000000000ffffc0000207")), "192.0.2.7"),
    ("with fields", v2(0x21, 0x11, v4() + b"\x04\x00\x03abc\x20\x00\x01x"), "192.0.2.7"),
    ("with fields that are none", v2(0x21, 0x11, v4() + b"\xff\xff\xff"), "192.0.2.7"),
    ("the longest of version 2", v2(0x21, 0x11, v4() + bytes(MOST_V2_BYTES - 12)), "192.0.2.7"),
    ("local", v2(0x20, 0x00, b""), None),
    ("local with an address", v2(0x20, 0x11, v4()), None),
    ("local with anything", v2(0x20, 0xFF, b"abc"), None),
    ("no address", v2(0x21, 0x00, b""), None),
    ("no address, with fields", v2(0x21, 0x00, b"\x04\x00\x01x"), None),
    ("a unix socket", v2(0x21, 0x31, bytes(216)), None),
]


@pytest.mark.parametrize("at_most", [10_000, 1, 7])
@pytest.mark.parametrize(("case", "data", "source"), GOOD, ids=[one[0] for one in GOOD])
def test_a_preamble_is_read_and_not_a_byte_more(
    case: str, data: bytes, source: str | None, at_most: int
) -> None:
    assert read(data + BEHIND, at_most=at_most) == (source, len(data))


BAD = [
    ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00"),
    ("lower case", b"proxy TCP4 192.0.2.7 10.0.0.1 1 2\r\n"),
    ("no space", b"PROXYTCP4 192.0.2.7 10.0.0.1 1 2\r\n"),
    ("two spaces", b"PROXY TCP4  192.0.2.7 10.0.0.1 1 2\r\n"),
    ("a space at the end", b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 \r\n"),
    ("a tab", b"PROXY TCP4\t192.0.2.7 10.0.0.1 1 2\r\n"),
    ("UDP", b"PROXY UDP4 192.0.2.7 10.0.0.1 1 2\r\n"),
    ("another family", b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n"),
    ("the other family", b"PROXY TCP6 192.0.2.7 10.0.0.1 1 2\r\n"),
    ("both", b"PROXY TCP4 192.0.2.7 2001:db8::1 1 2\r\n"),
    ("leading zeros", b"PROXY TCP4 192.0.2.07 10.0.0.1 1 2\r\n"),
    ("three numbers", b"PROXY TCP4 192.0.2 10.0.0.1 1 2\r\n"),
    ("a zone", b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n"),
    ("a port too high", b"PROXY TCP4 192.0.2.7 10.0.0.1 65536 2\r\n"),
    ("a port with a zero", b"PROXY TCP4 192.0.2.7 10.0.0.1 01 2\r\n"),
    ("a negative port", b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 2\r\n"),
    ("one port", b"PROXY TCP4 192.0.2.7 10.0.0.1 1\r\n"),
    ("three ports", b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2 3\r\n"),
    ("a bare line feed", b"PROXY TCP4 192.0.2.7 10.0.0.1 1 2\nGET / HTTP/1.1\r\n"),
    ("no end", b"PROXY UNKNOWN " + b"x" * 200),
    ("unknown, too long", b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n"),
    ("unknown with a tail", b"PROXY UNKNOWNX\r\n"),
    ("nothing", b"PROXY         \r\n"),
    ("version 2 spoilt", SIGNATURE[:-1] + b"\r" + bytes(20)),
    ("version 1 of version 2", v2(0x11, 0x11, v4())),
    ("version 3", v2(0x31, 0x11, v4())),
    ("another command", v2(0x22, 0x11, v4())),
    ("datagrams", v2(0x21, 0x12, v4())),
    ("no protocol", v2(0x21, 0x10, v4())),
    ("a family of its own", v2(0x21, 0x41, v4())),
    ("too short", v2(0x21, 0x11, v4()[:-1])),
    ("too short for IPv6", v2(0x21, 0x21, v4())),
    ("too short for a unix socket", v2(0x21, 0x31, bytes(215))),
    ("empty", v2(0x21, 0x11, b"")),
    ("too long", v2(0x21, 0x11, v4() + bytes(MOST_V2_BYTES - 11))),
]  # fmt: skip


@pytest.mark.parametrize("at_most", [10_000, 1, 7])
@pytest.mark.parametrize(("case", "data"), BAD, ids=[one[0] for one in BAD])
def test_what_is_none_is_refused_without_a_word_of_it(case: str, data: bytes, at_most: int) -> None:
    with pytest.raises(PreambleInvalid) as raised:
        read(data, at_most=at_most)
    assert "192" not in str(raised.value)


def test_whether_it_has_begun() -> None:
    preamble = Preamble()
    assert not preamble.is_begun
    preamble.room[:1] = b"P"
    preamble.took(1)
    assert preamble.is_begun


_STARTS = some.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11"])


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(_STARTS, some.binary(max_size=300), some.integers(1, 50))
def test_any_bytes_end_the_same_in_any_segments(start: bytes, rest: bytes, at_most: int) -> None:
    """They are a preamble, are none, or may yet become one within the bounds."""

    def end(size: int) -> object:
        try:
            return read(start + rest, at_most=size)
        except PreambleInvalid as invalid:
            return str(invalid)
        except AssertionError:
            return "more"

    assert end(at_most) == end(10_000)
    if end(1) == "more":
        assert len(start + rest) < 16 + MOST_V2_BYTES
