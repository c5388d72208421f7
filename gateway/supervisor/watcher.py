"""The policy folder: checked before it is used, watched while it is."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.errors import StartupError
from gateway.model.policies import PolicySet
from gateway.policy.check_upstreams import Objection
from gateway.policy.load import load_folder
from gateway.policy.sources import fingerprint
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.supervisor")

SETTLED_S = 1.0
"""A change that is this old is no longer being written."""


class PolicyWatcher:
    """Turns a changed folder into an accepted bundle, or into log lines while the old one stays in use."""

    def __init__(self, folder: Path, accepted: Path, slots: Slots, objection: Objection) -> None:
        """`objection` says what is wrong with where an upstream listens, if anything."""
        self._folder = folder
        self._accepted = accepted
        self._slots = slots
        self._objection = objection
        self._seen: object = None
        self._seen_at_s = 0.0
        self._digest = ""
        self._loaded: object = None
        self._refused = False

    def accept_first(self) -> PolicySet:
        """The policies of the folder, for the start. StartupError lists every problem."""
        self._seen = self._loaded = fingerprint(self._folder)
        loaded = load_folder(self._folder, self._objection)
        if loaded.policies is None:
            count = len(loaded.problems)
            summary = f"{count} problem{'' if count == 1 else 's'} in {self._folder}, nothing was started"
            raise StartupError("\n".join([summary, *map(str, loaded.problems)]))
        loaded.sources.write(self._accepted)
        self._digest = loaded.policies.digest
        return loaded.policies

    def poll(self, now_s: float) -> bool:
        """Whether a change was accepted. Waits until the folder has stayed the same for a while.

        `now_s` is any monotonic clock: polls may come as often as they like.
        """
        seen = fingerprint(self._folder)
        if seen != self._seen:
            self._seen, self._seen_at_s = seen, now_s
        if seen == self._loaded or now_s - self._seen_at_s < SETTLED_S:
            return False
        return self._reload(asked=False)

    def reload(self) -> bool:
        """Check the folder now, because somebody asked; whether there are newly accepted policies."""
        return self._reload(asked=True)

    def _reload(self, *, asked: bool) -> bool:
        self._loaded = fingerprint(self._folder)
        loaded = load_folder(self._folder, self._objection)
        if loaded.policies is None:
            for problem in loaded.problems:
                log.error("policy problem: %s", problem)
            return self._refuse(count=len(loaded.problems))
        if loaded.policies.digest == self._digest:
            return self._keep(asked=asked)
        try:
            loaded.sources.write(self._accepted, "signal" if asked else "change")
        except OSError as error:
            return self._refuse(error=str(error))
        self._digest = loaded.policies.digest
        self._refused = False
        log.info("policies accepted", extra={"digest": self._digest[:12]})
        return True

    def _keep(self, *, asked: bool) -> bool:
        if self._refused:
            log.info("policies are in order again, as they are in use", extra={"digest": self._digest[:12]})
        elif asked:
            log.info("policies checked, nothing has changed", extra={"digest": self._digest[:12]})
        self._refused = False
        return False

    def _refuse(self, **fields: object) -> bool:
        self._refused = True
        self._slots.add("policy_reload_failed_total")
        log.error("policies not reloaded, the old ones stay in use", extra=fields)
        return False
