"""A route says how its callers may show who they are: by key, by token of an issuer, or not at all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway.accounts.keys import digest, mint
from gateway.accounts.records import FoundKey
from gateway.auth.authenticator import Authenticator
from gateway.auth.cache import FRESH_US
from gateway.clock import ManualClock
from gateway.errors import AccountSuspended, GatewayError, InsufficientScope, KeyRestricted, Unauthenticated
from gateway.model.access import KEYS_ONLY, Access
from gateway.model.exchange import Exchange, RequestHead
from gateway.model.networks import AddressRules, parse_networks
from gateway.model.policies import Route, Target, Upstream
from gateway.model.principal import Mode, Principal
from gateway.model.restrictions import Restrictions
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from tests.unit.auth.issuing import ACME, NOW_S, OTHER_RSA_KEY, RSA_KEY, pem, token

SECRET = mint("tw", Mode.LIVE).secret.encode()
KEY = Principal(1, "acct_1", 7, "key_7", "team", Mode.LIVE, b"")
ACCOUNT = Principal(
    2, "acct_2", 0, "", "free", Mode.LIVE, b"Tollway-Account: acct_2\r\nTollway-Tier: free\r\n"
)
ISSUER = replace(ACME, pems={"": pem(RSA_KEY)})
TOKENS = Access(issuers=(ISSUER,))
HERE, TEN = parse_networks("192.0.2.0/24"), parse_networks("10.0.0.0/8")


class Bench:
    """An authenticator over one key and one account."""

    def __init__(self) -> None:
        self.clock, self.tasks, self.slots = ManualClock(NOW_S * 1_000_000), Tasks(), Slots.in_memory()
        self.accounts = {"crm-7": FoundKey(ACCOUNT, active=True)}
        self.key = KEY
        self.asked: list[str] = []
        self.auth = Authenticator(
            self.look_up, self.slots, self.clock, self.tasks, "tw", account_lookup=self.look_up_account
        )

    async def look_up(self, key_digest: bytes) -> FoundKey | None:
        return FoundKey(self.key, active=True) if key_digest == digest(SECRET) else None

    async def look_up_account(self, name: str, stands_for: bytes) -> FoundKey | None:
        self.asked.append(name)
        found = self.accounts.get(name)
        return (
            None if found is None else replace(found, principal=replace(found.principal, digest=stands_for))
        )

    async def call(
        self, access: Access, authorization: bytes | None, api_key: bytes | None = None
    ) -> Principal:
        return (await self.exchange(access, authorization, api_key))[0]

    async def exchange(
        self, access: Access, authorization: bytes | None, api_key: bytes | None = None, **route: Any
    ) -> tuple[Principal, RequestHead]:
        head = RequestHead()
        head.method, head.authorization, head.api_key = "GET", authorization, api_key
        made = Exchange(head, cast("Any", None), b"", "192.0.2.1")
        origin = Upstream("origin", (Target("127.0.0.1", 9000),))
        made.route = Route(
            "reports", "/**", frozenset(), frozenset(), origin, frozenset(), {}, access=access, **route
        )
        made.started_at_us, made.started_monotonic_us = self.clock.now_us(), self.clock.monotonic_us()
        return await self.auth.authenticate(made), head


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    yield made
    await made.tasks.close()


def bearer(credential: bytes) -> bytes:
    return b"Bearer " + credential


async def test_a_token_stands_for_an_account(bench: Bench) -> None:
    principal = await bench.call(TOKENS, bearer(token()))
    assert (principal.account, principal.key_id, principal.tier) == ("acct_2", 0, "free")
    assert principal.expires_at_us == (NOW_S + 630) * 1_000_000
    assert await bench.call(TOKENS, bearer(token())) is principal, "verified once"
    assert bench.asked == ["crm-7"]


async def test_keys_still_work_beside_tokens_and_can_be_shut_out(bench: Bench) -> None:
    assert await bench.call(TOKENS, bearer(SECRET)) is KEY
    assert await bench.call(TOKENS, None, SECRET) is KEY
    for authorization, api_key in ((bearer(SECRET), None), (None, SECRET), (None, None)):
        with pytest.raises(Unauthenticated):
            await bench.call(replace(TOKENS, keys=False), authorization, api_key)


async def test_a_route_that_names_no_issuer_believes_none(bench: Bench) -> None:
    for access in (KEYS_ONLY, Access(anonymous="visitor"), Access(issuers=(replace(ISSUER, issuer="x"),))):
        with pytest.raises(Unauthenticated):
            await bench.call(access, bearer(token()))


@pytest.mark.parametrize(
    ("case", "credential"),
    [
        ("a token of another key", token(OTHER_RSA_KEY)),
        ("an expired token", token(exp=NOW_S - 60)),
        ("an account that is not there", token(sub="crm-8")),
        ("a key that does not work", mint("tw", Mode.LIVE).secret.encode()),
    ],
    ids=["another key", "expired", "not there", "does not work"],
)
async def test_nobody_falls_back_to_being_anonymous(bench: Bench, case: str, credential: bytes) -> None:
    access = replace(TOKENS, anonymous="visitor")
    assert (await bench.call(access, None)).tier == "visitor"
    with pytest.raises(Unauthenticated):
        await bench.call(access, bearer(credential))


async def test_an_anonymous_caller_has_a_tier_and_nothing_else(bench: Bench) -> None:
    principal = await bench.call(Access(anonymous="visitor"), None)
    assert (principal.account_id, principal.key_id, principal.account) == (0, 0, "")
    assert principal.identity_lines == b"Tollway-Tier: visitor\r\n"
    assert await bench.call(Access(anonymous="visitor"), None) is principal


async def test_what_an_anonymous_caller_tells_the_upstream_reaches_it(bench: Bench) -> None:
    _, head = await bench.exchange(Access(anonymous="visitor"), b"Basic eDp5")
    assert b"".join(head.lines) == b"Authorization: Basic eDp5\r\n"


@pytest.mark.parametrize("forward", [True, False])
async def test_a_token_reaches_the_upstream_only_where_credentials_do(bench: Bench, forward: bool) -> None:
    _, head = await bench.exchange(TOKENS, bearer(token()), forward_credentials=forward)
    assert (b"".join(head.lines) == b"Authorization: " + bearer(token()) + b"\r\n") is forward


async def test_a_token_ends_when_it_says(bench: Bench) -> None:
    await bench.call(TOKENS, bearer(token()))
    bench.clock.advance(631)
    with pytest.raises(Unauthenticated):
        await bench.call(TOKENS, bearer(token()))


async def test_a_suspended_account_can_not_call_with_tokens_either(bench: Bench) -> None:
    await bench.call(TOKENS, bearer(token()))
    bench.accounts["crm-7"] = FoundKey(ACCOUNT, active=False)
    bench.auth.cache.drop_account(ACCOUNT.account_id)
    with pytest.raises(AccountSuspended):
        await bench.call(TOKENS, bearer(token()))


async def test_another_tier_of_the_account_is_in_effect_at_once(bench: Bench) -> None:
    await bench.call(TOKENS, bearer(token()))
    lines = ACCOUNT.identity_lines.replace(b"free", b"team")
    bench.accounts["crm-7"] = FoundKey(replace(ACCOUNT, tier="team", identity_lines=lines), active=True)
    bench.auth.cache.drop_account(ACCOUNT.account_id)
    assert (await bench.call(TOKENS, bearer(token()))).tier == "team"


async def test_a_token_may_carry_its_own_tier(bench: Bench) -> None:
    access = Access(issuers=(replace(ISSUER, tier_claim="plan"),))
    principal = await bench.call(access, bearer(token(plan="gold")))
    assert principal.tier == "gold"
    assert principal.identity_lines == b"Tollway-Account: acct_2\r\nTollway-Tier: gold\r\n"
    assert (await bench.call(access, bearer(token()))).tier == "free"


async def test_claims_that_limits_go_by_come_as_digests(bench: Bench) -> None:
    access = Access(issuers=(replace(ISSUER, counted=("org", "seat")),))
    blue, red, none = [
        (await bench.call(access, bearer(token(**claims)))).claims
        for claims in ({"org": "blue", "seat": 7, "other": 1}, {"org": {"id": "red"}}, {"org": None})
    ]
    assert [name for name, _ in blue] == ["org", "seat"]
    assert [name for name, _ in red] == ["org"]
    assert none == ()
    assert len({value for _, value in (*blue, *red)}) == 3
    assert "blue" not in str(blue)
    assert (await bench.call(TOKENS, bearer(token(org="blue")))).claims == (), "nobody asks for it any more"


async def test_an_issuer_that_changed_is_not_believed_as_before(bench: Bench) -> None:
    await bench.call(TOKENS, bearer(token()))
    stricter = Access(issuers=(replace(ISSUER, required={"scope": ("admin",)}),))
    with pytest.raises(Unauthenticated):
        await bench.call(stricter, bearer(token()))


async def test_refreshing_what_is_known_of_an_account_asks_for_it_again(bench: Bench) -> None:
    await bench.call(TOKENS, bearer(token()))
    bench.clock.advance(FRESH_US / 1_000_000 + 1)
    assert (await bench.call(TOKENS, bearer(token()))).account == "acct_2"
    while bench.tasks._running:
        await next(iter(bench.tasks._running))
    assert bench.asked == ["crm-7", "crm-7"]


@pytest.mark.parametrize(
    ("case", "restrictions", "allowed"),
    [
        ("its route", Restrictions(routes=frozenset({"reports"})), True),
        ("another route", Restrictions(routes=frozenset({"exports"})), False),
        ("another method", Restrictions(methods=frozenset({"POST"})), False),
        ("its network", Restrictions(addresses=AddressRules(HERE)), True),
        ("another network", Restrictions(addresses=AddressRules(TEN)), False),
        ("a network it does not work from", Restrictions(addresses=AddressRules(HERE, HERE)), False),
        ("another network it does not work from", Restrictions(addresses=AddressRules(deny=TEN)), True),
    ],
)
async def test_a_restricted_key_is_refused_each_time(
    bench: Bench, case: str, restrictions: Restrictions, allowed: bool
) -> None:
    bench.key = replace(KEY, restrictions=restrictions)
    for _ in range(3):  # looked up, then known
        if allowed:
            assert (await bench.call(KEYS_ONLY, bearer(SECRET))).key == "key_7", case
        else:
            with pytest.raises(KeyRestricted):
                await bench.call(KEYS_ONLY, bearer(SECRET))


async def test_what_is_refused_says_nothing_of_the_token(bench: Bench) -> None:
    with pytest.raises(GatewayError) as raised:
        await bench.call(TOKENS, bearer(token(sub="crm-8")))
    assert raised.value.detail == Unauthenticated.default_detail


NEEDS = frozenset({"projects:read", "projects:write"})


@pytest.mark.parametrize(
    ("case", "held", "allowed"),
    [
        ("a key that is not told apart", None, True),
        ("all of them", NEEDS, True),
        ("all of them and more", NEEDS | {"admin"}, True),
        ("one of two", frozenset({"projects:read"}), False),
        ("none", frozenset[str](), False),
        ("the beginning of one", frozenset({"projects:read", "projects"}), False),
    ],
)
async def test_a_route_may_require_scopes_of_keys(
    bench: Bench, case: str, held: frozenset[str] | None, allowed: bool
) -> None:
    bench.key = replace(KEY, scopes=held)
    for _ in range(2):  # looked up, then known
        if allowed:
            assert (await bench.call(Access(scopes=NEEDS), None, SECRET)).key == "key_7", case
        else:
            with pytest.raises(InsufficientScope):
                await bench.call(Access(scopes=NEEDS), None, SECRET)
    assert (await bench.call(KEYS_ONLY, None, SECRET)).key == "key_7", "other routes ask for nothing"


@pytest.mark.parametrize(
    ("case", "claims", "allowed"),
    [
        ("a text with spaces", {"scope": "projects:write read projects:read"}, True),
        ("a list", {"scope": ["projects:write", "projects:read", "read"]}, True),
        ("one of two", {"scope": "read projects:read"}, False),
        ("none of them", {}, False),
        ("all, in the other claim", {"scope": ..., "scp": ["projects:read", "projects:write"]}, True),
        ("another claim beside it", {"scope": "read", "scp": "projects:read projects:write"}, False),
        ("no text", {"scope": {"projects:read": True, "projects:write": True}}, False),
        ("no claim", {"scope": ...}, False),
    ],
)
async def test_a_route_may_require_scopes_of_tokens(
    bench: Bench, case: str, claims: dict[str, Any], allowed: bool
) -> None:
    access = replace(TOKENS, issuers=(replace(ISSUER, required={}),), scopes=NEEDS)
    for _ in range(2):  # verified, then remembered
        if allowed:
            assert (await bench.call(access, bearer(token(**claims)))).account == "acct_2", case
        else:
            with pytest.raises(InsufficientScope):
                await bench.call(access, bearer(token(**claims)))


async def test_a_missing_scope_is_named_and_nothing_else_of_the_caller(bench: Bench) -> None:
    bench.key = replace(KEY, scopes=frozenset({"projects:read", "a-secret-scope"}))
    with pytest.raises(InsufficientScope) as refused:
        await bench.call(Access(scopes=NEEDS), None, SECRET)
    error = refused.value
    assert error.detail == "This call needs scopes that your key or token lacks: `projects:write`."
    assert error.extensions == {"required_scopes": ["projects:read", "projects:write"]}
    assert error.headers == (
        b'WWW-Authenticate: Bearer realm="tollway", error="insufficient_scope", '
        b'scope="projects:read projects:write"\r\n'
    )


async def test_who_shows_nothing_that_works_learns_nothing_of_scopes(bench: Bench) -> None:
    for credential in (None, mint("tw", Mode.LIVE).secret.encode()):
        with pytest.raises(Unauthenticated):
            await bench.call(Access(scopes=NEEDS), None, credential)
