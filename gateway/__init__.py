"""Tollway: a reverse-proxy API gateway that enforces monetization tiers."""

__version__ = "0.1.0"
