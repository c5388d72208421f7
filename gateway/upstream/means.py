"""What everything in this room works with."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.deadlines import Deadlines
from gateway.outbox import Outbox
from gateway.tasks import Tasks
from gateway.telemetry.slots import Slots
from gateway.upstream.dialling import Objection
from gateway.upstream.names import Names


@dataclass(frozen=True, slots=True)
class Means:
    """One set per worker."""

    deadlines: Deadlines
    outbox: Outbox
    slots: Slots
    tasks: Tasks
    names: Names
    objection: Objection | None = None  # against what has become a way to the gateway itself
