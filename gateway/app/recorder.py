"""The recorder: journals into Postgres."""

from __future__ import annotations

from gateway.app.process import Process
from gateway.ledger.recorder import Recorder
from gateway.storage.postgres import lazy_pool
from gateway.telemetry.catalogue import State


async def serve_recorder(process: Process) -> None:
    """Book usage until told to stop; then book what is left."""
    pool = await lazy_pool(process.wiring.database_url)
    recorder = Recorder(pool, process.wiring.journals_dir, process.slots, process.clock)
    process.state(State.READY)
    await recorder.run(process.stop)
    process.state(State.DRAINING)
    pool.terminate()
