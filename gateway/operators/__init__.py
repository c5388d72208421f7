"""Who operates the gateway: their tokens, what they changed, and answers to requests that are repeated.

Owns the tables `admin_tokens`, `audit_log` and `idempotent_answers`. Does not know HTTP, accounts or keys:
what is audited writes itself, by triggers.
"""
