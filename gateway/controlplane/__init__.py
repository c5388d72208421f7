"""What people and tools ask of the gateway: admin API, metrics, health, and the customers' portal.

Owns two aiohttp applications, their documents and their problem answers. Does not own accounts, keys or usage
(`accounts`, `ledger`) and never sees a customer's call to an upstream.
"""
