"""The gateways and proxies that Tollway is compared with: how each is configured and started.

Every one checks the key and limits the rate as well as it can without plug-ins of its own; `Candidate.does`
says what that is. A program that is not installed is a `Missing` that says how to install it.
"""
