"""What the portal needs to know people by."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.clock import Clock
from gateway.controlplane.doors import Doors
from gateway.controlplane.proxies import Proxies
from gateway.model.policies import PolicySet
from gateway.people import access_tokens
from gateway.people.outbox import Outbox
from gateway.people.passwords import Passwords
from gateway.people.sessions import Sessions
from gateway.people.vault import Vault
from gateway.storage.postgres import Connection, Pool

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Handed in by whoever builds the portal."""

    passwords: Passwords
    vault: Vault
    outbox: Outbox
    doors: Doors
    portal_url: str  # as mails show it, without a slash at the end
    registration: bool  # whether strangers may register
    proxies: Proxies  # in front of the portal
    foreign_keys: bool = False  # whether keys may have any format
    wrong_keys_per_minute: int = 60  # looked up for one address; 0: any number
    session_days: int = 90  # after which people log in again
    default_tier: str | None  # of accounts that register themselves; None: the first free one

    def tier_of_newcomers(self, policies: PolicySet) -> str | None:
        """The tier of an account that registers itself; None when there is none to be had."""
        if not self.registration:
            return None
        if self.default_tier is not None:
            return self.default_tier if self.default_tier in policies.tiers else None
        free = (one.name for one in policies.tiers.values() if one.price and one.price.amount_minor == 0)
        return next(free, None)

    def sessions(self, database: Pool | Connection) -> Sessions:
        """Sessions, which last as long as the settings say."""
        return Sessions(database, self.session_days * DAY_S)

    async def access_token(self, person: str, session: str, clock: Clock) -> str:
        """A token for a session that goes on."""
        key = await self.vault.signing_key()
        return access_tokens.issue(key, person, session, clock.now_us() // 1_000_000)

    async def read_token(self, text: str, clock: Clock) -> access_tokens.Claims | None:
        """What an access token says, while it works."""
        key = await self.vault.signing_key()
        return access_tokens.read(key, text, clock.now_us() // 1_000_000)
