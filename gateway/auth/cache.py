"""The keys a worker knows: what a digest stands for, and how sure we still are of it."""

from __future__ import annotations

from gateway.model.principal import Principal
from gateway.telemetry.catalogue import slot
from gateway.telemetry.slots import Slots

FRESH_US = 60_000_000
"""How long an entry is believed without asking again. Bounds the delay of a change nobody told us of."""

NEGATIVE_US = 10_000_000
"""How long a key that does not work is refused without asking again."""

MAX_KEYS = 100_000
MAX_NEGATIVE = 10_000


class Entry:
    """A key that works (or whose account is not active), as Postgres knew it at `checked_at_us`."""

    __slots__ = ("active", "checked_at_us", "fresh_until_us", "principal")

    def __init__(self, principal: Principal, now_us: int, *, active: bool) -> None:
        self.principal = principal
        self.active = active
        self.checked_at_us = now_us
        self.fresh_until_us = now_us + FRESH_US


class KeyCache:
    """Entries by SHA-256 digest, bounded. Instants are monotonic.

    Eviction takes the entry that was put longest ago. Entries in use are put anew when they are re-checked,
    so the oldest is one that nobody has used for about `FRESH_US`: nearly LRU, at no cost per hit.
    """

    def __init__(self, slots: Slots, *, max_keys: int = MAX_KEYS, max_negative: int = MAX_NEGATIVE) -> None:
        self.entries: dict[bytes, Entry] = {}
        self.negative: dict[bytes, int] = {}  # digest -> until when it is refused unasked
        self.changes = 0  # grows with every change heard of: a look-up that overlaps one must be repeated
        self._digests: dict[int, tuple[bytes, ...]] = {}  # by account
        self._max_keys, self._max_negative = max_keys, max_negative
        self._cells = slots.cells
        self._gauge = slot("key_cache_entries")
        self._count()  # the slots may hold the figure of a worker that died

    def put(self, digest: bytes, principal: Principal, now_us: int, *, active: bool) -> Entry:
        """Remember what a key stands for, in place of what was known of it."""
        self._forget(digest)
        self.negative.pop(digest, None)
        while len(self.entries) >= self._max_keys:
            self._forget(next(iter(self.entries)))
        entry = self.entries[digest] = Entry(principal, now_us, active=active)
        account_id = principal.account_id
        self._digests[account_id] = (*self._digests.get(account_id, ()), digest)
        self._count()
        return entry

    def put_negative(self, digest: bytes, now_us: int) -> None:
        """Remember that a key does not work."""
        self._forget(digest)
        self.negative.pop(digest, None)
        while len(self.negative) >= self._max_negative:
            del self.negative[next(iter(self.negative))]
        self.negative[digest] = now_us + NEGATIVE_US
        self._count()

    def drop_key(self, digest: bytes) -> None:
        """A key changed: the next call that uses it looks it up."""
        self.changes += 1
        self._forget(digest)
        self.negative.pop(digest, None)
        self._count()

    def drop_account(self, account_id: int) -> None:
        """An account changed: forget all its keys."""
        self.changes += 1
        for digest in self._digests.get(account_id, ()):
            del self.entries[digest]
        self._digests.pop(account_id, None)
        self._count()

    def doubt_all(self) -> None:
        """Changes may have been missed: nothing is believed before it is checked again.

        Walks all entries (milliseconds at 100 000), but only after the connection that tells us was lost.
        """
        self.changes += 1
        for entry in self.entries.values():
            entry.fresh_until_us = 0
        self.negative.clear()

    def _forget(self, digest: bytes) -> None:
        entry = self.entries.pop(digest, None)
        if entry is None:
            return
        account_id = entry.principal.account_id
        others = tuple(known for known in self._digests[account_id] if known != digest)
        if others:
            self._digests[account_id] = others
        else:
            del self._digests[account_id]

    def _count(self) -> None:
        self._cells[self._gauge] = len(self.entries)
