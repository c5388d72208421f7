"""The policy folder: checked before it is used, watched while it is."""

from __future__ import annotations

import logging
from pathlib import Path

from gateway.errors import StartupError
from gateway.policy.load import load_folder
from gateway.policy.sources import fingerprint
from gateway.telemetry.slots import Slots

log = logging.getLogger("tollway.supervisor")


class PolicyWatcher:
    """Turns a changed folder into an accepted bundle, or into log lines while the old one stays in use."""

    def __init__(self, folder: Path, accepted: Path, slots: Slots) -> None:
        self._folder = folder
        self._accepted = accepted
        self._slots = slots
        self._seen: object = None
        self._digest = ""
        self._loaded: object = None

    def accept_first(self) -> None:
        """Load the folder for the start. StartupError lists every problem."""
        self._seen = self._loaded = fingerprint(self._folder)
        loaded = load_folder(self._folder)
        if loaded.policies is None:
            count = len(loaded.problems)
            summary = f"{count} problem{'' if count == 1 else 's'} in {self._folder}, nothing was started"
            raise StartupError("\n".join([summary, *map(str, loaded.problems)]))
        loaded.sources.write(self._accepted)
        self._digest = loaded.policies.digest

    def poll(self) -> bool:
        """Whether a change was accepted. Waits for a change to stay the same from one poll to the next."""
        seen, self._seen = self._seen, fingerprint(self._folder)
        if self._seen == self._loaded or self._seen != seen:
            return False
        return self.reload()

    def reload(self) -> bool:
        """Check the folder now; whether there are newly accepted policies."""
        self._loaded = fingerprint(self._folder)
        loaded = load_folder(self._folder)
        if loaded.policies is None:
            self._slots.add("policy_reload_failed_total")
            for problem in loaded.problems:
                log.error("policy problem: %s", problem)
            log.error(
                "policies not reloaded, the old ones stay in use", extra={"count": len(loaded.problems)}
            )
            return False
        if loaded.policies.digest == self._digest:
            return False
        try:
            loaded.sources.write(self._accepted)
        except OSError as error:
            self._slots.add("policy_reload_failed_total")
            log.error("policies not reloaded", extra={"error": str(error)})  # noqa: TRY400  says it all
            return False
        self._digest = loaded.policies.digest
        log.info("policies accepted", extra={"digest": self._digest[:12]})
        return True
