"""What a worker says of itself beyond figures: a small file beside its slots, for the control process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from gateway.upstream.forwarder import Forwarder

log = logging.getLogger("tollway.process")

EVERY_S = 1.0


async def report_forever(path: Path, digest: Callable[[], str], upstream: Forwarder) -> None:
    """Write it once a second, where it has changed."""
    before = ""
    while True:
        report = {"pid": os.getpid(), "policies": digest(), "targets": upstream.standing()}
        text = json.dumps(report)
        if text != before:
            try:
                draft = path.with_suffix(".new")
                draft.write_text(text, encoding="utf-8")
                draft.replace(path)
                before = text
            except OSError as error:
                log.debug("the worker's report can not be written", extra={"error": str(error)})
        await asyncio.sleep(EVERY_S)
