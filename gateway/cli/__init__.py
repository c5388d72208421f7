"""The `tollway` command.

Owns arguments, tables and exit codes. Decides nothing about calls, money or storage: it asks the rooms below,
in this process, or starts the supervisor.
"""

from gateway.cli.entry import main

__all__ = ["main"]
