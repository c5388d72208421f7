"""Segment files in which a worker notes every call before it goes upstream and when it is over.

Owns the format on disk, the writer's guarantees (what survives `kill -9`, a full disk, a flipped bit) and the
reading of what a living or dead writer left. Does not own what a call costs, nor Postgres: the ledger books.
"""
