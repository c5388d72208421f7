"""Who calls, of all that proxies and callers say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from gateway.dataplane.caller import NOBODY, Caller, Trust, TrustedHeader
from gateway.model.exchange import RequestHead
from gateway.model.networks import Networks, parse_network

PEER = "10.0.0.1"
PROXIES = Networks(map(parse_network, ("10.0.0.0/8", "2001:db8:1::/48")))
BY_LIST = Trust(PROXIES)
BY_FORWARDED = Trust(PROXIES, TrustedHeader.FORWARDED)


def heard(trust: Trust, *lines: bytes, host: bytes = b"own.example", peer: str = PEER) -> Caller:
    head = RequestHead()
    head.authority = host
    pairs = (line.partition(b": ") for line in lines)
    head.said = tuple((name.lower(), value) for name, _, value in pairs)
    caller = Caller(peer, b"http", trust)
    caller.hear(head)
    return caller


def told(caller: Caller) -> dict[str, str]:
    lines = caller.lines.decode().split("\r\n")
    assert lines.pop() == ""
    pairs = [line.partition(": ") for line in lines]
    assert len(pairs) == len({name for name, _, _ in pairs})
    return {name: value for name, _, value in pairs}


LISTS = [
    ("nothing", (), "10.0.0.1", "10.0.0.1"),
    ("one", ("192.0.2.7",), "192.0.2.7", "192.0.2.7, 10.0.0.1"),
    ("another proxy between", ("192.0.2.7, 10.0.0.2",), "192.0.2.7", "192.0.2.7, 10.0.0.2, 10.0.0.1"),
    ("what the caller claims", ("1.1.1.1, 192.0.2.7",), "192.0.2.7", "192.0.2.7, 10.0.0.1"),
    ("it claims to be a proxy", ("10.0.0.9, 192.0.2.7",), "192.0.2.7", "192.0.2.7, 10.0.0.1"),
    ("it claims nonsense", ("<script>, 192.0.2.7",), "192.0.2.7", "192.0.2.7, 10.0.0.1"),
    ("all are proxies", ("10.9.9.9, 10.0.0.2",), "10.9.9.9", "10.9.9.9, 10.0.0.2, 10.0.0.1"),
    (
        "lines are one list",
        ("1.1.1.1", "192.0.2.7", "10.0.0.2"),
        "192.0.2.7",
        "192.0.2.7, 10.0.0.2, 10.0.0.1",
    ),
    ("IPv6", ("2001:DB8::7",), "2001:db8::7", "2001:db8::7, 10.0.0.1"),
    ("IPv6 with a port", ("[2001:db8::7]:1234",), "2001:db8::7", "2001:db8::7, 10.0.0.1"),
    ("IPv4 with a port", ("192.0.2.7:1234",), "192.0.2.7", "192.0.2.7, 10.0.0.1"),
    ("IPv4 in IPv6", ("::ffff:192.0.2.7",), "192.0.2.7", "192.0.2.7, 10.0.0.1"),
    (
        "a proxy as IPv4 in IPv6",
        ("192.0.2.7, ::ffff:10.0.0.2",),
        "192.0.2.7",
        "192.0.2.7, 10.0.0.2, 10.0.0.1",
    ),
    ("a proxy by IPv6", ("192.0.2.7, 2001:db8:1::5",), "192.0.2.7", "192.0.2.7, 2001:db8:1::5, 10.0.0.1"),
    ("spaces and tabs", (" \t192.0.2.7\t ,\t10.0.0.2 ",), "192.0.2.7", "192.0.2.7, 10.0.0.2, 10.0.0.1"),
    ("empty entries", (",192.0.2.7,,", "", ","), "192.0.2.7", "192.0.2.7, 10.0.0.1"),
    ("unknown", ("192.0.2.7, unknown",), "10.0.0.1", "10.0.0.1"),
    ("unknown, then a proxy", ("192.0.2.7, unknown, 10.0.0.2",), "10.0.0.2", "10.0.0.2, 10.0.0.1"),
    ("a name", ("example.com",), "10.0.0.1", "10.0.0.1"),
    ("leading zeros", ("192.0.2.07",), "10.0.0.1", "10.0.0.1"),
    ("a zone", ("fe80::1%eth0",), "10.0.0.1", "10.0.0.1"),
    ("two in one", ("192.0.2.7 192.0.2.8",), "10.0.0.1", "10.0.0.1"),
    ("bytes outside ASCII", ("192.0.2.\xb2",), "10.0.0.1", "10.0.0.1"),
    ("quotes", ('"192.0.2.7"',), "10.0.0.1", "10.0.0.1"),
    (
        "a loop",
        (", ".join(["192.0.2.7", *["10.0.0.2"] * 40]),),
        "10.0.0.2",
        ", ".join([*["10.0.0.2"] * 32, PEER]),
    ),
]


@pytest.mark.parametrize(("case", "lines", "client", "sent"), LISTS, ids=[one[0] for one in LISTS])
def test_x_forwarded_for(case: str, lines: tuple[str, ...], client: str, sent: str) -> None:
    caller = heard(BY_LIST, *(b"X-Forwarded-For: " + line.encode("latin-1") for line in lines))
    assert caller.address == client
    assert told(caller)["X-Forwarded-For"] == sent


ELEMENTS = [
    ("nothing", (), "10.0.0.1", "http", "own.example"),
    ("one", ("for=192.0.2.7",), "192.0.2.7", "http", "own.example"),
    (
        "all it can say",
        ('for=192.0.2.7;proto=https;host="a.example:8443";by=10.0.0.1',),
        "192.0.2.7",
        "https",
        "a.example:8443",
    ),
    (
        "capitals and spaces",
        ("FOR=192.0.2.7 ; Proto=HTTPS; Host=a.example",),
        "192.0.2.7",
        "https",
        "a.example",
    ),
    ("IPv6", ('for="[2001:db8::7]:47011"',), "2001:db8::7", "http", "own.example"),
    ("escapes", (r'for="192.0.2\.7"',), "192.0.2.7", "http", "own.example"),
    (
        "what the caller claims",
        ("for=1.1.1.1;proto=https;host=evil, for=192.0.2.7",),
        "192.0.2.7",
        "http",
        "own.example",
    ),
    ("its open quote", ('for="1.1.1.1, for=192.0.2.7',), "192.0.2.7", "http", "own.example"),
    ("its open quote on its own line", ('for="', "for=192.0.2.7"), "192.0.2.7", "http", "own.example"),
    (
        "its open quote before our quotes",
        ('for="1, for="[2001:db8::7]"',),
        "2001:db8::7",
        "http",
        "own.example",
    ),
    (
        "a proxy between",
        ("for=192.0.2.7;proto=https, for=10.0.0.2;proto=http",),
        "192.0.2.7",
        "https",
        "own.example",
    ),
    ("hidden", ("for=_hidden, for=10.0.0.2",), "10.0.0.2", "http", "own.example"),
    ("unknown", ("for=unknown;proto=https",), "10.0.0.1", "http", "own.example"),
    ("no address at all", ("proto=https;host=a",), "10.0.0.1", "http", "own.example"),
    ("twice the same", ("for=192.0.2.7;for=192.0.2.8",), "10.0.0.1", "http", "own.example"),
    ("no value", ("for=",), "10.0.0.1", "http", "own.example"),
    ("no pair", ("192.0.2.7",), "10.0.0.1", "http", "own.example"),
    ("more behind it", ("for=192.0.2.7 x",), "10.0.0.1", "http", "own.example"),
    ("a comma within quotes", ('for=192.0.2.7;x="a, for=1.1.1.1;y="',), "10.0.0.1", "http", "own.example"),
    ("an odd scheme", ("for=192.0.2.7;proto=gopher",), "192.0.2.7", "http", "own.example"),
    ("no host", ('for=192.0.2.7;host="a b"',), "192.0.2.7", "http", "own.example"),
]


@pytest.mark.parametrize(
    ("case", "lines", "client", "scheme", "host"), ELEMENTS, ids=[one[0] for one in ELEMENTS]
)
def test_forwarded(case: str, lines: tuple[str, ...], client: str, scheme: str, host: str) -> None:
    caller = heard(BY_FORWARDED, *(b"Forwarded: " + line.encode() for line in lines))
    sent = told(caller)
    assert caller.address == client
    assert (sent["X-Forwarded-Proto"], sent["X-Forwarded-Host"]) == (scheme, host)


SCHEMES = [
    ("said", (b"X-Forwarded-Proto: https", b"X-Forwarded-Host: a.example:1"), "https", "a.example:1"),
    ("in capitals", (b"X-Forwarded-Proto: HTTPS",), "https", "own.example"),
    ("the nearest one's", (b"X-Forwarded-Proto: https, http", b"X-Forwarded-Host: a, b"), "http", "b"),
    ("on lines", (b"X-Forwarded-Host: a", b"X-Forwarded-Host: b"), "http", "b"),
    ("odd", (b"X-Forwarded-Proto: javascript", b"X-Forwarded-Host: a/b"), "http", "own.example"),
    ("nothing", (b"X-Forwarded-Proto: ", b"X-Forwarded-Host: "), "http", "own.example"),
    ("of the other header", (b"Forwarded: for=1.1.1.1;proto=https;host=evil",), "http", "own.example"),
]


@pytest.mark.parametrize(("case", "lines", "scheme", "host"), SCHEMES, ids=[one[0] for one in SCHEMES])
def test_what_was_asked_for_and_how(case: str, lines: tuple[bytes, ...], scheme: str, host: str) -> None:
    sent = told(heard(BY_LIST, *lines))
    assert (sent["X-Forwarded-Proto"], sent["X-Forwarded-Host"]) == (scheme, host)
    assert sent["X-Forwarded-For"] == PEER


def test_only_the_header_that_the_proxy_sets_is_read() -> None:
    both = (b"Forwarded: for=1.1.1.1;proto=https", b"X-Forwarded-For: 2.2.2.2", b"X-Forwarded-Proto: https")
    assert heard(BY_LIST, *both).address == "2.2.2.2"
    by_forwarded = heard(BY_FORWARDED, *both[1:])
    assert by_forwarded.address == PEER
    assert told(by_forwarded)["X-Forwarded-Proto"] == "http"


def test_a_peer_that_is_not_trusted_is_the_caller() -> None:
    assert not Caller("192.0.2.1", b"http", BY_LIST).is_proxy
    assert not Caller(PEER, b"http", NOBODY).is_proxy
    assert heard(BY_LIST, b"X-Forwarded-For: 1.1.1.1", peer="192.0.2.1").address == "192.0.2.1"


def test_without_a_host_none_is_told() -> None:
    assert "X-Forwarded-Host" not in told(heard(BY_LIST, host=b""))
    assert told(heard(BY_LIST, b"X-Forwarded-Host: a", host=b""))["X-Forwarded-Host"] == "a"


@pytest.mark.parametrize(
    ("said", "host", "line"),
    [
        (b"", b"a.example", "for=10.0.0.1;host=a.example;proto=http"),
        (b"", b"", "for=10.0.0.1;proto=http"),
        (
            b"2001:db8::7, 10.0.0.2",
            b"a:1",
            'for="[2001:db8::7]";host="a:1";proto=http, for=10.0.0.2, for=10.0.0.1',
        ),
    ],
)
def test_the_same_as_forwarded(said: bytes, host: bytes, line: str) -> None:
    caller = heard(Trust(PROXIES, send_forwarded=True), b"X-Forwarded-For: " + said, host=host)
    assert told(caller)["Forwarded"] == line


def test_what_we_send_as_forwarded_is_read_as_meant() -> None:
    sent = heard(Trust(PROXIES, send_forwarded=True), b"X-Forwarded-For: 2001:db8::7", host=b"a:1").lines
    line = sent.split(b"\r\n")[-2]
    next_one = heard(BY_FORWARDED, line)
    assert next_one.address == "2001:db8::7"
    assert told(next_one)["X-Forwarded-Host"] == "a:1"


_ENTRIES = some.text(some.sampled_from('for=,;"\\ []:.0192afx_-'), max_size=60).map(str.encode)


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(_ENTRIES, some.sampled_from([BY_LIST, BY_FORWARDED]))
def test_nothing_before_what_the_nearest_proxy_adds_changes_who_calls(claim: bytes, trust: Trust) -> None:
    name, entry = (b"X-Forwarded-For: ", b"192.0.2.7")
    if trust is BY_FORWARDED:
        name, entry = (b"Forwarded: ", b'for="192.0.2.7:80";proto=https')
    for lines in ((name + claim + b", " + entry,), (name + claim, name + entry)):
        caller = heard(trust, *lines)
        assert caller.address == "192.0.2.7"
        assert told(caller)["X-Forwarded-For"] == "192.0.2.7, 10.0.0.1"


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(some.lists(some.binary(max_size=80), max_size=4), some.sampled_from([BY_LIST, BY_FORWARDED]))
def test_whatever_is_said_our_lines_stay_ours(values: list[bytes], trust: Trust) -> None:
    names = (b"X-Forwarded-For: ", b"Forwarded: ", b"X-Forwarded-Host: ", b"X-Forwarded-Proto: ")
    caller = heard(trust, *(name + value for name, value in zip(names, values, strict=False)))
    assert set(told(caller)) == {"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host"}
    assert caller.lines.isascii()
