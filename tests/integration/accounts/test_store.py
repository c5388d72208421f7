"""Accounts and keys in a real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import date
from typing import Any

import asyncpg
import pytest

from gateway.accounts.keys import digest, mint
from gateway.accounts.recognition import find_account_principal, find_principal
from gateway.accounts.records import (
    Account,
    AccountChanges,
    AccountDetails,
    ApiKey,
    FoundKey,
    KeyChanges,
    KeyLimits,
)
from gateway.accounts.store import Accounts
from gateway.errors import Conflict, Invalid, NotFound
from gateway.model.periods import IN_UTC, Calendar
from gateway.model.principal import Mode
from gateway.storage.postgres import Pool, connect_pool, open_connection

NOBODY = "acct_00000000000000000000"
NO_KEY = "key_00000000000000000000"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    opened = await connect_pool(database_url, max_size=8)
    yield opened
    await opened.close()


@pytest.fixture
def accounts(pool: Pool) -> Accounts:
    return Accounts(pool, "tw")


@pytest.fixture
async def ada(accounts: Accounts) -> Account:
    return await accounts.create_account("Ada", "team")


async def find(pool: Pool, secret: str) -> FoundKey | None:
    return await find_principal(pool, digest(secret.encode()))


async def test_an_account_is_created_found_and_changed(accounts: Accounts) -> None:
    made = await accounts.create_account("Ada & Söhne", "community", external_id="crm-7")
    assert made.public_id.startswith("acct_")
    assert (made.status, made.created_at.utcoffset() is not None) == ("active", True)
    assert await accounts.get_account(made.public_id) == made
    assert await accounts.find_account("crm-7") == made
    assert (await accounts.change_account(made.public_id, AccountChanges(name="Ada Ltd"))).name == "Ada Ltd"
    assert (await accounts.set_tier(made.public_id, "team")).tier == "team"
    assert (await accounts.set_status(made.public_id, "suspended")).status == "suspended"
    with pytest.raises(Conflict, match="external id"):
        await accounts.create_account("Another", "team", external_id="crm-7")


async def test_pages_of_accounts_neither_repeat_nor_skip(accounts: Accounts) -> None:
    made = [await accounts.create_account(f"number {n}", "team") for n in range(7)]
    seen: list[Account] = []
    after = None
    while page := await accounts.list_accounts(after=after, limit=3):
        seen += page
        after = page[-1].public_id
    assert seen == made


async def test_a_key_leads_to_its_account(accounts: Accounts, pool: Pool, ada: Account) -> None:
    key, secret = await accounts.create_key(ada.public_id, "laptop", Mode.TEST)
    assert secret.startswith("tw_test_")
    assert (key.account, key.name, key.visible, key.mode) == (ada.public_id, "laptop", "tw_test_", Mode.TEST)
    assert key.last_four == secret[-4:]
    found = await find(pool, secret)
    assert found is not None
    assert found.active
    principal = found.principal
    assert (principal.account_id, principal.key_id) == (ada.id, key.id)
    assert (principal.tier, principal.mode, principal.expires_at_us) == ("team", Mode.TEST, None)
    assert (
        principal.identity_lines
        == (
            f"Tollway-Account: {ada.public_id}\r\nTollway-Tier: team\r\nTollway-Key-Id: {key.public_id}\r\n"
        ).encode()
    )


async def test_a_key_nobody_made_leads_nowhere(pool: Pool) -> None:
    assert await find(pool, mint("tw", Mode.LIVE).secret) is None


async def test_a_suspended_account_keeps_its_keys_but_is_not_active(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    _, secret = await accounts.create_key(ada.public_id)
    await accounts.set_status(ada.public_id, "suspended")
    found = await find(pool, secret)
    assert found is not None
    assert not found.active


async def test_a_revoked_key_is_gone_and_revoking_again_changes_nothing(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    key, secret = await accounts.create_key(ada.public_id)
    revoked = await accounts.revoke_key(key.public_id)
    assert revoked.revoked_at is not None
    assert await accounts.revoke_key(key.public_id) == revoked
    assert await find(pool, secret) is None
    assert await accounts.list_keys(ada.public_id) == [revoked]


async def test_after_a_rotation_both_keys_work_until_the_overlap_ends(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    old, old_secret = await accounts.create_key(ada.public_id, "server", Mode.LIVE)
    new, new_secret = await accounts.rotate_key(old.public_id, overlap_s=3600)
    assert (new.name, new.mode, new.expires_at) == ("server", Mode.LIVE, None)
    old = await accounts.get_key(old.public_id)
    assert old.successor == new.public_id
    assert old.expires_at is not None
    assert (old.expires_at - new.created_at).total_seconds() == 3600
    found_old, found_new = await find(pool, old_secret), await find(pool, new_secret)
    assert found_old is not None
    assert found_new is not None
    assert found_old.principal.expires_at_us == round(old.expires_at.timestamp() * 1_000_000)
    await pool.execute("UPDATE api_keys SET expires_at = now() WHERE id = $1", old.id)
    assert await find(pool, old_secret) is None


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    old, old_secret = await accounts.create_key(ada.public_id)
    await accounts.rotate_key(old.public_id, overlap_s=0)
    assert await find(pool, old_secret) is None


async def test_a_rotation_never_lengthens_a_key_that_ends_sooner(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    old, _ = await accounts.create_key(ada.public_id)
    await pool.execute("UPDATE api_keys SET expires_at = now() + interval '1 minute' WHERE id = $1", old.id)
    before = await accounts.get_key(old.public_id)
    await accounts.rotate_key(old.public_id)
    assert (await accounts.get_key(old.public_id)).expires_at == before.expires_at


async def test_of_many_rotations_at_once_one_wins(accounts: Accounts, ada: Account) -> None:
    key, _ = await accounts.create_key(ada.public_id)
    ends = await asyncio.gather(
        *(accounts.rotate_key(key.public_id) for _ in range(6)), return_exceptions=True
    )
    assert sorted(type(end).__name__ for end in ends) == ["Conflict"] * 5 + ["tuple"]
    assert len(await accounts.list_keys(ada.public_id)) == 2


async def test_a_revoked_key_is_not_rotated(accounts: Accounts, ada: Account) -> None:
    key, _ = await accounts.create_key(ada.public_id)
    await accounts.revoke_key(key.public_id)
    with pytest.raises(Conflict, match="revoked or expired"):
        await accounts.rotate_key(key.public_id)


async def test_importing_a_key_again_changes_nothing(accounts: Accounts, pool: Pool, ada: Account) -> None:
    secret = mint("demo", Mode.TEST).secret
    key = await accounts.import_key(ada.public_id, secret)
    assert await accounts.import_key(ada.public_id, secret) == key
    assert await accounts.list_keys(ada.public_id) == [key]
    assert (key.visible, key.mode) == ("demo_test_", Mode.TEST)
    assert await find(pool, secret) is not None
    other = await accounts.create_account("Bob", "team")
    with pytest.raises(Conflict, match="Another account"):
        await accounts.import_key(other.public_id, secret)


async def test_pages_of_keys_neither_repeat_nor_skip(accounts: Accounts, ada: Account) -> None:
    made = [(await accounts.create_key(ada.public_id))[0] for _ in range(5)]
    seen: list[ApiKey] = []
    after = None
    while page := await accounts.list_keys(ada.public_id, after=after, limit=2):
        seen += page
        after = page[-1].public_id
    assert seen == made


async def test_the_secret_is_nowhere_in_the_database(accounts: Accounts, pool: Pool, ada: Account) -> None:
    key, secret = await accounts.create_key(ada.public_id, "laptop")
    _, rotated = await accounts.rotate_key(key.public_id)
    tables = await pool.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows = [
        row["text"]
        for table in tables
        for row in await pool.fetch(f"SELECT t::text AS text FROM {table['tablename']} AS t")
    ]
    everything = "\n".join(rows)
    assert "laptop" in everything
    for one in (secret, rotated):
        random_part = one[len("tw_live_") : -4]
        assert random_part not in everything
        assert random_part.encode().hex() not in everything


@pytest.mark.parametrize(
    ("case", "call"),
    [
        ("get an account", lambda a: a.get_account(NOBODY)),
        ("an id with a NUL", lambda a: a.get_account("acct_0123456789abcdef\0")),
        ("an id with half a character", lambda a: a.get_account("acct_\ud800123456789abcdef")),
        ("a key's id for an account's", lambda a: a.get_account(NO_KEY)),
        ("external id", lambda a: a.find_account("nobody")),
        ("set a name", lambda a: a.change_account(NOBODY, AccountChanges(name="Ada"))),
        ("set a tier", lambda a: a.set_tier(NOBODY, "team")),
        ("set a status", lambda a: a.set_status(NOBODY, "active")),
        ("create a key", lambda a: a.create_key(NOBODY)),
        ("import a key", lambda a: a.import_key(NOBODY, mint("tw", Mode.LIVE).secret)),
        ("list keys", lambda a: a.list_keys(NOBODY)),
        ("get a key", lambda a: a.get_key(NO_KEY)),
        ("revoke", lambda a: a.revoke_key(NO_KEY)),
        ("rotate", lambda a: a.rotate_key(NO_KEY)),
    ],
)
async def test_what_is_not_there(
    accounts: Accounts, case: str, call: Callable[[Accounts], Awaitable[Any]]
) -> None:
    with pytest.raises(NotFound):
        await call(accounts)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("name", lambda a, ada: a.create_account("two\r\nlines", "team")),
        ("tier", lambda a, ada: a.create_account("Ada", "team\r\n")),
        ("external_id", lambda a, ada: a.create_account("Ada", "team", external_id="")),
        ("name", lambda a, ada: a.change_account(ada, AccountChanges(name="Ada\nLtd"))),
        ("tier", lambda a, ada: a.set_tier(ada, "no such tier")),
        ("status", lambda a, ada: a.set_status(ada, "deleted")),
        ("name", lambda a, ada: a.create_key(ada, "two\nlines")),
        ("secret", lambda a, ada: a.import_key(ada, "tw_live_guess")),
        ("overlap_s", lambda a, ada: a.rotate_key(NO_KEY, overlap_s=-1)),
        ("overlap_s", lambda a, ada: a.rotate_key(NO_KEY, overlap_s=10**12)),
        ("limit", lambda a, ada: a.list_accounts(limit=0)),
        ("limit", lambda a, ada: a.list_keys(ada, limit=1001)),
        ("after", lambda a, ada: a.list_accounts(after="nonsense")),
        ("after", lambda a, ada: a.list_keys(ada, after=NO_KEY)),
    ],
)
async def test_what_can_not_be_taken(
    accounts: Accounts, ada: Account, field: str, call: Callable[[Accounts, str], Awaitable[Any]]
) -> None:
    with pytest.raises(Invalid) as caught:
        await call(accounts, ada.public_id)
    assert caught.value.field == field


async def test_every_change_is_told_as_it_is_committed(
    accounts: Accounts, database_url: str, ada: Account
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    listener = await open_connection(database_url)

    def hear(_connection: object, _pid: int, _channel: str, payload: object) -> None:
        heard.put_nowait(str(payload))

    await listener.add_listener("tollway_keys", hear)

    async def next_told() -> str:
        return await asyncio.wait_for(heard.get(), 10)

    key, secret = await accounts.create_key(ada.public_id)
    payload = f"key:{digest(secret.encode()).hex()}"
    assert await next_told() == payload
    _, new_secret = await accounts.rotate_key(key.public_id)
    assert {await next_told(), await next_told()} == {payload, f"key:{digest(new_secret.encode()).hex()}"}
    await accounts.revoke_key(key.public_id)
    assert await next_told() == payload
    await accounts.set_tier(ada.public_id, "community")
    assert await next_told() == f"account:{ada.id}"
    await accounts.set_status(ada.public_id, "suspended")
    assert await next_told() == f"account:{ada.id}"
    await listener.execute("DELETE FROM api_keys WHERE successor_id IS NOT NULL")
    assert await next_told() == payload
    await listener.close()


@pytest.mark.parametrize(
    ("case", "sql"),
    [
        ("a digest of another length", "UPDATE api_keys SET digest = 'short'"),
        ("a name with a line break", "UPDATE accounts SET name = E'a\\nb'"),
        ("a tier that would end a header", "UPDATE accounts SET tier = E'team\\r\\nX: y'"),
        ("a status nobody knows", "UPDATE accounts SET status = 'gone'"),
        ("an account with keys is not deleted", "DELETE FROM accounts"),
    ],
)
async def test_the_tables_refuse_what_no_gateway_would_write(
    accounts: Accounts, pool: Pool, ada: Account, case: str, sql: str
) -> None:
    await accounts.create_key(ada.public_id)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await pool.execute(sql)


async def test_an_account_has_what_billing_needs(accounts: Accounts) -> None:
    details = AccountDetails(
        status="draft",
        billing_anchor=date(2026, 1, 31),
        time_zone="Europe/Berlin",
        internal=True,
        metadata={"crm": "7", "owner": "Zoë"},
    )
    made = await accounts.create_account("Ada", "team", details=details)
    assert (made.status, made.billing_anchor, made.time_zone) == ("draft", date(2026, 1, 31), "Europe/Berlin")
    assert (made.internal, made.metadata) == (True, {"crm": "7", "owner": "Zoë"})
    changes = AccountChanges(internal=False, metadata={"crm": None, "plan": "b"}, time_zone="UTC")
    changed = await accounts.change_account(made.public_id, changes)
    assert (changed.internal, changed.metadata) == (False, {"owner": "Zoë", "plan": "b"})
    assert (changed.name, changed.billing_anchor, changed.time_zone) == ("Ada", date(2026, 1, 31), "UTC")


async def test_periods_are_those_of_the_calendar_unless_somebody_chose_an_anchor(
    accounts: Accounts, ada: Account
) -> None:
    assert (ada.billing_anchor, ada.calendar) == (None, IN_UTC)
    _, secret = await accounts.create_key(ada.public_id)
    for changes, expected in (
        (AccountChanges(billing_anchor=date(2026, 1, 31)), Calendar(date(2026, 1, 31))),
        (AccountChanges(time_zone="Asia/Tokyo"), Calendar(date(2026, 1, 31), "Asia/Tokyo")),
        (AccountChanges(drop_billing_anchor=True), Calendar(None, "Asia/Tokyo")),
        (AccountChanges(time_zone="UTC"), IN_UTC),
    ):
        assert (await accounts.change_account(ada.public_id, changes)).calendar == expected
        found = await accounts.find_key(digest(secret.encode()))
        assert found is not None
        assert found.principal.calendar == expected, "gateways are told with the key"


@pytest.mark.parametrize(
    ("case", "changes", "field"),
    [
        ("an unknown status", AccountChanges(status="gone"), "status"),
        ("an unknown time zone", AccountChanges(time_zone="Mars/Olympus"), "time_zone"),
        ("a time zone that is a path", AccountChanges(time_zone="../../etc/passwd"), "time_zone"),
        ("too many names", AccountChanges(metadata={str(n): "" for n in range(51)}), "metadata"),
        ("an empty name", AccountChanges(metadata={"": "x"}), "metadata"),
        ("a value too long", AccountChanges(metadata={"x": "x" * 501}), "metadata"),
        ("NUL", AccountChanges(metadata={"x": "a\0b"}), "metadata"),
        ("half a character", AccountChanges(metadata={"x": "\ud800"}), "metadata"),
    ],
)
async def test_a_change_that_is_refused_changes_nothing(
    accounts: Accounts, ada: Account, case: str, changes: AccountChanges, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await accounts.change_account(ada.public_id, replace(changes, name="Changed"))
    assert refused.value.field == field, case
    assert await accounts.get_account(ada.public_id) == ada


async def test_metadata_is_bounded_however_it_grows(accounts: Accounts, ada: Account) -> None:
    await accounts.change_account(ada.public_id, AccountChanges(metadata={str(n): "" for n in range(50)}))
    with pytest.raises(Invalid, match="at most 50"):
        await accounts.change_account(ada.public_id, AccountChanges(metadata={"one more": ""}))
    assert len((await accounts.get_account(ada.public_id)).metadata) == 50


@pytest.mark.parametrize(
    ("status", "active"),
    [("draft", False), ("active", True), ("past_due", True), ("suspended", False), ("cancelled", False)],
)
async def test_who_may_call(accounts: Accounts, pool: Pool, ada: Account, status: str, active: bool) -> None:
    _, secret = await accounts.create_key(ada.public_id)
    await accounts.set_status(ada.public_id, status)
    found = await find(pool, secret)
    assert found is not None
    assert found.active is active


async def test_a_key_may_be_restricted_and_its_successor_is_alike(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    limits = KeyLimits(
        expires_in_s=3600,
        only_routes=("b", "a", "a"),
        only_methods=("GET",),
        only_networks=("192.0.2.0/24", "2001:db8::1"),
        not_networks=("::ffff:192.0.2.66", "2001:db8::/32"),
        scopes=("write", "read", "read"),
    )
    key, _ = await accounts.create_key(ada.public_id, "ci", limits=limits)
    assert (key.only_routes, key.only_methods) == (("a", "b"), ("GET",))
    assert key.only_networks == ("192.0.2.0/24", "2001:db8::1/128")
    assert key.not_networks == ("192.0.2.66/32", "2001:db8::/32")
    assert key.scopes == ("read", "write")
    assert key.expires_at is not None
    successor, secret = await accounts.rotate_key(key.public_id)
    assert (successor.only_routes, successor.only_networks) == (key.only_routes, key.only_networks)
    assert successor.not_networks == key.not_networks
    assert successor.scopes == key.scopes
    found = await find(pool, secret)
    assert found is not None
    restrictions = found.principal.restrictions
    assert restrictions is not None
    assert restrictions.refusal("a", "GET", "192.0.2.7") == ""
    for address in ("198.51.100.1", "192.0.2.66", "2001:db8::1"):
        assert "address" in restrictions.refusal("a", "GET", address)
    assert found.principal.scopes == frozenset({"read", "write"})


async def test_networks_a_key_does_not_work_from_are_enough_to_restrict_it(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    key, secret = await accounts.create_key(ada.public_id, limits=KeyLimits(not_networks=("192.0.2.0/24",)))
    listed, by_id = await accounts.list_keys(ada.public_id), await accounts.get_key(key.public_id)
    assert (listed, by_id.only_networks, by_id.not_networks) == ([by_id], (), ("192.0.2.0/24",))
    for changes, refused in (
        (KeyChanges(name="ci"), {"192.0.2.1"}),
        (KeyChanges(not_networks=("10.0.0.0/8",)), {"10.0.0.1"}),
        (KeyChanges(only_networks=("10.0.0.0/24",)), {"192.0.2.1", "10.0.0.1"}),
        (KeyChanges(not_networks=()), {"192.0.2.1"}),
        (KeyChanges(not_networks=("192.0.2.1",), only_networks=()), {"192.0.2.1"}),
    ):
        await accounts.change_key(key.public_id, changes)
        found = await find(pool, secret)
        assert found is not None
        restrictions = found.principal.restrictions
        assert restrictions is not None
        asked = ("192.0.2.1", "10.0.0.1")
        assert {one for one in asked if restrictions.refusal("a", "GET", one)} == refused, changes
    await accounts.change_key(key.public_id, KeyChanges(not_networks=()))
    found = await find(pool, secret)
    assert found is not None
    assert found.principal.restrictions is None, "which costs a call nothing"


async def test_a_key_without_restrictions_carries_none(accounts: Accounts, pool: Pool, ada: Account) -> None:
    _, secret = await accounts.create_key(ada.public_id)
    found = await find(pool, secret)
    assert found is not None
    assert found.principal.restrictions is None
    assert found.principal.scopes is None


async def test_a_key_with_no_scope_is_not_one_with_all(accounts: Accounts, pool: Pool, ada: Account) -> None:
    key, secret = await accounts.create_key(ada.public_id, limits=KeyLimits(scopes=()))
    found = await find(pool, secret)
    assert found is not None
    assert (key.scopes, found.principal.scopes) == ((), frozenset())


@pytest.mark.parametrize(
    ("case", "limits", "field"),
    [
        (
            "a network with bits behind its prefix",
            KeyLimits(only_networks=("192.0.2.1/24",)),
            "only_networks",
        ),
        ("a network that is none", KeyLimits(only_networks=("everywhere",)), "only_networks"),
        ("bits behind the prefix of another", KeyLimits(not_networks=("192.0.2.1/24",)), "not_networks"),
        ("a network not to come from that is none", KeyLimits(not_networks=("nowhere",)), "not_networks"),
        ("a method in lower case", KeyLimits(only_methods=("get",)), "only_methods"),
        ("a route that breaks a line", KeyLimits(only_routes=("a\r\nb",)), "only_routes"),
        ("two scopes in one", KeyLimits(scopes=("a b",)), "scopes"),
        ("an empty scope", KeyLimits(scopes=("",)), "scopes"),
        ("a scope that ends a header", KeyLimits(scopes=('a"\r\nb',)), "scopes"),
        ("more scopes than anybody needs", KeyLimits(scopes=tuple(map(str, range(101)))), "scopes"),
        ("no life at all", KeyLimits(expires_in_s=0), "expires_in_s"),
        ("more than anybody needs", KeyLimits(only_routes=tuple(map(str, range(101)))), "only_routes"),
    ],
)
async def test_a_key_that_is_not_made(
    accounts: Accounts, ada: Account, case: str, limits: KeyLimits, field: str
) -> None:
    with pytest.raises(Invalid) as refused:
        await accounts.create_key(ada.public_id, limits=limits)
    assert refused.value.field == field, case
    assert await accounts.list_keys(ada.public_id) == []


async def test_a_key_of_any_format_may_be_imported_by_its_digest(
    accounts: Accounts, pool: Pool, ada: Account
) -> None:
    imported = await accounts.import_digest(ada.public_id, digest(b"legacy-key-1"), "old", Mode.TEST)
    assert (imported.visible, imported.last_four, imported.mode) == (None, None, Mode.TEST)
    assert await accounts.import_digest(ada.public_id, digest(b"legacy-key-1"), "again") == imported
    found = await find(pool, "legacy-key-1")
    assert found is not None
    assert found.principal.key == imported.public_id
    other = await accounts.create_account("Bob", "team")
    with pytest.raises(Conflict):
        await accounts.import_digest(other.public_id, digest(b"legacy-key-1"))


async def test_only_real_changes_are_told_to_gateways(
    accounts: Accounts, pool: Pool, database_url: str, ada: Account
) -> None:
    key, _ = await accounts.create_key(ada.public_id)
    listening = await open_connection(database_url)
    told: asyncio.Queue[str] = asyncio.Queue()
    await listening.add_listener("tollway_keys", lambda *words: told.put_nowait(words[3]))
    await pool.execute("UPDATE api_keys SET last_used_at = now()")
    await accounts.revoke_key(key.public_id)
    assert (await told.get()).startswith("key:")
    assert told.empty()
    await listening.close()


async def test_an_account_is_found_by_either_id(accounts: Accounts, pool: Pool) -> None:
    made = await accounts.create_account("Ada", "team", external_id="crm-7")
    for name in (made.public_id, "crm-7"):
        found = await find_account_principal(pool, name, b"stands for it")
        assert found is not None
        assert found.active
        principal = found.principal
        assert (principal.account_id, principal.key_id, principal.tier) == (made.id, 0, "team")
        assert principal.digest == b"stands for it"
        assert (
            principal.identity_lines
            == f"Tollway-Account: {made.public_id}\r\nTollway-Tier: team\r\n".encode()
        )
    assert await find_account_principal(pool, "crm-8", b"") is None


async def test_an_external_id_can_not_pass_for_another_accounts_own(accounts: Accounts, pool: Pool) -> None:
    ada = await accounts.create_account("Ada", "team")
    await accounts.create_account("Eve", "free", external_id=ada.public_id)
    found = await find_account_principal(pool, ada.public_id, b"")
    assert found is not None
    assert found.principal.account_id == ada.id
