"""Every metric and log field the gateway has, by name.

Owns the catalogue, the shared-memory slots processes count in, their exposition and the log formats. Does not
decide what is worth counting: rooms are handed a `Slots` and say what happened.
"""
