"""T1: whatever is in what we make header lines of, each of them stays one line, and there is no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from gateway import errors
from gateway.accounts.recognition import find_account_principal, find_principal
from gateway.admission.charges import Charges
from gateway.admission.fields import granted_lines
from gateway.admission.refusal import refusal
from gateway.admission.store import Decision, Status
from gateway.auth.anonymous import anonymous_principal
from gateway.auth.jwt_claims import Refused, read_header, verify
from gateway.auth.jwt_keys import from_pem
from gateway.auth.tokens import Verified
from gateway.dataplane.caller import Caller, Trust, TrustedHeader
from gateway.dataplane.head import HOST, HeadReader
from gateway.dataplane.refusal import problem_document
from gateway.errors import GatewayError
from gateway.metering.request_ids import RequestIds
from gateway.model.cors import Cors
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.fieldline import FIELD_LINE
from gateway.model.networks import parse_networks
from gateway.model.periods import Period
from gateway.model.policies import (
    Limit,
    LimitFields,
    Meter,
    PolicySet,
    Quota,
    Route,
    Target,
    Tier,
    Upstream,
)
from gateway.model.principal import Mode, Principal
from gateway.policy.texts import NAME, check_name
from gateway.routing.table import RoutingTable
from tests.unit.auth.issuing import ACME, NOW_S, RSA_KEY, pem, token

OFTEN = settings(max_examples=300, deadline=None, derandomize=True, database=None)
ENDS = [
    "\r\nTollway-Account: acct_evil",
    "\r\n\r\nGET / HTTP/1.1",
    "\n",
    "\r",
    "\0",
    "\x0b",
    "\x85",
    "\u2028",
    "\ud800",
]
TEXTS = some.one_of(
    some.text(max_size=30),
    some.tuples(some.sampled_from(["team", "burst", "acct_1"]), some.sampled_from(ENDS)).map("".join),
    some.from_regex(NAME),
)
BYTES = some.one_of(
    some.binary(max_size=30),
    some.tuples(
        some.sampled_from([b"", b"192.0.2.7", b"for=192.0.2.7;host=h", b"app.example.com", b"https", b"x-a"]),
        some.sampled_from([b"", *(end.encode("utf-8", "surrogatepass") for end in ENDS)]),
    ).map(b"".join),
)


def are_lines(lines: bytes, *names: bytes) -> None:
    """Complete lines with these names, in this order, and none besides."""
    assert lines == b"" or lines.endswith(b"\r\n")
    found = lines.split(b"\r\n")[:-1]
    assert all(FIELD_LINE.fullmatch(line) for line in found), lines
    if names:
        assert [line.partition(b":")[0] for line in found] == list(names)


# -- who calls --------------------------------------------------------------------------------------------

IDENTITY = (b"Tollway-Account", b"Tollway-Tier", b"Tollway-Key-Id")
BASE = Principal(1, "acct_1", 0, "", "free", Mode.LIVE, b"Tollway-Account: acct_1\r\nTollway-Tier: free\r\n")


class Table:
    """A database with one row, in which every text is as the tables' own checks allow."""

    def __init__(self, **row: object) -> None:
        self.row = {
            "account_id": 1, "key_id": 1, "mode": "live", "expires_at_us": None, "overrides": None,
            "only_routes": None, "only_methods": None, "only_networks": None, "not_networks": None,
            "scopes": None, "active": True, "billing_anchor": date(2026, 1, 31), "time_zone": "UTC", **row,
        }  # fmt: skip

    async def fetchrow(self, *_: object) -> dict[str, object]:
        return self.row


@pytest.mark.parametrize("tier", ["a", "z" * 63, "team-2_x"])
async def test_the_lines_of_an_account_are_those_three(tier: str) -> None:
    """That the tables take no other texts: `tests/integration/controlplane/test_names.py`."""
    database = cast("Any", Table(account="acct_" + "A" * 40, tier=tier, key="key_" + "z" * 16))
    by_key, by_name = await find_principal(database, b""), await find_account_principal(database, "", b"")
    assert by_key is not None
    assert by_name is not None
    are_lines(by_key.principal.identity_lines, *IDENTITY)
    are_lines(by_name.principal.identity_lines, *IDENTITY[:2])


@settings(OFTEN, max_examples=60)
@given(TEXTS)
@example("free")
def test_the_tier_that_a_token_claims_is_a_name_or_the_token_is_refused(tier: str) -> None:
    issuer = replace(ACME, tier_claim="plan")
    signed = token(plan=tier)
    try:
        claims = verify(signed, read_header(signed), from_pem(pem(RSA_KEY)), issuer, NOW_S)
    except Refused:
        return
    are_lines(Verified(claims, b"").of(BASE).identity_lines, *IDENTITY[:2])


@OFTEN
@given(TEXTS)
def test_a_name_in_the_policies_makes_one_line(name: str) -> None:
    """Of tiers for anonymous callers, limits, quotas, units: they are all names."""
    try:
        check_name(name)
    except ValueError:
        return
    are_lines(anonymous_principal(name).identity_lines, b"Tollway-Tier")
    upstream = Upstream("u", (Target("127.0.0.1", 1),))
    route = Route("r", "/**", frozenset(), frozenset(), upstream, frozenset(), {name: 1})
    tier = Tier(
        name, name, None, (Limit(name, 1, 1000, 1),), (Quota(name, name, 5, Period.DAY),), frozenset()
    )
    policies = PolicySet("", {"u": upstream}, {name: Meter(name, name)}, {name: tier}, (route,))
    for fields in LimitFields:
        table = RoutingTable(replace(policies, limit_fields=fields), portal_url="")
        exchange = Exchange(RequestHead(), cast("Any", None), b"")
        exchange.principal, exchange.route = replace(BASE, tier=name), route
        plan = table.charges(exchange)
        are_lines(plan.policy_header)
        charges = Charges(plan, 0)
        are_lines(granted_lines(charges, Decision(Status.ADMITTED, 0, 0, (1, 1), (0, 0))))
        refused = refusal(plan, charges, Decision(Status.REFUSED, 0, 0, (0, 0), (1, 1)))
        are_lines(refused.headers)


# -- where a call came from, and who may read the answer --------------------------------------------------


@OFTEN
@given(
    some.lists(
        some.tuples(
            some.sampled_from([b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"]),
            BYTES,
        ),
        max_size=5,
    ),
    BYTES,
    some.sampled_from(TrustedHeader),
    some.booleans(),
)
def test_what_proxies_say_makes_our_lines_and_no_other(
    said: list[tuple[bytes, bytes]], authority: bytes, header: TrustedHeader, send_forwarded: bool
) -> None:
    trust = Trust(parse_networks("127.0.0.0/8"), header, send_forwarded=send_forwarded)
    head = RequestHead()
    head.authority = authority if HOST.fullmatch(authority) else b""  # others are 400
    head.said = tuple(said)
    caller = Caller("127.0.0.1", b"http", trust)
    caller.hear(head)
    are_lines(caller.lines)
    names = [line.partition(b":")[0] for line in caller.lines.split(b"\r\n")[:-1]]
    ours = [b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-Forwarded-Host", b"Forwarded"]
    assert names == [name for name in ours if name in names]


@OFTEN
@given(BYTES, some.one_of(some.none(), BYTES), some.booleans())
def test_an_origin_makes_our_lines_and_no_other(origin: bytes, asked: bytes | None, anybody: bool) -> None:
    origins = None if anybody else re.compile(rb"https://([a-z0-9-]+\.)*example\.com|app\.example\.com")
    cors = Cors(origins, b"", b"", any_header=True)
    are_lines(cors.of_answer(origin))
    are_lines(cors.of_preflight(origin, asked))


@OFTEN
@given(
    some.lists(some.tuples(some.sampled_from([b"Host", b"Upgrade", b"Authorization", b"X-API-Key"]), BYTES))
)
def test_what_we_take_out_of_a_head_and_put_into_another_is_one_line(
    fields: list[tuple[bytes, bytes]],
) -> None:
    """Even if the parser let everything pass, which it does not."""
    reader = HeadReader()
    reader.url(b"/")
    for name, value in fields:
        reader.header(name, value)
    try:
        head = reader.finish(b"GET", keep_alive=True, version=lambda: "1.1")
    except GatewayError:
        return
    for taken in (head.authority, head.upgrade, head.authorization, head.api_key):
        assert taken is None or not re.search(rb"[\r\n\0]", taken)


# -- what we say ourselves --------------------------------------------------------------------------------


def refusals() -> Iterator[type[GatewayError]]:
    """Every way to say no."""
    waiting: list[type[GatewayError]] = [GatewayError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__ == errors.__name__:
            yield kind


MADE_OF: dict[str, dict[str, Any]] = {
    "BodyTooLarge": {"most_bytes": 1},
    "TooManyGuesses": {"by": "address", "retry_after_s": 1},
    "UpstreamBusy": {"internal": ""},
}


@pytest.mark.parametrize("kind", list(refusals()), ids=lambda kind: kind.__name__)
def test_a_refusal_has_only_lines_of_its_own(kind: type[GatewayError]) -> None:
    error = kind(**MADE_OF.get(kind.__name__, {}))
    are_lines(error.headers)
    assert re.fullmatch(r"[!-~][ -~]*", error.title)
    assert re.fullmatch(r"[!-~]+", error.problem_type)


@OFTEN
@given(TEXTS, TEXTS)
def test_a_problem_document_is_one_line_whatever_it_says(detail: str, name: str) -> None:
    error = GatewayError(detail, extensions={"upgrade_url": name, "violated-policies": [name]})
    body = json.dumps(problem_document(error, "0")).encode()
    assert not re.search(rb"[\x00-\x1f\x7f-\xff]", body)
    assert json.loads(body)["upgrade_url"] == name


@settings(OFTEN, max_examples=50)
@given(some.binary(min_size=10, max_size=10), some.integers(0, 2**48 - 1))
def test_a_request_id_is_digits_whatever_they_say(prefix: bytes, number: int) -> None:
    assert re.fullmatch(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", RequestIds(prefix).text(number))
