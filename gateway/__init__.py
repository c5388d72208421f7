"""Tollway: a reverse-proxy API gateway that enforces monetization tiers."""

from pathlib import Path

__version__ = "0.1.0"

COMPILED = (Path(__file__).parent / "compiled.sha256").exists()
"""Whether the path of a call is machine code, made by `deploy/compile.py`. It does the same, for less CPU."""
