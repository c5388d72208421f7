"""Quota counters in Redis compared with the ledger, and set right.

Owns the rule when a counter may be changed, and the job that does it. Does not own the counters (admission)
nor the ledger. No call waits for any of it.
"""
