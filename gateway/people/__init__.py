"""Who logs in: people, the accounts they belong to, sessions, second factors, and the mails they get.

Owns the tables of migration 0012. Does not know HTTP, keys or policies. Accounts are named by their ids:
whoever calls puts both sides into one transaction.
"""
