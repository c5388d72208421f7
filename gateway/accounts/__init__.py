"""Who calls: accounts and the keys that prove it.

Owns the tables `accounts`, `api_keys` and `overrides` (special deals), the format of a key and what may be
done with one. Does not own when a key is looked up (auth, which caches) nor what a tier allows (policy).
"""
