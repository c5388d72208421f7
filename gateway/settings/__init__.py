"""Process facts, read once from the environment. Flags of the command line win.

Only the roof reads settings; rooms below are handed what they need.
"""

from gateway.settings.address import Address
from gateway.settings.declared import DECLARED, PREFIX, Declared, Settings, available_cores
from gateway.settings.reading import SettingsError, read_settings

__all__ = [
    "DECLARED",
    "PREFIX",
    "Address",
    "Declared",
    "Settings",
    "SettingsError",
    "available_cores",
    "read_settings",
]
