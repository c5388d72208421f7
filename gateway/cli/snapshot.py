"""The policies a command goes by: those a gateway on this data folder accepted, else those of the folder."""

from __future__ import annotations

from gateway.app.wiring import accepted_policies
from gateway.errors import StartupError
from gateway.model.policies import PolicySet
from gateway.policy.load import compile_sources, load_folder
from gateway.policy.sources import Sources
from gateway.settings import Settings


def policies_in_use(settings: Settings) -> PolicySet:
    """StartupError when there are none that can be used."""
    accepted = accepted_policies(settings.data_dir)
    if accepted.exists():
        loaded, where = compile_sources(Sources.read(accepted)), accepted
    else:
        loaded, where = load_folder(settings.policies), settings.policies
    if loaded.policies is None:
        raise StartupError(f"The policies in {where} can not be used: {loaded.problems[0]}")
    return loaded.policies
