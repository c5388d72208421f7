"""What every process of one gateway shares: settings, addresses of the stores, files in the data folder."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from gateway.admission.trust import EMBEDDED
from gateway.app.board import Board
from gateway.policy.check_upstreams import Objection, no_objection
from gateway.settings import Settings

JOURNALS = "journals"


@dataclass(frozen=True, slots=True)
class Wiring:
    """Made by the supervisor before the first fork. `parent_pipe` reads end-of-file when it dies.

    `posts` are the public port's sockets, a tuple for each worker; they live as long as the supervisor.
    """

    settings: Settings
    database_url: str
    redis_url: str
    admin_token: str
    parent_pipe: int
    posts: tuple[tuple[socket.socket, ...], ...]
    board: Board
    objection: Objection = no_objection  # what is wrong with a target, as the supervisor sees it

    @property
    def redis_name(self) -> str | None:
        """What the Redis is called whose quota counters are trusted; None: as it calls itself."""
        return EMBEDDED if self.settings.redis_url is None else None

    @property
    def metrics_dir(self) -> Path:
        """A `<process>.slots` file for each process."""
        return metrics_dir(self.settings.data_dir)

    @property
    def accepted_policies(self) -> Path:
        """The newest policies that passed every check, as one file."""
        return accepted_policies(self.settings.data_dir)

    @property
    def switches_file(self) -> Path:
        """What operators had switched when it was last known."""
        return self.accepted_policies.with_name("enforcement.json")

    @property
    def journals_dir(self) -> Path:
        """One folder for each journal that is not yet booked."""
        return self.settings.data_dir / JOURNALS


def metrics_dir(data_dir: Path) -> Path:
    """Where the processes of the gateway on `data_dir` count."""
    return data_dir / "run" / "metrics"


def accepted_policies(data_dir: Path) -> Path:
    """Where the supervisor leaves accepted policies for the other processes."""
    return data_dir / "run" / "policies.json"


def board_file(data_dir: Path) -> Path:
    """What the supervisor lets its workers know."""
    return data_dir / "run" / "board"
