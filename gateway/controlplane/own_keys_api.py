"""`/api/v1/auth/keys`: the keys of one's account."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from gateway.accounts.checks import check_name
from gateway.accounts.records import ApiKey, KeyChanges
from gateway.accounts.store import Accounts
from gateway.controlplane import wording
from gateway.controlplane.accounts_api import Empty, Page
from gateway.controlplane.bodies import Sent, answer, read_body, read_query
from gateway.controlplane.callers import MEMBERSHIP
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.controlplane.keys_api import (
    KEY,
    KeyList,
    NewKey,
    Rotation,
    check_key_match,
    limits_of,
    tagged_key,
)
from gateway.errors import Conflict, NotFound
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode

OWN_KEYS_MAX = 100
"""Keys that work, of one account: its members make no more. Operators may."""
ROTATED_MAX = 2 * OWN_KEYS_MAX
"""With those that only work on until their overlap is over: a full account can still replace every key."""


class KeyName(Sent):
    """What the key is called from now on."""

    name: str


class OwnKeysApi:
    """What members do with the keys of their account."""

    def __init__(self, accounts: Accounts, policies: Callable[[], PolicySet]) -> None:
        self._accounts, self._policies = accounts, policies

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/api/v1/auth`."""
        read, write, new = "keys:read", "keys:write", wording.NewKeyDocument
        return [
            Endpoint("GET", "/keys", self.list_keys, read, KeyList, query=Page),
            Endpoint("POST", "/keys", self.create_key, write, new, body=NewKey, status=201),
            Endpoint("GET", KEY, self.get_key, read, wording.KeyDocument),
            Endpoint(
                "PATCH", KEY, self.rename_key, write, wording.KeyDocument, body=KeyName, refuses=(409, 412)
            ),
            Endpoint("POST", f"{KEY}/revoke", self.revoke_key, write, wording.KeyDocument, body=Empty),
            Endpoint("POST", f"{KEY}/rotate", self.rotate_key, write, new, body=Rotation, status=201),
        ]

    async def list_keys(self, request: web.Request) -> web.Response:
        """The keys of the account, revoked ones included, without secrets."""
        page, account = read_query(request, Page), request[MEMBERSHIP].account
        found = await self._accounts.list_keys(account, after=page.after, limit=page.limit)
        return answer(page.of([(one.public_id, wording.key(one)) for one in found]))

    async def create_key(self, request: web.Request) -> web.Response:
        """A new key. The only answer that ever holds its secret."""
        wanted = await read_body(request, NewKey)
        accounts, account = self._accounts.on(request[CONNECTION]), request[MEMBERSHIP].account
        await _expect_room(accounts, account, OWN_KEYS_MAX)
        made, secret = await accounts.create_key(
            account, wanted.name, Mode(wanted.mode), limits_of(wanted, self._policies())
        )
        return answer({**wording.key(made), "secret": secret}, status=201)

    async def get_key(self, request: web.Request) -> web.Response:
        """One key of the account, without its secret. Its `ETag` changes with all but `last_used_at`."""
        return tagged_key(await self._own(self._accounts, request))

    async def rename_key(self, request: web.Request) -> web.Response:
        """Call the key something else. What it may do is for the operator to change: make another key."""
        wanted, accounts = await read_body(request, KeyName), self._accounts.on(request[CONNECTION])
        changes = KeyChanges(name=check_name("name", wanted.name, may_be_empty=True))
        key = (await self._own(accounts, request)).public_id
        check_key_match(request, await accounts.lock_key(key))
        return tagged_key(await accounts.change_key(key, changes))

    async def revoke_key(self, request: web.Request) -> web.Response:
        """The key stops working within a second. Again changes nothing."""
        await read_body(request, Empty)
        accounts = self._accounts.on(request[CONNECTION])
        key = await self._own(accounts, request)
        return answer(wording.key(await accounts.revoke_key(key.public_id)))

    async def rotate_key(self, request: web.Request) -> web.Response:
        """A successor with a secret of its own; the old key goes on working for the overlap."""
        wanted = await read_body(request, Rotation)
        accounts = self._accounts.on(request[CONNECTION])
        key = await self._own(accounts, request)
        await _expect_room(accounts, request[MEMBERSHIP].account, ROTATED_MAX)
        made, secret = await accounts.rotate_key(key.public_id, wanted.overlap_s)
        return answer({**wording.key(made), "secret": secret}, status=201)

    async def _own(self, accounts: Accounts, request: web.Request) -> ApiKey:
        """The key, if it is the account's. Raises NotFound for others' as for none."""
        key = await accounts.get_key(request.match_info["key"])
        if key.account != request[MEMBERSHIP].account:
            raise NotFound("There is no such key.")
        return key


async def _expect_room(accounts: Accounts, account: str, most: int) -> None:
    working = await accounts.list_keys(account, limit=most, state="works")
    if len(working) == most:
        raise Conflict(f"This account has {most} keys that work. Revoke one that is not used.")
