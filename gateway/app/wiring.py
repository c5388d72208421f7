"""What every process of one gateway shares: settings, addresses of the stores, files in the data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gateway.settings import Settings

JOURNALS = "journals"


@dataclass(frozen=True, slots=True)
class Wiring:
    """Made by the supervisor before the first fork. `parent_pipe` reads end-of-file when it dies."""

    settings: Settings
    database_url: str
    redis_url: str
    admin_token: str
    parent_pipe: int

    @property
    def metrics_dir(self) -> Path:
        """A `<process>.slots` file for each process."""
        return metrics_dir(self.settings.data_dir)

    @property
    def accepted_policies(self) -> Path:
        """The newest policies that passed every check, as one file."""
        return accepted_policies(self.settings.data_dir)

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
