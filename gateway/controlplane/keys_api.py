"""`/admin/v1/keys`, and the keys of an account."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from aiohttp import web
from pydantic import Field
from typing_extensions import TypedDict

from gateway.accounts.reach import check_reach
from gateway.accounts.records import ApiKey, KeyChanges, KeyLimits
from gateway.accounts.store import Accounts
from gateway.controlplane import wording
from gateway.controlplane.accounts_api import ACCOUNT, Empty, Page
from gateway.controlplane.bodies import Sent, answer, check_match, read_body, read_query, tagged
from gateway.controlplane.endpoints import CONNECTION, Endpoint
from gateway.model.policies import PolicySet
from gateway.model.principal import Mode

DAY_S = 86_400
State = Literal["works", "expired", "revoked"]
KEY = "/keys/{key:key_[0-9A-Za-z]+}"


class NewKey(Sent):
    """What a key is made of. Restrictions that are not given restrict nothing; no `scopes`: all of them.
    `not_networks` wins over `only_networks`.
    """

    name: str = ""
    mode: Literal["live", "test"] = "live"
    expires_in_s: Annotated[int, Field(ge=1, strict=True)] | None = None
    only_routes: list[str] = Field(default_factory=list)
    only_methods: list[str] = Field(default_factory=list)
    only_networks: list[str] = Field(default_factory=list)
    not_networks: list[str] = Field(default_factory=list)
    scopes: list[str] | None = None


class KeyChange(Sent):
    """What is given changes, the rest stays. An empty restriction restricts nothing. `expires_in_s` counts
    from now; null: it works until it is revoked. `scopes` of null: all of them. `not_networks` wins over
    `only_networks`.
    """

    name: str = ""
    expires_in_s: Annotated[int, Field(ge=1, strict=True)] | None = None
    only_routes: list[str] = Field(default_factory=list)
    only_methods: list[str] = Field(default_factory=list)
    only_networks: list[str] = Field(default_factory=list)
    not_networks: list[str] = Field(default_factory=list)
    scopes: list[str] | None = None

    def changes(self) -> KeyChanges:
        """Only what was given."""
        given: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.model_dump(exclude_unset=True).items()
        }
        return KeyChanges(
            **given,
            drop_expiry="expires_in_s" in given and self.expires_in_s is None,
            all_scopes="scopes" in given and self.scopes is None,
        )


class ImportedKey(NewKey):
    """A key that was made elsewhere: the SHA-256 of its secret, in hexadecimal digits."""

    sha256: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]


class KeyPage(Page):
    """Which keys."""

    mode: Literal["live", "test"] | None = None
    state: State | None = None


class Rotation(Sent):
    """How long the old key goes on working beside the new one."""

    overlap_s: Annotated[int, Field(ge=0, le=365 * DAY_S, strict=True)] = DAY_S


class KeyList(TypedDict):
    """A page of keys."""

    data: list[wording.KeyDocument]
    next: str | None


class KeysApi:
    """What operators do with keys."""

    def __init__(self, accounts: Accounts, policies: Callable[[], PolicySet]) -> None:
        self._accounts, self._policies = accounts, policies

    def endpoints(self) -> list[Endpoint]:
        """The addresses below `/admin/v1`."""
        return [
            Endpoint("GET", f"{ACCOUNT}/keys", self.list_keys, "keys:read", KeyList, query=KeyPage),
            Endpoint(
                "POST",
                f"{ACCOUNT}/keys",
                self.create_key,
                "keys:write",
                wording.NewKeyDocument,
                body=NewKey,
                status=201,
            ),
            Endpoint(
                "POST",
                f"{ACCOUNT}/keys/import",
                self.import_key,
                "keys:write",
                wording.KeyDocument,
                body=ImportedKey,
                status=201,
                refuses=(409,),
            ),
            Endpoint("GET", KEY, self.get_key, "keys:read", wording.KeyDocument),
            Endpoint(
                "PATCH",
                KEY,
                self.change_key,
                "keys:write",
                wording.KeyDocument,
                body=KeyChange,
                refuses=(409, 412),
            ),
            Endpoint("POST", f"{KEY}/revoke", self.revoke_key, "keys:write", wording.KeyDocument, body=Empty),
            Endpoint(
                "POST",
                f"{KEY}/rotate",
                self.rotate_key,
                "keys:write",
                wording.NewKeyDocument,
                body=Rotation,
                status=201,
                refuses=(409,),
            ),
        ]

    async def list_keys(self, request: web.Request) -> web.Response:
        """The keys of an account, revoked ones included, without secrets."""
        page = read_query(request, KeyPage)
        account = request.match_info["account"]
        found = await self._accounts.list_keys(
            account,
            after=page.after,
            limit=page.limit,
            mode=None if page.mode is None else Mode(page.mode),
            state=page.state,
        )
        return answer(page.of([(one.public_id, wording.key(one)) for one in found]))

    async def create_key(self, request: web.Request) -> web.Response:
        """A new key. The only answer that ever holds its secret."""
        wanted = await read_body(request, NewKey)
        accounts = self._accounts.on(request[CONNECTION])
        made, secret = await accounts.create_key(
            request.match_info["account"], wanted.name, Mode(wanted.mode), limits_of(wanted, self._policies())
        )
        headers = {"Location": f"/admin/v1/keys/{made.public_id}"}
        return answer({**wording.key(made), "secret": secret}, status=201, headers=headers)

    async def get_key(self, request: web.Request) -> web.Response:
        """One key, without its secret. Its `ETag` changes with all but `last_used_at`."""
        return tagged_key(await self._accounts.get_key(request.match_info["key"]))

    async def change_key(self, request: web.Request) -> web.Response:
        """All that is given changes, or nothing. In effect within a second, for open calls as well."""
        changes = (await read_body(request, KeyChange)).changes()
        check_reach(changes.limits, self._policies())
        accounts, public_id = self._accounts.on(request[CONNECTION]), request.match_info["key"]
        check_key_match(request, await accounts.lock_key(public_id))
        return tagged_key(await accounts.change_key(public_id, changes))

    async def revoke_key(self, request: web.Request) -> web.Response:
        """The key stops working, in every worker within a second. Again changes nothing."""
        await read_body(request, Empty)
        accounts = self._accounts.on(request[CONNECTION])
        return answer(wording.key(await accounts.revoke_key(request.match_info["key"])))

    async def rotate_key(self, request: web.Request) -> web.Response:
        """A successor with a secret of its own; the old key goes on working for the overlap."""
        wanted = await read_body(request, Rotation)
        accounts = self._accounts.on(request[CONNECTION])
        made, secret = await accounts.rotate_key(request.match_info["key"], wanted.overlap_s)
        headers = {"Location": f"/admin/v1/keys/{made.public_id}"}
        return answer({**wording.key(made), "secret": secret}, status=201, headers=headers)

    async def import_key(self, request: web.Request) -> web.Response:
        """A key that was made elsewhere, known by its digest only. Again changes nothing."""
        wanted = await read_body(request, ImportedKey)
        accounts = self._accounts.on(request[CONNECTION])
        made = await accounts.import_digest(
            request.match_info["account"],
            bytes.fromhex(wanted.sha256),
            wanted.name,
            Mode(wanted.mode),
            limits_of(wanted, self._policies()),
        )
        return answer(wording.key(made), status=201)


def tagged_key(one: ApiKey) -> web.Response:
    """A key, with an `ETag` that its use does not change."""
    return tagged(wording.key(one), state=_state(one))


def check_key_match(request: web.Request, one: ApiKey) -> None:
    """Raises Problem if `If-Match` names another state than the key's."""
    check_match(request, _state(one))


def _state(one: ApiKey) -> Mapping[str, object]:
    return {name: value for name, value in wording.key(one).items() if name != "last_used_at"}


def limits_of(wanted: NewKey, policies: PolicySet) -> KeyLimits:
    """How far the key is to reach. Raises Invalid for routes and scopes that the policies do not have."""
    limits = KeyLimits(
        expires_in_s=wanted.expires_in_s,
        only_routes=tuple(wanted.only_routes),
        only_methods=tuple(wanted.only_methods),
        only_networks=tuple(wanted.only_networks),
        not_networks=tuple(wanted.not_networks),
        scopes=None if wanted.scopes is None else tuple(wanted.scopes),
    )
    check_reach(limits, policies)
    return limits
