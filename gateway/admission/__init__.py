"""May this call pass? Token buckets and quotas, decided together, exact across workers and machines.

Owns the counters in Redis, the scripts that change them, the leases a worker holds, and what a refused caller
is told. Does not know who calls (`auth`) or what a call costs (`routing`). The invariants are in its README.
"""
