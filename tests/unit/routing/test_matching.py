from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.policies import Route, Target, Upstream
from gateway.routing.matching import PathIndex, folded

UPSTREAM = Upstream("u", (Target("127.0.0.1", 9000),))


def _route(name: str, path: str, methods: str = "", hosts: str = "") -> Route:
    return Route(
        name=name,
        path=path,
        methods=frozenset(methods.split()),
        hosts=frozenset(hosts.split()),
        upstream=UPSTREAM,
        requires=frozenset(),
        charges={"api_calls": 1},
    )


def _find(pattern: str, path: str) -> bool:
    return PathIndex([_route("r", pattern)]).find("GET", "h", path) is not None


@pytest.mark.parametrize(
    ("case", "pattern", "path", "matches"),
    [
        ("the path itself", "/api", "/api", True),
        ("with a slash at the end", "/api", "/api/", True),
        ("nothing below it", "/api", "/api/x", False),
        ("nothing that only begins like it", "/api", "/apis", False),
        ("case matters", "/api", "/API", False),
        ("the root", "/", "/", True),
        ("only the root", "/", "/x", False),
        ("below: the folder", "/api/**", "/api", True),
        ("below: the folder with a slash", "/api/**", "/api/", True),
        ("below: a child", "/api/**", "/api/x", True),
        ("below: a grandchild", "/api/**", "/api/x/y/", True),
        ("below: not a sibling", "/api/**", "/apix", False),
        ("below the root: all", "/**", "/a/b/c", True),
        ("below the root: the root", "/**", "/", True),
        ("a star: one segment", "/a/*/c", "/a/b/c", True),
        ("a star: not none", "/a/*/c", "/a/c", False),
        ("a star: not two", "/a/*/c", "/a/b/b/c", False),
        ("a name in braces: one segment", "/a/{b}/c", "/a/x/c", True),
        ("a name in braces: not none", "/a/{b}", "/a", False),
        ("a name in braces: not two", "/a/{b}/c", "/a/x/x/c", False),
        ("a name in braces: the same", "/a/{b}", "/a/%7Bb%7D", True),
        ("encoded braces are braces", "/a/%7Bb%7D", "/a/x", False),
        ("a star at the end", "/a/*", "/a/b/", True),
        ("a star at the end: not none", "/a/*", "/a/", False),
        ("stars and all below", "/*/b/**", "/a/b/c/d", True),
        ("a real star in a path is a name", "/a/*", "/a/*", True),
        ("a reserved character, encoded", "/a:b", "/a%3Ab", True),
        ("an encoded star is no wildcard", "/%2A", "/x", False),
        ("an encoded star is a star", "/%2A", "/*", True),
        ("encoded letters", "/caf%C3%A9", "/caf%C3%A9", True),
    ],
)
def test_what_a_pattern_matches(case: str, pattern: str, path: str, matches: bool) -> None:
    assert _find(pattern, path) is matches


@pytest.mark.parametrize(
    ("case", "method", "host", "path", "name"),
    [
        ("first match wins, though a later one is closer", "GET", "h", "/a/b", "star"),
        ("the method decides", "POST", "h", "/a/b", "post"),
        ("the host decides", "POST", "x.example", "/c", "host"),
        ("and without it", "POST", "y.example", "/c", "rest"),
        ("the rest", "DELETE", "h", "/z/z/z", "rest"),
    ],
)
def test_the_first_route_in_order_that_matches_everything(
    case: str, method: str, host: str, path: str, name: str
) -> None:
    index = PathIndex(
        [
            _route("star", "/a/*", "GET HEAD"),
            _route("exact", "/a/b", "GET"),
            _route("post", "/a/b", "POST"),
            _route("host", "/**", hosts="x.example"),
            _route("rest", "/**"),
        ]
    )
    route = index.find(method, host, path)
    assert route is not None
    assert route.name == name


@pytest.mark.parametrize(
    ("case", "hosts", "host", "matches"),
    [
        ("every host", "", "api.example.com", True),
        ("no host", "", "", True),
        ("a host", "api.example.com", "api.example.com", True),
        ("another", "api.example.com", "example.com", False),
        ("one of several", "a.example b.example", "b.example", True),
        ("below a name", "*.example.com", "api.example.com", True),
        ("further below", "*.example.com", "a.b.example.com", True),
        ("not the name itself", "*.example.com", "example.com", False),
        ("not what only ends like it", "*.example.com", "badexample.com", False),
        ("not without a name before it", "*.example.com", ".example.com", False),
        ("not what begins like it", "*.example.com", "a.example.com.evil.org", False),
        ("a real star is no wildcard", "example.com", "*.example.com", False),
        ("an address", "127.0.0.1", "127.0.0.1", True),
        ("below or the name", "*.example.com example.com", "example.com", True),
        ("no host is none of these", "*.example.com example.com", "", False),
    ],
)
def test_which_hosts_a_route_takes(case: str, hosts: str, host: str, matches: bool) -> None:
    assert (PathIndex([_route("r", "/**", hosts=hosts)]).find("GET", host, "/a") is not None) is matches


EXACT, BELOW, ANY = "api.example.com", "*.example.com", ""


@pytest.mark.parametrize(
    ("case", "first", "then", "call"),
    [
        ("host, exact first", ("/**", "", EXACT), ("/**", "", BELOW), ("GET", "/a")),
        ("host, wildcard first", ("/**", "", BELOW), ("/**", "", EXACT), ("GET", "/a")),
        ("host, any first", ("/**", "", ANY), ("/**", "", EXACT), ("GET", "/a")),
        ("path, exact first", ("/a/b", "", ANY), ("/a/**", "", ANY), ("GET", "/a/b")),
        ("path, all below first", ("/a/**", "", ANY), ("/a/b", "", ANY), ("GET", "/a/b")),
        ("path, a star first", ("/a/*", "", ANY), ("/a/b", "", ANY), ("GET", "/a/b")),
        ("path, a name in braces first", ("/a/{b}", "", ANY), ("/a/b", "", ANY), ("GET", "/a/b")),
        ("path, longer first", ("/a/b/**", "", ANY), ("/a/**", "", ANY), ("GET", "/a/b/c")),
        ("path, shorter first", ("/a/**", "", ANY), ("/a/b/**", "", ANY), ("GET", "/a/b/c")),
        ("method, one first", ("/a", "GET", ANY), ("/a", "", ANY), ("GET", "/a")),
        ("method, every first", ("/a", "", ANY), ("/a", "GET", ANY), ("GET", "/a")),
        ("a path before a host", ("/a", "", ANY), ("/**", "", EXACT), ("GET", "/a")),
        ("a host before a path", ("/**", "", EXACT), ("/a", "", ANY), ("GET", "/a")),
        ("a method before a host", ("/**", "POST", ANY), ("/**", "", EXACT), ("POST", "/a")),
        ("a host before a method", ("/**", "", EXACT), ("/**", "POST", ANY), ("POST", "/a")),
    ],
)
def test_nothing_is_more_specific_the_order_decides(
    case: str, first: tuple[str, str, str], then: tuple[str, str, str], call: tuple[str, str]
) -> None:
    """Both routes match the call, whichever is written first."""
    method, path = call
    for one, other in ((first, then), (then, first)):
        index = PathIndex([_route("written-first", *one), _route("written-later", *other)])
        found = index.find(method, "api.example.com", path)
        assert found is not None
        assert found.name == "written-first"


def test_nothing_matches() -> None:
    index = PathIndex([_route("r", "/a", "GET", "h")])
    assert index.find("POST", "h", "/a") is None
    assert index.find("GET", "g", "/a") is None
    assert index.find("GET", "h", "/b") is None
    assert PathIndex([]).find("GET", "h", "/") is None


@pytest.mark.parametrize(
    ("path", "same"),
    [
        ("/a%3Ab%40", "/a:b@"),
        ("/a%20b", "/a b"),
        ("/%7C%7B", "/|{"),
        ("/a%25", "/a%25"),
        ("/caf%C3%A9", "/caf%C3%A9"),
        ("/%0A%7F", "/%0A%7F"),
        ("/plain", "/plain"),
    ],
)
def test_folding_decodes_what_upstreams_decode(path: str, same: str) -> None:
    assert folded(path) == same


def _plainly(pattern: str, path: str) -> bool:
    """The definition, without a tree."""
    wanted = [segment for segment in pattern.split("/") if segment]
    given_ = [segment for segment in path.split("/") if segment]
    if wanted[-1:] == ["**"]:
        wanted.pop()
        given_ = given_[: len(wanted)]
    return len(wanted) == len(given_) and all(
        want in ("*", have) for want, have in zip(wanted, given_, strict=True)
    )


segments = st.sampled_from(["a", "b", "*"])
patterns = st.tuples(st.lists(segments, max_size=3), st.sampled_from(["", "**"])).map(
    lambda parts: "/" + "/".join([*parts[0], *([parts[1]] if parts[1] else [])])
)
paths = st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(lambda parts: "/" + "/".join(parts))


@given(st.lists(patterns, max_size=6), paths)
def test_the_tree_agrees_with_the_definition(patterns: list[str], path: str) -> None:
    index = PathIndex([_route(str(number), pattern) for number, pattern in enumerate(patterns)])
    found = index.find("GET", "h", path)
    expected = next((str(n) for n, pattern in enumerate(patterns) if _plainly(pattern, path)), None)
    assert (found.name if found else None) == expected


def test_routes_that_are_considered_say_why_they_are_not_taken() -> None:
    index = PathIndex(
        [
            _route("post", "/a/**", methods="POST"),
            _route("hosted", "/a/b", hosts="api.example.com"),
            _route("taken", "/a/*"),
            _route("later", "/**"),
            _route("elsewhere", "/b/**"),
        ]
    )
    assert [(route.name, why) for route, why in index.considered("GET", "localhost", "/a/b")] == [
        ("post", "takes POST, not GET"),
        ("hosted", "is for api.example.com"),
        ("taken", ""),
        ("later", "comes after taken in the files"),
    ]
