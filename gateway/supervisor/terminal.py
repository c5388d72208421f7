"""SIGHUP has two meanings: `reload` from an operator, `your terminal is gone` from the kernel or a shell."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass

CONTROLLING_TERMINAL = "/dev/tty"  # opens the session's terminal, whichever it is, or fails without one


@dataclass(frozen=True, slots=True)
class Terminal:
    """Whether a terminal holds us: we have one, and nobody (`nohup`) asked us to outlive it."""

    holds: bool

    @classmethod
    def now(cls) -> Terminal:
        """As it is at the start, before SIGHUP is handled."""
        return cls(holds=_is_there() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN)

    def is_closed(self) -> bool:
        """Whether it held us and is gone."""
        return self.holds and not _is_there()


def _is_there() -> bool:
    try:
        os.close(os.open(CONTROLLING_TERMINAL, os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return False
    return True
