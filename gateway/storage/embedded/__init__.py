"""A private PostgreSQL and a private Redis from PyPI wheels, for machines that have neither.

Owns where their data, sockets and logs are and how they start and stop. Both listen on unix sockets only.
What is in them is reached through the same URLs as any other server. `start` blocks: overlap two in threads.
"""

from gateway.storage.embedded.postgres import EmbeddedPostgres
from gateway.storage.embedded.redis import EmbeddedRedis
from gateway.storage.embedded.server import OwnedElsewhere

__all__ = ["EmbeddedPostgres", "EmbeddedRedis", "OwnedElsewhere"]
