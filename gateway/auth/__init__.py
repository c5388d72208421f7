"""Who is calling: from the credential of a request to its principal.

Owns the choice of credential, the cache of keys in a worker, the look-ups behind it and the ear for changes.
Does not own keys and accounts themselves (`accounts`) nor what a principal may do (`routing`, `admission`).
"""
