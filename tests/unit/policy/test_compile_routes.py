from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest
from gateway.model.policies import Route, Timeouts
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources
from gateway.routing.matching import PathIndex
from gateway.routing.path import canonical_path


def _route(more: str, path: str = "/v1/**", upstream: str = "") -> Route:
    text = f"""
upstreams:
  api: {{targets: [http://a], {upstream}}}
  next: {{targets: [http://b], timeouts: {{connect: 1s}}, request_headers: {{set: {{X-Next: "1"}}}}}}
tiers: {{free: {{}}}}
routes:
  - name: r
    match: {{path: "{path}"}}
    {more}
"""
    loaded = compile_sources(Sources((("a.yaml", text.encode()),)))
    assert loaded.problems == ()
    assert loaded.policies is not None
    return loaded.policies.routes[0]


def _rewritten(pattern: str, rewrite: str, path: str) -> str:
    change = _route(f"upstream: api\n    rewrite: {rewrite}", pattern).request_change
    assert change is not None
    return change.target(path, b"").decode()


@pytest.mark.parametrize(
    ("case", "pattern", "rewrite", "path", "made"),
    [
        ("a prefix is stripped", "/v1/**", "{strip_prefix: /v1}", "/v1/users/7", "/users/7"),
        ("of the path itself", "/v1/**", "{strip_prefix: /v1}", "/v1", "/"),
        ("and its slash", "/v1/**", "{strip_prefix: /v1}", "/v1/", "/"),
        ("the slash at the end stays", "/v1/**", "{strip_prefix: /v1}", "/v1/users/", "/users/"),
        ("once only", "/v1/**", "{strip_prefix: /v1}", "/v1/v1/v1", "/v1/v1"),
        ("more than one segment", "/a/b/**", "{strip_prefix: /a/b}", "/a/b/c", "/c"),
        ("less than what is matched", "/a/b/**", "{strip_prefix: /a}", "/a/b/c", "/b/c"),
        ("all of an exact path", "/a/b", "{strip_prefix: /a/b}", "/a/b", "/"),
        ("in its other spelling", "/v:1/**", "{strip_prefix: /v:1}", "/v%3A1/users", "/users"),
        ("replaced", "/v1/**", "{strip_prefix: /v1, add_prefix: /in/v2}", "/v1/users/", "/in/v2/users/"),
        ("replaced as a whole", "/v1/**", "{strip_prefix: /v1, add_prefix: /x}", "/v1", "/x"),
        ("put before", "/**", "{add_prefix: /api}", "/users", "/api/users"),
        ("put before the root", "/**", "{add_prefix: /api}", "/", "/api/"),
        ("put before an exact root", "/", "{add_prefix: /api}", "/", "/api/"),
        ("a name", "/v1/users/{id}", '{path: "/people/{id}"}', "/v1/users/7", "/people/7"),
        ("a name and the slash", "/v1/users/{id}", '{path: "/people/{id}"}', "/v1/users/7/", "/people/7/"),
        ("escapes travel", "/u/{id}", '{path: "/{id}"}', "/u/caf%C3%A9%3Ab%25", "/caf%C3%A9%3Ab%25"),
        ("names in any order", "/{a}/{b}/*", '{path: "/{b}/x/{a}"}', "/1/2/3", "/2/x/1"),
        ("all below", "/{v}/users/**", '{path: "/users/{v}/**"}', "/v1/users/7/x/", "/users/v1/7/x/"),
        ("nothing below", "/{v}/users/**", '{path: "/users/{v}/**"}', "/v1/users", "/users/v1"),
        ("only what is below", "/v1/**", "{path: /**}", "/v1/users/", "/users/"),
        ("nothing but the root", "/v1/**", "{path: /**}", "/v1", "/"),
        ("what is below left out", "/v1/**", "{path: /gone}", "/v1/a/b/", "/gone"),
        ("what is below left out: the root", "/v1/**", "{path: /}", "/v1/a/b/", "/"),
        ("a fixed path", "/old", "{path: /new/place}", "/old", "/new/place"),
        ("a fixed path and the slash", "/old", "{path: /new}", "/old/", "/new/"),
        ("the root has no slash at its end", "/", "{path: /index.html}", "/", "/index.html"),
    ],
)
def test_what_the_upstream_is_asked_for(case: str, pattern: str, rewrite: str, path: str, made: str) -> None:
    assert canonical_path(path.encode()) == path
    assert _rewritten(pattern, rewrite, path) == made


SEGMENTS = st.sampled_from(
    ["a", "b", "v1", ".a", "..a", "a.", "%25", "a%2520", "caf%C3%A9", "a:b", "a%3Ab", "%7Bid%7D", "*", "**"]
)
BELOW = st.lists(SEGMENTS, max_size=4)
SLASH = st.sampled_from(["", "/"])
REWRITES = st.sampled_from(
    [
        ("/v1/**", "{strip_prefix: /v1}", "/"),
        ("/v1/**", "{strip_prefix: /v1, add_prefix: /t/x}", "/t/x"),
        ("/v1/**", "{add_prefix: /t}", "/t"),
        ("/v1/{a}/**", '{path: "/t/{a}/**"}', "/t"),
        ("/v1/{a}/**", '{path: "/t/x/**"}', "/t/x"),
        ("/v1/{a}/{b}", '{path: "/t/{b}/{a}"}', "/t"),
        ("/v1/*/{b}/**", '{path: "/t/{b}"}', "/t"),
        ("/{a}/{b}/**", '{path: "/{b}/{a}/**"}', "/"),
    ]
)


@given(REWRITES, BELOW, SLASH)
def test_any_path_arrives_canonical_and_below_the_new_prefix(
    rewrite: tuple[str, str, str], below: list[str], slash: str
) -> None:
    _arrives_canonical(rewrite, "/".join(["/v1", *below]) + slash)


@given(REWRITES, st.text(st.sampled_from("/.%2eE5fFc3a9AvV1:*{}~ ;\\"), max_size=24))
def test_whatever_a_caller_sends(rewrite: tuple[str, str, str], raw: str) -> None:
    _arrives_canonical(rewrite, "/v1/" + raw)


def _arrives_canonical(rewrite: tuple[str, str, str], raw: str) -> None:
    pattern, written, prefix = rewrite
    route = _ROUTES.get(rewrite) or _ROUTES.setdefault(
        rewrite, _route(f"upstream: api\n    rewrite: {written}", pattern)
    )
    try:
        path = canonical_path(raw.encode())
    except BadRequest:
        return
    if PathIndex([route]).find("GET", "h", path) is None:
        return
    assert route.request_change is not None
    made = route.request_change.target(path, b"?q=/../%2F").decode()
    made, _, query = made.partition("?")
    assert query == "q=/../%2F"
    assert canonical_path(made.encode()) == made
    assert made == prefix or made.startswith(prefix.rstrip("/") + "/")
    assert len(made) <= len(path) + len(prefix)


_ROUTES: dict[tuple[str, str, str], Route] = {}


def test_what_says_nothing_costs_nothing() -> None:
    route = _route("upstream: api")
    assert route.request_change is None
    assert route.response_headers is None
    assert route.split == ()


def test_headers_of_upstream_and_route() -> None:
    route = _route(
        "upstream: api\n"
        "    request_headers: {set: {X_One: route}, add: {X-Add: '1'}, remove: [X-Two, X-Five]}",
        upstream="request_headers: {set: {X-One: up, X-Two: up, X-Three: up}, remove: [X-Four]},"
        " response_headers: {remove: [Server]}",
    )
    assert route.request_change is not None
    assert route.request_change.path is None
    headers = route.request_change.headers
    assert headers is not None
    assert headers.added == b"X-Three: up\r\nX_One: route\r\nX-Add: 1\r\n"
    assert headers.dropped == {b"x-one", b"x-two", b"x-three", b"x-four", b"x-five"}
    assert route.response_headers is not None
    assert route.response_headers.dropped == {b"server"}
    assert route.response_headers.added == b""


def test_the_upstream_can_be_told_of_the_prefix() -> None:
    route = _route("upstream: api\n    rewrite: {strip_prefix: /v1, forwarded_prefix: true}")
    assert route.request_change is not None
    assert route.request_change.lines([b"A: b\r\n"]) == [b"A: b\r\n", b"X-Forwarded-Prefix: /v1\r\n"]


def test_a_split_is_a_route_to_each_side() -> None:
    route = _route(
        "split: [{upstream: api, weight: 9}, {upstream: next, weight: 1}]\n"
        "    timeouts: {response: 7s}\n    rewrite: {strip_prefix: /v1}"
    )
    assert [(side.weight, side.route.upstream.name) for side in route.split] == [(9, "api"), (1, "next")]
    api, following = (side.route for side in route.split)
    assert api.timeouts == Timeouts(response_s=7)
    assert following.timeouts == Timeouts(response_s=7, connect_s=1)
    assert api.request_change is not None
    assert api.request_change.headers is None
    assert following.request_change is not None
    assert b"".join(following.request_change.lines([])) == b"X-Next: 1\r\n"
    assert (api.name, api.path, api.split) == (route.name, route.path, ())


def test_a_side_without_weight_is_none() -> None:
    route = _route("split: [{upstream: api, weight: 0}, {upstream: next, weight: 3}]")
    assert route.upstream.name == "next"
    assert route.split == ()
