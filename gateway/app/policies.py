"""The policies in use in this process: the newest that the supervisor accepted."""

from __future__ import annotations

import logging

from gateway.app.process import Process
from gateway.errors import StartupError
from gateway.model.enforcement import POLICIES_ALONE, Enforcement
from gateway.model.policies import PolicySet
from gateway.policy.load import compile_sources
from gateway.policy.sources import Sources, SourcesUnreadable
from gateway.routing.table import RoutingTable

log = logging.getLogger("tollway.policies")


class PoliciesInUse:
    """Holds one snapshot and swaps it whole. A snapshot that can not be read changes nothing."""

    def __init__(self, process: Process) -> None:
        self._wiring = process.wiring
        self._slots = process.slots
        self._enforcement = POLICIES_ALONE
        table = self._read()
        if table is None:
            raise StartupError(f"{self._wiring.accepted_policies} can not be read. Start the gateway again.")
        self._table = table

    def current(self) -> RoutingTable:
        """The newest accepted snapshot."""
        return self._table

    def policies(self) -> PolicySet:
        """The same, as the files said it."""
        return self._table.policies

    def switch(self, enforcement: Enforcement) -> None:
        """Take what operators switched into use, from the next request on."""
        self._enforcement = enforcement
        self._table = self._table.under(enforcement)

    def reload(self) -> None:
        """Take the newest accepted snapshot into use, from the next request on."""
        table = self._read()
        if table is not None and table.policies.digest != self._table.policies.digest:
            self._table = table.under(self._enforcement)
            log.info("policies reloaded", extra={"digest": table.policies.digest[:12]})

    def _read(self) -> RoutingTable | None:
        try:
            loaded = compile_sources(Sources.read(self._wiring.accepted_policies))
        except SourcesUnreadable as error:
            log.error("policies not reloaded", extra={"error": str(error)})  # noqa: TRY400  says it all
            return None
        if loaded.policies is None:
            log.error("policies not reloaded", extra={"error": str(loaded.problems[0])})
            return None
        self._slots.add("policy_generation")
        return RoutingTable(loaded.policies, portal_url=self._wiring.settings.portal_base_url)
