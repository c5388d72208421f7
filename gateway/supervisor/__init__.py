"""Starts, restarts and drains the processes of a gateway, and decides which policies they get.

Owns the order of start and stop, the embedded servers and the check of a policy folder before it is used.
Runs no event loop and serves nothing: `run` is one loop over signals.
"""

from gateway.supervisor.gateway import run

__all__ = ["run"]
