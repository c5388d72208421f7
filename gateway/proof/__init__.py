"""`tollway prove-metering`: a gateway whose processes die at random under load, and what was booked.

Owns the upstream that bears witness, the traffic, the faults, and the comparison of what the upstream saw,
what callers saw and what the ledger says. All it hurts it has started itself, in a folder of its own.
"""
