"""Every request gets a number, a begin on disk before it goes upstream and exactly one end.

Owns request ids, what a call is charged in the journal and the request metrics of a worker. Does not own the
journal's bytes, the limits a call is admitted by, nor the ledger: nothing here waits for Redis or Postgres.
"""
