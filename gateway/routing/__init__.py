"""Which route a call takes and what it costs there, under one snapshot of the policies.

Owns the one canonical spelling of paths, matching, and the charge plan of every (tier, route). Does not know
who calls, whether there are tokens left, or how the upstream is reached.
"""
